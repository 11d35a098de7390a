"""New training rows made from the ones there are: EDA and back translation."""

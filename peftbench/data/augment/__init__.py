"""Data augmentation of training rows: EDA and back translation."""

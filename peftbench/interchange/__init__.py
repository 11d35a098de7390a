"""A run's results in other programs' formats, and as a bundle that another database takes in."""

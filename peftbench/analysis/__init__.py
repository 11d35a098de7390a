"""Pure functions over the rows of the store: scores, cost, comparison, statistics."""

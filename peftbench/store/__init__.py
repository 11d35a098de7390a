"""The store: one SQLite file. Only this package knows SQL."""

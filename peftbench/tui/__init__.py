"""The terminal dashboard: a live, read-only view of the database. Nothing here imports torch.

A thread reads the database into a frozen `DashboardState` a few times a second (`poller`, `source`); screens show the
latest.
"""

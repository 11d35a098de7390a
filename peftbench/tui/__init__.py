"""The dashboard: what runs and how it goes, live; one reader of the store among others. Nothing here imports torch.

A thread reads the store into a frozen `Snapshot` a few times a second (`feed`, `source`); screens show the newest one.
"""

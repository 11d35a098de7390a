"""Readings of memory and machine."""

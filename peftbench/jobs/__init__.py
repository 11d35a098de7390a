"""Runs as processes: the worker that executes one, how it is started, and whether it still lives."""

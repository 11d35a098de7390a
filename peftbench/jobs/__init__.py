"""Runs as processes: the queue and the runner that drains it, the worker that executes one run, whether it lives."""

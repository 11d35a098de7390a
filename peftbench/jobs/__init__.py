"""Runs as processes: the queue, the runner that drains it, the worker that executes one run, and its liveness."""

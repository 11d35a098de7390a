"""Readings of the study's Table 2: which batches, which way of computing an adapter, which count of memory.

    python -m benchmarks.memory               the peak of what is allocated
    python -m benchmarks.memory --reserved    what torch's allocator would reserve over an epoch of SST (minutes)

Each prints, row by row, MiB beyond the last-layer row and their error against the study's. `allocator` models torch's:
nothing is run on a GPU.
"""

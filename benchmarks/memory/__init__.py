"""Interpretations of the study's Table 2: which batches, which computation of an adapter, which measure of memory.

    python -m benchmarks.memory               peak of allocated memory
    python -m benchmarks.memory --reserved    memory that torch's allocator would reserve over an epoch of SST (minutes)

Each prints, row by row, MiB beyond the last-layer row and the error against the study's. `allocator` models torch's
allocator; nothing runs on a GPU.
"""

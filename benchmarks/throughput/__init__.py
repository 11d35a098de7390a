"""Training and evaluation throughput of the native path against Hugging Face's, in one process.

    python -m benchmarks.throughput [--quick] [--lengths FILE] [--json FILE] [--markdown FILE]

How it is measured:
- A *column* is one way to train (`columns.py`). The baseline of a method, 1 by definition, is HF PEFT (for `full` and
  `last-layer`, plain transformers) in a plain PyTorch loop: padded batches in random order, `sdpa` (DeBERTa, which has
  none: `eager`), default AdamW.
- A shape that the native path does not compute, such as a decoder, has "padded by transformers" in the names of our
  columns: they are of `runtime=transformers`, over padded batches too, and no prefix is cached.
- All columns of a configuration (shape, batch size, dropout) alternate, a few steps each, round after round; every
  other round in the opposite order. A ratio is taken within a round; reported are the median over the rounds, the
  quartiles and the extremes. Rounds end with the time budget, after at least three.
- A step is forward, cross-entropy over five classes, backward, optimiser and zero_grad. Batches are made beforehand.
- Columns with random batches get the same rows. A bucketed column cannot: the batches of a whole epoch are sorted by
  their longest text and cut into strata of equal size, and each round takes the middle one of each. So its examples,
  like the others', are a representative sample of the data; examples per second are compared.
- Evaluation (in inference mode, PEFT by default) takes the sorted batches of all texts in the same way; it is
  measured at the first dropout only, which it does not use.
- Texts have the lengths of real ones and random tokens; weights are random: neither changes the work.

"saved" is what autograd saves for backward in the forward pass of one batch: distinct storages that are neither
weights nor buffers (but under autocast the rounded copies of weights). "peak RSS" is that of a separate process that
takes two steps of that column only, imports included; measured at the largest batch and the first dropout.
Both are of the longest batch of one round.

A full run takes about 20 minutes on two idle cores, longer with longer texts, and needs about 12 GB of memory for
the shape base. On cores that other processes use as well, set OMP_NUM_THREADS=1 or wait: two threads would wait for
each other and distort the figures.
"""

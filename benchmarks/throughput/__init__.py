"""Training and evaluation speed of the native path beside Hugging Face's, in one process.

    python -m benchmarks.throughput [--quick] [--lengths FILE] [--json FILE] [--markdown FILE]

How it is measured:

- A *column* is one way to train (`columns.py`). The bar of a method, 1 by definition, is HF PEFT (for `full` and
  `last-layer`, plain transformers) in a plain PyTorch loop: padded batches in random order, `sdpa`, AdamW as it comes.
- All columns of a configuration (shape, batch size, dropout) take turns, a few steps each, round after round; every
  other round in the opposite order. A ratio is taken within a round; reported are the median over the rounds, the
  quartiles and the extremes. The rounds end with the time budget, but there are at least three.
- A step is forward, cross-entropy over five classes, backward, optimiser and zero_grad. Batches are made beforehand.
- The columns with random batches get the same rows. A bucketed column cannot: its batches, of a whole epoch's,
  are ordered by their longest text and cut into strata of equal size, and each round takes the middle one of each.
  So its examples, like the others', are a fair sample of the data; compared are examples a second.
- Evaluation (in inference mode, PEFT as it comes) takes the sorted batches of all texts in the same way; it is
  measured at the first dropout, of which it has none.
- Texts have the lengths of real ones and random tokens; weights are random: neither changes the work.

"saved" is what autograd keeps for backward after the forward pass of one batch: distinct storages that are neither
weights nor buffers (but under autocast the rounded copies of weights). "peak RSS" is that of a process of its own
which takes two steps of that column alone, imports included; measured at the largest batch and the first dropout.
Both are of the longest batch of one round.

A whole run takes about 20 minutes on two quiet cores, longer with longer texts, and needs about 12 GB of memory for
the shape base. On cores that something else uses as well, set OMP_NUM_THREADS=1 or wait: two threads would wait for
each other, and the figures would tell of that.
"""

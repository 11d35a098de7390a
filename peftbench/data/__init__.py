"""From a source's rows to batches of token ids."""

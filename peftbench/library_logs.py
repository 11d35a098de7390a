"""What other libraries log when they are imported, kept to errors."""

from __future__ import annotations

import logging

# bitsandbytes recommends optional kernels; torchao lists those that this machine cannot load, and torch what torchao
# registers in a way that it will no longer have. Transformers and PEFT import both wherever they are installed.
_CHATTY = ("bitsandbytes", "torchao", "torch.utils._pytree")


def quieten() -> None:
    """Let these libraries log errors only; to be called before they are imported."""
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)

"""The presets of the methods beyond LoRA and DoRA."""

from __future__ import annotations

THROUGH_PEFT = (
    "lora-r12-peft",
    "dora-r12-peft",
    "rslora-r12",
    "pissa-r12",
    "adalora-r12",
    "vera-r256",
    "ia3",
    "oft-b32",
    "boft-b8",
    "ln-tuning",
    "loha-r8",
)
NEARLY_PRETRAINED = ("houlsby-m48", "pfeiffer-m48")  # at the start
BEYOND_LORA = (
    *("loraplus-r12", "delta-lora-r12", "lora-r12-all", "dora-r12-all", "bitfit"),
    *NEARLY_PRETRAINED,
    *THROUGH_PEFT,
)

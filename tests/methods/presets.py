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
BY_PEFTS_CONFIGURATION = (
    *("miss-r12", "road", "shira-r12", "c3a-b128", "randlora-r12", "hra-r8", "vblora-r4", "fourierft-n1000"),
    *("lokr-r8", "delora-r12", "hira-r32", "gralora-r32", "beft", "olora-r12", "lora-orthogonal-r12"),
)
BEYOND_LORA = (
    *("loraplus-r12", "delta-lora-r12", "lora-r12-all", "dora-r12-all", "bitfit"),
    *NEARLY_PRETRAINED,
    *THROUGH_PEFT,
)

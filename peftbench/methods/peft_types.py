"""HF PEFT's adapter types: papers, settings for a small encoder, and why some cannot run here. Light."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_QKV = ("query", "key", "value")
_PROMPT = "PEFT's prompt methods change the input, not the encoder"
_FROM_DATA = "it starts from activations on data, which PEFT computes in a step of its own that is not run here"

REFUSED: dict[str, str] = {
    "ADAPTION_PROMPT": "PEFT has it for decoders such as Llama only",
    "POLY": "its router needs the number of the task with every batch",
    "SHADOW": "PEFT's layers for it fit decoders only: they pass on an object that an encoder's layers cannot read",
    "XLORA": "it mixes LoRA adapters that were trained before",
    **dict.fromkeys(
        ("CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"), _PROMPT
    ),
}
"""Why types of PEFT cannot train an encoder."""

REFUSED_STARTS: dict[str, str] = {
    "corda": _FROM_DATA,
    "eva": _FROM_DATA,
    "loftq": "it starts from the error of quantizing W, and the encoder's weights are not quantized here",
}
"""Why values of LoRA's `init_lora_weights` cannot be used."""


@dataclass(frozen=True, slots=True)
class PeftType:
    """One of PEFT's adapter types, or one of LoRA's initialisations.

    config: keys of PEFT's configuration with which it fits the small encoder of the check (hidden 32), beside targets.
    targets: the modules to adapt; empty: PEFT's configuration names none.
    preset: the shipped preset, if there is one.
    method: the options of peftbench's own method for it; None: `peft`, with the keys.
    """

    name: str
    paper: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = _QKV
    preset: str = ""
    method: dict[str, Any] | None = None

    @property
    def peft_type(self) -> str:
        """The name of PEFT's type."""
        return self.name.partition(",")[0]

    def options(self) -> dict[str, Any]:
        """Return the options of the method that runs it in the check."""
        if self.method is not None:
            return self.method
        targets = {"target_modules": list(self.targets)} if self.targets else {}
        return {"name": "peft", "peft_type": self.peft_type, "config": {**targets, **self.config}}


@dataclass(frozen=True, slots=True)
class Capability:
    """What one of PEFT's types can do here.

    reason: why it does not run; else why it does not do one of the other things.
    weights: trained for a task, without its head.
    switchable: each task has its own adapter; training one leaves the others' outputs as they are, to the bit.
    mergeable: merged into the encoder, it computes the same.
    preset: the shipped preset for it.
    dora: it has PEFT's `use_dora`.
    quantized: the libraries for quantized base weights that PEFT's tuner has layers for; not tried here.
    """

    name: str
    paper: str
    preset: str
    runs: bool
    reason: str = ""
    weights: int | None = None
    switchable: bool | None = None
    mergeable: bool | None = None
    dora: bool = False
    quantized: tuple[str, ...] = ()


def _lora(start: str, paper: str, preset: str = "") -> PeftType:
    return PeftType(f"LORA, {start}", paper, {"r": 4, "init_lora_weights": start}, preset=preset)


KNOWN: tuple[PeftType, ...] = (
    PeftType("LORA", "Hu et al. 2021", {"r": 4}, preset="lora-r12-peft"),
    PeftType("LORA, use_dora", "Liu et al. 2024", {"r": 4, "use_dora": True}, preset="dora-r12-peft"),
    PeftType("LORA, use_rslora", "Kalajdzievski 2023", {"r": 4, "use_rslora": True}, preset="rslora-r12"),
    _lora("gaussian", "Hu et al. 2021"),
    _lora("pissa", "Meng et al. 2024", "pissa-r12"),
    _lora("olora", "Büyükakyüz 2024", "olora-r12"),
    _lora("orthogonal", "", "lora-orthogonal-r12"),
    _lora("mica", ""),
    _lora("eva", "Paischer et al. 2024"),
    _lora("corda", "Yang et al. 2024"),
    _lora("loftq", "Li et al. 2023"),
    PeftType(
        "ADALORA", "Zhang et al. 2023", preset="adalora-r12", method={"name": "adalora", "rank": 4, "target_rank": 2}
    ),
    PeftType("ADAMSS", "", {"r": 8, "num_subspaces": 2}),
    PeftType("ADAPTION_PROMPT", "Zhang et al. 2023", {"adapter_len": 4, "adapter_layers": 2}, ()),
    PeftType("BEFT", "", preset="beft"),
    PeftType("BOFT", "Liu et al. 2023", {"boft_block_size": 4}, preset="boft-b8"),
    PeftType("C3A", "Chen et al. 2024", {"block_size": 16}, preset="c3a-b128"),
    PeftType("CARTRIDGE", "Eyuboglu et al. 2025", {"num_virtual_tokens": 4}, ()),
    PeftType(
        "CPT", "Blau et al. 2024", {"cpt_token_ids": [1, 2], "cpt_mask": [1, 1], "cpt_tokens_type_mask": [1, 2]}, ()
    ),
    PeftType("DEFT", "", {"r": 4}),
    PeftType("DELORA", "Bini et al. 2025", {"r": 4}, preset="delora-r12"),
    PeftType("FOURIERFT", "Gao et al. 2024", {"n_frequency": 100}, preset="fourierft-n1000"),
    PeftType("FROD", "", {"progressbar": False}),
    PeftType("GLORA", "Chavan et al. 2023", {"r": 4}),
    PeftType("GRALORA", "Jung et al. 2025", {"r": 4, "gralora_k": 2}, preset="gralora-r32"),
    PeftType("HIRA", "Huang et al. 2025", {"r": 4}, preset="hira-r32"),
    PeftType("HRA", "Yuan et al. 2024", {"r": 4}, preset="hra-r8"),
    PeftType("IA3", "Liu et al. 2022", {"feedforward_modules": []}, preset="ia3"),
    PeftType("LILY", "", {"r": 4}),
    PeftType("LN_TUNING", "Zhao et al. 2023", {}, ("LayerNorm",), preset="ln-tuning"),
    PeftType("LOHA", "Hyeon-Woo et al. 2021", {"r": 4}, preset="loha-r8"),
    PeftType("LOKR", "Yeh et al. 2023", {"r": 4}, preset="lokr-r8"),
    PeftType("MISS", "Kang and Yin 2024", {"r": 4}, preset="miss-r12"),
    PeftType("MULTITASK_PROMPT_TUNING", "Wang et al. 2023", {"num_virtual_tokens": 4}, ()),
    PeftType("OFT", "Qiu et al. 2023", {"oft_block_size": 8}, preset="oft-b32"),
    PeftType("OSF", "Nayak et al. 2025", {"effective_rank": 4}),
    PeftType("PEANUT", "", {"r": 4}),
    PeftType("POLY", "Ponti et al. 2023", {"r": 4}),
    PeftType("PREFIX_TUNING", "Li and Liang 2021", {"num_virtual_tokens": 4}, ()),
    PeftType("PROMPT_TUNING", "Lester et al. 2021", {"num_virtual_tokens": 4}, ()),
    PeftType("PSOFT", "", {"r": 4}),
    PeftType("PVERA", "", {"r": 8}),
    PeftType("P_TUNING", "Liu et al. 2021", {"num_virtual_tokens": 4}, ()),
    PeftType("RANDLORA", "Albert et al. 2025", {"r": 4}, preset="randlora-r12"),
    PeftType("ROAD", "Liao and Monz 2024", {"group_size": 16}, preset="road"),
    PeftType("SHADOW", "", {"r": 4}),
    PeftType("SHIRA", "Bhardwaj et al. 2024", {"r": 4, "random_seed": 0}, preset="shira-r12"),
    PeftType("SUPERTUNING", "", {"sparsity": 0.9}),
    PeftType("TINYLORA", ""),
    PeftType("TRAINABLE_TOKENS", "", {"token_indices": [5, 6, 7]}, ()),
    PeftType("UNILORA", "", {"r": 4}),
    PeftType("VBLORA", "Li et al. 2024", {"r": 4, "num_vectors": 8, "vector_length": 16}, preset="vblora-r4"),
    PeftType("VERA", "Kopiczko et al. 2023", {"r": 8}, preset="vera-r256"),
    PeftType("WAVEFT", "", {"n_frequency": 100}),
    PeftType("XLORA", "Buehler and Buehler 2024", {"hidden_size": 32, "adapters": {}}, ()),
)


def types_of(installed: dict[str, Any]) -> list[PeftType]:
    """Return the entries for the types of an installed PEFT; a type that is not known here has no settings.

    Args:
        installed: PEFT's configuration classes by the type's name.
    """
    known = [entry for entry in KNOWN if entry.peft_type in installed]
    names = {entry.peft_type for entry in known}
    return sorted([*known, *(PeftType(name) for name in installed if name not in names)], key=lambda entry: entry.name)

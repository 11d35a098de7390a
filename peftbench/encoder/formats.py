"""Check a checkpoint folder for complete safetensors weights, and explain how to convert other formats."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peftbench.errors import MissingError
from peftbench.text import clean

WEIGHTS = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_HEADER_LENGTH = 8  # bytes before a safetensors header that encode its length
_LONGEST_HEADER = 100_000_000  # bytes; the limit in safetensors
_TOKENIZER_STARTS = ("tokenizer", "vocab", "merges", "special_tokens")
_SENTENCEPIECE = (".model", ".spm")

# Weights in other formats: file patterns, description, remedy.
_CONVERT = "load it once in that framework and save it with save_pretrained(DIR, safe_serialization=True)"
_OTHER_FORMS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("pytorch_model*.bin", "pytorch_model.bin.index.json", "*.ckpt", "*.pt", "*.pth"),
        "a pickle checkpoint, which can execute arbitrary code when loaded, and is refused",
        "convert it to safetensors once, on a machine where that risk is acceptable",
    ),
    (("tf_model*.h5", "saved_model.pb", "*.ckpt.index"), "a TensorFlow checkpoint", _CONVERT),
    (("flax_model*.msgpack",), "a Flax checkpoint", _CONVERT),
    (
        ("*.onnx", "onnx/*.onnx"),
        "an ONNX graph, which is for inference: it cannot be trained",
        "use the model that it was converted from",
    ),
    (
        ("*.gguf", "openvino_model.xml", "openvino/*.xml"),
        "a model quantised or compiled for inference: it cannot be trained",
        "use the model that it was converted from",
    ),
)


def weight_files(name: str, folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint, after checking that they are complete.

    Args:
        name: the encoder's name, for messages.
        folder: of the checkpoint.

    Raises:
        MissingError: there are none (the message says what was found instead); a file is truncated, empty or a git-LFS
            pointer; a shard is missing, or the shard index cannot be read.
    """
    if (folder / WEIGHTS).is_file():
        paths = [folder / WEIGHTS]
    elif (folder / SHARD_INDEX).is_file():
        paths = _shards(name, folder)
    else:
        raise _no_weights_error(name, folder)
    for path in paths:
        check_whole(name, path)
        _check_safetensors(name, path)
    return paths


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the files that may belong to a tokeniser, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.startswith((*_TOKENIZER_STARTS, "added_tokens")) or path.suffix in _SENTENCEPIECE
    )


def vocabulary_files(folder: Path) -> list[Path]:
    """Return the files that may contain a tokeniser's vocabulary, excluding its settings and special tokens."""
    return [
        path
        for path in tokenizer_files(folder)
        if path.name == "tokenizer.json" or path.name.startswith("vocab") or path.suffix in _SENTENCEPIECE
    ]


def check_whole(name: str, path: Path) -> None:
    """Check that a file is neither empty nor a git-LFS pointer; a missing file is ignored here.

    Raises:
        MissingError: the file is empty, a pointer or unreadable.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(_LFS_POINTER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise MissingError(f"encoder {clean(name)}: {path} cannot be read: {error.strerror or error}") from error
    if begin.startswith(_LFS_POINTER):
        raise MissingError(
            f"encoder {clean(name)}: {path} is a git-LFS pointer, not the file itself",
            f"fetch it: git -C {path.parent} lfs pull",
        )
    if not begin:
        raise MissingError(f"encoder {clean(name)}: {path} is empty", "copy or download it again")


def _shards(name: str, folder: Path) -> list[Path]:
    index = folder / SHARD_INDEX
    check_whole(name, index)
    try:
        table = json.loads(index.read_text("utf-8"))["weight_map"]
        shards = sorted({Path(str(shard)).name for shard in table.values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MissingError(
            f"encoder {clean(name)}: {index} is not a shard index ({type(error).__name__}: {clean(error, 120)})",
            "copy or download it again",
        ) from error
    if not shards:
        raise MissingError(f"encoder {clean(name)}: {index} lists no shards", "copy or download it again")
    if absent := [shard for shard in shards if not (folder / shard).is_file()]:
        raise MissingError(
            f"encoder {clean(name)}: {len(absent)} of {len(shards)} shards listed in {index} are missing: "
            f"{clean(', '.join(absent[:3]), 300)}",
            "copy or download them again",
        )
    return [folder / shard for shard in shards]


def _check_safetensors(name: str, path: Path) -> None:
    """Check that the file size matches its header.

    Format: https://github.com/huggingface/safetensors#format
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        if _HEADER_LENGTH + length > size and length <= _LONGEST_HEADER:
            raise _truncated_error(name, path, size, f"its header alone has {length} bytes")
        try:
            if length > _LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
            expected_size = _HEADER_LENGTH + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise MissingError(
                f"encoder {clean(name)}: {path} is not in the safetensors format ({clean(error, 120)})",
                "copy or download it again; a renamed pickle file is refused as well",
            ) from error
    if not ends:
        raise MissingError(f"encoder {clean(name)}: {path} contains no weights", "copy or download it again")
    if size < expected_size:
        raise _truncated_error(name, path, size, f"its header specifies {expected_size}")


def _truncated_error(name: str, path: Path, size: int, wanted: str) -> MissingError:
    return MissingError(
        f"encoder {clean(name)}: {path} is truncated: it has {size} bytes, and {wanted}", "copy or download it again"
    )


def _no_weights_error(name: str, folder: Path) -> MissingError:
    """Return an error that says what the folder contains instead of safetensors weights."""
    where = f"encoder {clean(name)}: {folder}"
    if (folder / "adapter_config.json").is_file():
        base = _base_of_adapter(folder)
        return MissingError(
            f"{where} is an adapter, not an encoder" + (f": it belongs to {clean(base)}" if base else ""),
            f"use the model that it adapts: --set encoder.name={clean(base) if base else 'MODEL'}; to continue from "
            "an adapter, merge it into the model first (PEFT's merge_and_unload, then save_pretrained)",
        )
    if inner := _inner_transformer(folder):
        return MissingError(
            f"{where} is a sentence-transformers folder, whose encoder is in its subfolder {inner.name}",
            f"use --set encoder.name={inner} --set encoder.pooling=mean",
        )
    for patterns, what, remedy in _OTHER_FORMS:
        if paths := _matching(folder, patterns):
            return MissingError(f"{where} contains only {what} ({paths[0].relative_to(folder)})", remedy)
    if others := sorted(folder.glob("*.safetensors")):
        return MissingError(
            f"{where} has no {WEIGHTS}, but {clean(', '.join(path.name for path in others[:3]))}",
            f"rename it to {WEIGHTS} if it is a checkpoint of transformers; shards need {SHARD_INDEX}",
        )
    if not any(folder.iterdir()):
        return MissingError(f"{where} is empty", "name a folder with a checkpoint")
    return MissingError(
        f"{where} has no {WEIGHTS}",
        "only safetensors are loaded (from the hub, nothing else is downloaded): a pickle checkpoint "
        "(pytorch_model.bin) can execute arbitrary code, and is refused",
    )


def _base_of_adapter(folder: Path) -> str | None:
    try:
        base = json.loads((folder / "adapter_config.json").read_text("utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return None
    return str(base) if base else None


def _inner_transformer(folder: Path) -> Path | None:
    """Return the encoder's subfolder of a sentence-transformers folder, if it has one."""
    names = ["0_Transformer"]
    try:
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        names = [str(module["path"]) for module in modules if str(module["type"]).endswith("Transformer")] + names
    except (OSError, ValueError, KeyError, TypeError):
        pass
    for name in names:
        inner = folder / Path(name).name
        if name and (inner / "config.json").is_file():
            return inner
    return None


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]

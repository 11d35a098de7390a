"""Preset, workload and sweep files: found by name or path, read as TOML; the top level of a recipe checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peftbench.errors import UsageError, did_you_mean
from peftbench.methods.registry import method_info
from peftbench.paths import presets_folder
from peftbench.text import clean

Kind = Literal["preset", "workload"]
FileKind = Literal["preset", "workload", "sweep"]

_TABLES: dict[Kind, frozenset[str]] = {
    "preset": frozenset({"method", "train", "head", "encoder", "augment"}),
    "workload": frozenset({"encoder", "tasks", "train", "head", "eval", "adjust"}),
}
_PLAIN: dict[Kind, frozenset[str]] = {
    "preset": frozenset({"description", "pin"}),
    "workload": frozenset({"description"}),
}
_VALUES = frozenset({"runtime", "precision"})  # of the spec, outside any table
ADJUSTABLE = frozenset({"train", "head"})
_FOLDERS: dict[FileKind, str] = {"preset": "", "workload": "workloads", "sweep": "sweeps"}


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A preset or workload as its file states it, before validation."""

    kind: Kind
    name: str
    path: Path
    description: str
    tables: dict[str, Any]
    pin: tuple[str, ...] = ()
    adjust: dict[str, dict[str, Any]] | None = None


def shipped(kind: FileKind) -> dict[str, Path]:
    """Return the shipped files of that kind by name, in the order of their names."""
    folder = presets_folder() / _FOLDERS[kind]
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=_natural)}


def read_recipe(kind: Kind, name: str) -> RecipeFile:
    """Read a shipped preset or workload by name, or any file by its path.

    Raises:
        UsageError: no such name or file, no valid TOML, or an unknown table or key at its top level.
    """
    return _checked(kind, *read_toml(kind, name))


def read_toml(kind: FileKind, name: str) -> tuple[Path, dict[str, Any]]:
    """Return the path and the content of a shipped file by its name, or of any file by its path.

    Raises:
        UsageError: no such name or file, or no valid TOML.
    """
    path = _find(kind, name)
    try:
        return path, tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{kind} file {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or beyond what Python reads
        raise UsageError(f"{kind} file {path} is not valid TOML: {error}") from error


def is_path(name: str) -> bool:
    """Tell a path from the name of something shipped."""
    return name.endswith(".toml") or "/" in name or "\\" in name


def _find(kind: FileKind, name: str) -> Path:
    if is_path(name):
        try:
            path = Path(name).expanduser()
            found = path.is_file()
        except (OSError, RuntimeError) as error:  # too long a name, no such user's home
            raise UsageError(f"{kind} file '{clean(name)}': {error}") from error
        if not found:
            raise UsageError(f"{kind} file '{clean(name)}' does not exist")
        return path
    known = shipped(kind)
    if name not in known:
        raise UsageError(
            f"unknown {kind} '{clean(name)}'{did_you_mean(name, known)}",
            f"{kind}s: {', '.join(known)}; or the path of a .toml file of your own",
        )
    return known[name]


def _checked(kind: Kind, path: Path, content: dict[str, Any]) -> RecipeFile:
    allowed = _TABLES[kind] | _PLAIN[kind] | _VALUES
    for key, value in content.items():
        if key not in allowed:
            raise UsageError(
                f"{kind} file {path}: unknown key '{clean(key)}'{did_you_mean(key, allowed)}",
                f"allowed at the top of a {kind}: {', '.join(sorted(allowed))}",
            )
        if key in _TABLES[kind] and not isinstance(value, dict):
            raise UsageError(f"{kind} file {path}: '{key}' must be a table, not {value!r}")
    description = content.get("description", "")
    if not isinstance(description, str):
        raise UsageError(f"{kind} file {path}: 'description' must be a text, not {description!r}")
    pin = content.get("pin", [])
    if not isinstance(pin, list) or not all(isinstance(key, str) for key in pin):
        raise UsageError(f"{kind} file {path}: 'pin' must be a list of dotted keys, not {pin!r}")
    adjust = content.get("adjust", {})
    for method, tables in adjust.items():
        method_info(method)  # a mistyped method would be left out in silence
        _check_adjustment(path, method, tables)
    if kind == "preset" and (strange := set(content.get("encoder", {})) - {"dropout"}):
        raise UsageError(
            f"preset file {path}: 'encoder.{clean(min(strange))}' is the workload's to say",
            "of the encoder, a preset sets only dropout",
        )
    tables = {key: value for key, value in content.items() if key in (_TABLES[kind] | _VALUES) - {"adjust"}}
    return RecipeFile(kind, path.stem, path, clean(description), tables, tuple(pin), adjust)


def _check_adjustment(path: Path, method: str, tables: Any) -> None:
    if not isinstance(tables, dict) or not tables:
        raise UsageError(f"workload file {path}: 'adjust.{method}' must hold tables, such as [adjust.{method}.train]")
    for key, value in tables.items():
        if key not in ADJUSTABLE or not isinstance(value, dict):
            raise UsageError(
                f"workload file {path}: 'adjust.{method}.{clean(key)}' cannot be adjusted",
                f"tables a workload may adjust: {', '.join(sorted(ADJUSTABLE))}",
            )


def _natural(path: Path) -> tuple[str, int, str]:
    """Order `dora-r4` before `dora-r12`."""
    stem, _, tail = path.stem.rpartition("-r")
    return (stem, int(tail), "") if stem and tail.isdigit() else (path.stem, 0, path.stem)

"""Locate preset, workload and sweep files by name or path, parse them as TOML and check their top-level keys."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peftbench.errors import UsageError, did_you_mean
from peftbench.paths import presets_folder
from peftbench.spec.references import check_preset, check_workload
from peftbench.text import clean

Kind = Literal["preset", "workload"]
FileKind = Literal["preset", "workload", "sweep"]

_TABLES: dict[Kind, frozenset[str]] = {
    "preset": frozenset({"method", "train", "head", "encoder", "augment", "quantization"}),
    "workload": frozenset({"encoder", "tasks", "train", "head", "eval", "split", "adjust"}),
}
_PLAIN: dict[Kind, frozenset[str]] = {
    "preset": frozenset({"description", "pin"}),
    "workload": frozenset({"description"}),
}
_VALUES = frozenset({"runtime", "precision"})  # top-level values of the spec, outside any table
ADJUSTABLE = frozenset({"train", "head"})
_FOLDERS: dict[FileKind, str] = {"preset": "", "workload": "workloads", "sweep": "sweeps"}


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """The content of a preset or workload file, before validation."""

    kind: Kind
    name: str
    path: Path
    description: str
    tables: dict[str, Any]
    pin: tuple[str, ...] = ()
    adjust: dict[str, dict[str, Any]] | None = None


def shipped(kind: FileKind) -> dict[str, Path]:
    """Return the shipped files of a kind, keyed by name and sorted by name."""
    folder = presets_folder() / _FOLDERS[kind]
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=_natural_key)}


def read_recipe(kind: Kind, name: str) -> RecipeFile:
    """Read a shipped preset or workload by name, or any file by its path.

    Raises:
        UsageError: no such name or file, invalid TOML, or an unknown top-level table or key.
    """
    return _parsed(kind, *read_toml(kind, name))


def read_toml(kind: FileKind, name: str) -> tuple[Path, dict[str, Any]]:
    """Return the path and the content of a shipped file by its name, or of any file by its path.

    Raises:
        UsageError: no such name or file, or invalid TOML.
    """
    path = find(kind, name)
    try:
        return path, tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{kind} file {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or nested too deeply for the parser
        raise UsageError(f"{kind} file {path} is not valid TOML: {error}") from error


def is_path(name: str) -> bool:
    """Return whether the argument is a path rather than the name of a shipped file."""
    return name.endswith(".toml") or "/" in name or "\\" in name


def find(kind: FileKind, name: str) -> Path:
    """Return the path of a shipped file by its name, or of any file by its path.

    Raises:
        UsageError: no such file.
    """
    if is_path(name):
        try:
            path = Path(name).expanduser()
            exists = path.is_file()
        except (OSError, RuntimeError) as error:  # name too long, or no home directory for `~user`
            raise UsageError(f"{kind} file '{clean(name)}': {error}") from error
        if not exists:
            raise UsageError(f"{kind} file '{clean(name)}' does not exist")
        return path
    known = shipped(kind)
    if name not in known:
        raise UsageError(
            f"unknown {kind} '{clean(name)}'{did_you_mean(name, known)}",
            f"{kind}s: {', '.join(known)}; or the path of a .toml file of your own",
        )
    return known[name]


def _parsed(kind: Kind, path: Path, content: dict[str, Any]) -> RecipeFile:
    allowed = _TABLES[kind] | _PLAIN[kind] | _VALUES
    for key, value in content.items():
        if key not in allowed:
            raise UsageError(
                f"{kind} file {path}: unknown key '{clean(key)}'{did_you_mean(key, allowed)}",
                f"allowed at the top level of a {kind}: {', '.join(sorted(allowed))}",
            )
        if key in _TABLES[kind] and not isinstance(value, dict):
            raise UsageError(f"{kind} file {path}: '{key}' must be a table, not {value!r}")
    description = content.get("description", "")
    if not isinstance(description, str):
        raise UsageError(f"{kind} file {path}: 'description' must be a string, not {description!r}")
    pin = content.get("pin", [])
    if not isinstance(pin, list) or not all(isinstance(key, str) for key in pin):
        raise UsageError(f"{kind} file {path}: 'pin' must be a list of dotted keys, not {pin!r}")
    adjust = content.get("adjust", {})
    for method, tables in adjust.items():
        _check_adjustment(path, method, tables)
    if kind == "preset" and (strange := set(content.get("encoder", {})) - {"dropout"}):
        raise UsageError(
            f"preset file {path}: 'encoder.{clean(min(strange))}' belongs in the workload",
            "the only encoder key that a preset may set is dropout",
        )
    tables = {key: value for key, value in content.items() if key in (_TABLES[kind] | _VALUES) - {"adjust"}}
    if kind == "preset":
        check_preset(path, tables, pin)
    else:
        check_workload(path, tables, adjust)
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


def _natural_key(path: Path) -> tuple[str, int, str]:
    """Sort key that orders `dora-r4` before `dora-r12`."""
    stem, _, tail = path.stem.rpartition("-r")
    return (stem, int(tail), "") if stem and tail.isdigit() else (path.stem, 0, path.stem)

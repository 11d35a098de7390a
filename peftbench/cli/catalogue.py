"""`peftbench presets`, `workloads`, `sweeps` and `methods`: what there is to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from peftbench.cli.output import Json, print_json, show

if TYPE_CHECKING:
    from peftbench.spec.files import FileKind, RecipeFile
    from peftbench.spec.sweep import SweepFile

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one, or a .toml file.")]


def presets(name: Name = None, as_json: Json = False) -> None:
    """List the presets, or show one."""
    _catalogue("preset", name, as_json)


def workloads(name: Name = None, as_json: Json = False) -> None:
    """List the workloads, or show one."""
    _catalogue("workload", name, as_json)


def sweeps(name: Name = None, as_json: Json = False) -> None:
    """List the sweeps, or show one."""
    _catalogue("sweep", name, as_json)


def methods(as_json: Json = False) -> None:
    """List the methods, the runtimes that each has, and whether it can run here."""
    from peftbench.methods.registry import registered
    from peftbench.report.layout import plain_table
    from peftbench.text import clean

    known = registered().values()
    if as_json:
        print_json(
            [
                {"name": m.name, "summary": m.summary, "runtimes": list(m.runtimes), "installed": m.is_installed()}
                for m in known
            ]
        )
        return
    rows = [
        (
            clean(method.name),
            ", ".join(method.runtimes),
            clean(method.summary) if method.is_installed() else f"{clean(method.summary)}: not in the installed peft",
        )
        for method in known
    ]
    show(plain_table(("method", "runtime", ""), rows, left=3))


def _catalogue(kind: FileKind, name: str | None, as_json: bool) -> None:
    from peftbench.report.layout import plain_table
    from peftbench.spec.files import shipped
    from peftbench.text import clean

    if name is not None:
        found = _read(kind, name)
        if as_json:
            print_json(
                {"name": found.name, "description": found.description, "path": str(found.path), **_content(found)}
            )
        else:
            for line in [f"# {found.path}", *found.path.read_text("utf-8-sig").splitlines()]:
                indent = len(line) - len(line.lstrip(" "))
                print(" " * indent + clean(line))
        return
    known = [_read(kind, one) for one in shipped(kind)]
    if as_json:
        print_json([{"name": one.name, "description": one.description, "path": str(one.path)} for one in known])
    else:
        show(plain_table((kind, ""), [(one.name, one.description) for one in known], left=2))


def _read(kind: FileKind, name: str) -> RecipeFile | SweepFile:
    from peftbench.spec.files import read_recipe
    from peftbench.spec.sweep import read_sweep

    return read_sweep(name) if kind == "sweep" else read_recipe(kind, name)


def _content(found: RecipeFile | SweepFile) -> dict[str, Any]:
    """Return what a file states beyond its description, as JSON."""
    from peftbench.spec.files import RecipeFile

    if isinstance(found, RecipeFile):
        pin = {"pin": list(found.pin)} if found.pin else {}
        return {**pin, **found.tables, **({"adjust": found.adjust} if found.adjust else {})}
    return {
        "workload": found.workload,
        "presets": found.presets,
        "seeds": found.seeds,
        "set": found.settings,
        "grid": found.grid,
        "skip": found.skips,
    }

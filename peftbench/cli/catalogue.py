"""`peftbench presets`, `workloads`, `sweeps` and `methods`: list or show what can be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from peftbench.cli.output import Json, print_json, show

if TYPE_CHECKING:
    from peftbench.spec.files import FileKind, RecipeFile
    from peftbench.spec.sweep import SweepFile

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one, or a .toml file.")]


def presets(name: Name = None, as_json: Json = False) -> None:
    """List the presets, or show one.

    Example: peftbench presets dora-r12
    """
    _catalogue("preset", name, as_json)


def workloads(name: Name = None, as_json: Json = False) -> None:
    """List the workloads, or show one.

    Example: peftbench workloads quickstart
    """
    _catalogue("workload", name, as_json)


def sweeps(name: Name = None, as_json: Json = False) -> None:
    """List the sweeps, or show one.

    Example: peftbench sweeps study
    """
    _catalogue("sweep", name, as_json)


def methods(
    check: Annotated[
        bool,
        typer.Option("--check", help="Train every adapter type of the installed PEFT on a small encoder: minutes."),
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="With --check: only this type, such as LOHA.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="With --check: as a page of Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """List the methods, their runtimes, and whether each can run in this installation.

    With --check: what each adapter type of PEFT can do here, through `method.name = "peft"` or a method of its own. No
    download is needed.

    Example: peftbench methods
    """
    from peftbench.errors import UsageError

    if check:
        _peft_types([name.upper() for name in only or ()], markdown, as_json)
        return
    if only or markdown:
        raise UsageError("--type and --markdown need --check", "use: peftbench methods --check --type LOHA")
    _methods(as_json)


def _methods(as_json: bool) -> None:
    from peftbench.methods.registry import registered
    from peftbench.report.plain_table import plain_table
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


def _peft_types(only: list[str], markdown: bool, as_json: bool) -> None:
    from dataclasses import asdict
    from importlib.metadata import version

    from peftbench.errors import UsageError, did_you_mean
    from peftbench.methods.peft_types import KNOWN
    from peftbench.report.peft_types import markdown_page, table
    from peftbench.training.peft_check import check_types

    names = [entry.peft_type for entry in KNOWN]
    results = check_types(only)
    if missing := [name for name in only if not any(row.name.partition(",")[0] == name for row in results)]:
        raise UsageError(
            f"--type {missing[0]}: peft {version('peft')} has no such type{did_you_mean(missing[0], names)}"
        )
    if as_json:
        print_json({"peft": version("peft"), "types": [asdict(row) for row in results]})
    elif markdown:
        print(markdown_page(results, version("peft")), end="")
    else:
        show(table(results))


def _catalogue(kind: FileKind, name: str | None, as_json: bool) -> None:
    from peftbench.report.plain_table import plain_table
    from peftbench.spec.files import shipped
    from peftbench.text import clean

    if name is not None:
        file = _read(kind, name)
        if as_json:
            print_json({"name": file.name, "description": file.description, "path": str(file.path), **_content(file)})
        else:
            for line in [f"# {file.path}", *file.path.read_text("utf-8-sig").splitlines()]:
                indent = len(line) - len(line.lstrip(" "))
                print(" " * indent + clean(line))
        return
    known = [_read(kind, entry) for entry in shipped(kind)]
    if as_json:
        print_json([{"name": entry.name, "description": entry.description, "path": str(entry.path)} for entry in known])
    else:
        show(plain_table((kind, ""), [(entry.name, entry.description) for entry in known], left=2))


def _read(kind: FileKind, name: str) -> RecipeFile | SweepFile:
    from peftbench.spec.files import read_recipe
    from peftbench.spec.sweep import read_sweep

    return read_sweep(name) if kind == "sweep" else read_recipe(kind, name)


def _content(file: RecipeFile | SweepFile) -> dict[str, Any]:
    """Return the content of a file without its description, as JSON-compatible values."""
    from peftbench.spec.files import RecipeFile

    if isinstance(file, RecipeFile):
        pin = {"pin": list(file.pin)} if file.pin else {}
        return {**pin, **file.tables, **({"adjust": file.adjust} if file.adjust else {})}
    return {
        "workload": file.workload,
        "presets": file.presets,
        "seeds": file.seeds,
        "set": file.settings,
        "grid": file.grid,
        "skip": file.skips,
    }

"""`peftbench presets`, `workloads` and `methods`: what there is to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peftbench.cli.output import Json, print_json, show

if TYPE_CHECKING:
    from peftbench.spec.files import Kind

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one, or a .toml file.")]


def presets(name: Name = None, as_json: Json = False) -> None:
    """List the presets, or show one."""
    _catalogue("preset", name, as_json)


def workloads(name: Name = None, as_json: Json = False) -> None:
    """List the workloads, or show one."""
    _catalogue("workload", name, as_json)


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


def _catalogue(kind: Kind, name: str | None, as_json: bool) -> None:
    from peftbench.report.layout import plain_table
    from peftbench.spec.files import read_recipe, shipped
    from peftbench.text import clean

    if name is not None:
        recipe = read_recipe(kind, name)
        if as_json:
            tables = recipe.tables | ({"adjust": recipe.adjust} if recipe.adjust else {})
            pin = {"pin": list(recipe.pin)} if recipe.pin else {}
            print_json(
                {
                    "name": recipe.name,
                    "description": recipe.description,
                    "path": str(recipe.path),
                    **pin,
                    **tables,
                }
            )
        else:
            for line in [f"# {recipe.path}", *recipe.path.read_text("utf-8-sig").splitlines()]:
                indent = len(line) - len(line.lstrip(" "))
                print(" " * indent + clean(line))
        return
    recipes = [read_recipe(kind, one) for one in shipped(kind)]
    if as_json:
        print_json([{"name": r.name, "description": r.description, "path": str(r.path)} for r in recipes])
    else:
        show(plain_table((kind, ""), [(r.name, r.description) for r in recipes], left=2))

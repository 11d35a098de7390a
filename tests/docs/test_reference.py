"""The reference pages say what the program does: those that are generated, and those of exit codes and flags."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from peftbench import errors
from peftbench.analysis import flags
from peftbench.spec import RunSpec

DOCS = Path(__file__).parents[2] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_column(page: str, cells: int = 1) -> list[tuple[str, ...]]:
    """Return the first cells of every row of a page's tables, without their headers."""
    rows = re.findall(r"^\| (.*) \|$", (DOCS / "reference" / page).read_text("utf-8"), re.MULTILINE)
    parts = [tuple(cell.strip().strip("`") for cell in row.split("|")) for row in rows]
    headers = {number - 1 for number, row in enumerate(parts) if row[0] == "---"}
    return [row[:cells] for number, row in enumerate(parts) if row[0] != "---" and number not in headers]


@pytest.mark.parametrize("page", ["cli.md", "spec.md", "schema.md", "workloads.md", "encoders.md", "learning-rates.md"])
def test_a_generated_page_is_what_the_program_says(page: str) -> None:
    committed = (DOCS / "reference" / page).read_text("utf-8")
    assert committed == generator().PAGES[page](), f"docs/reference/{page} is stale: run `make docs`"


def test_every_table_of_a_spec_has_its_keys_there() -> None:
    keys = {row[0] for row in first_column("spec.md")}
    tables = {name for name, field in RunSpec.model_fields.items() if isinstance(field.default, BaseModel)}
    assert tables == {"head", "eval", "split", "quantization"}
    for name in tables:
        fields = type(RunSpec.model_fields[name].default).model_fields
        assert {f"{name}.{key}" for key in fields if key != "tasks"} <= keys


def test_every_exit_code_is_explained() -> None:
    named = {name: str(value) for name, value in vars(errors).items() if name.startswith("EXIT_")}
    classes = {
        name: str(value.exit_code)
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.PeftbenchError)
    }
    rows = first_column("exit-codes.md", 2)
    assert dict(row[::-1] for row in rows if row[0].isdigit()) == named
    assert dict(row for row in rows if not row[0].isdigit()) == classes


def test_every_flag_is_explained() -> None:
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(flags))) if isinstance(node, ast.Call)]
    raised = {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Flag" and isinstance(call.args[0], ast.Constant)
    }
    assert len(raised) > 20
    assert {row[0] for row in first_column("flags.md")} == raised

"""The tests' own shape: what two test modules share is in a module of helpers."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def imported(module: Path) -> set[str]:
    """Return all that a module imports, also in the scripts that it hands to processes."""
    names: set[str] = set()
    text = module.read_text(encoding="utf-8")
    if "test_" not in "".join(line for line in text.splitlines() if "import" in line):
        return names
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= {line.split()[1] for line in node.value.splitlines() if line.startswith("from tests.")}
    return names


def test_no_module_imports_a_test_module() -> None:
    modules = {
        ".".join(path.relative_to(TESTS.parent).with_suffix("").parts): path for path in TESTS.rglob("test_*.py")
    }
    imports = {
        str(path.relative_to(TESTS)): {
            name
            for name in imported(path)
            if any(name == module or name.startswith(f"{module}.") for module in modules)
        }
        for path in TESTS.rglob("*.py")
    }
    assert {path: names for path, names in imports.items() if names} == {}

"""Writes the reference pages that the program itself knows: commands, keys of a spec, tables of the store, workloads.

It also writes the table of families in the page of encoders.

    python docs/generate.py

`make docs` runs it; a test fails where a page that is committed is not what this writes.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from peftbench.cli import COMMANDS, build
from peftbench.families import FAMILIES, Family
from peftbench.methods.options import MethodOptions
from peftbench.methods.rates import RATES
from peftbench.methods.registry import registered
from peftbench.spec import read_recipe, resolve, shipped
from peftbench.spec.augment import AugmentSpec, BackTranslationSpec, EdaSpec
from peftbench.spec.encoder import EncoderSpec
from peftbench.spec.model import EvalSpec, HeadChange, HeadSpec, RunSpec, SplitSpec, TrainSpec
from peftbench.spec.quantization import QuantizationSpec
from peftbench.store.connection import open_for_writing
from peftbench.tasks import FilesSource, HubSource, QuickstartSource, TaskSpec

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the program itself: change that, then run `make docs`. -->"
_SUFFIX = re.compile(r"\s*\[([^\[\]]*(?:default: |required|x[<>]|<=x)[^\[\]]*)\]$")
# Tables of a spec: how a key of theirs begins, and their model.
_SPEC_TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("encoder", EncoderSpec),
    ("head", HeadSpec),
    ("head.tasks.TASK", HeadChange),
    ("train", TrainSpec),
    ("eval", EvalSpec),
    ("split", SplitSpec),
    ("quantization", QuantizationSpec),
    ("augment", AugmentSpec),
    ("augment.eda", EdaSpec),
    ("augment.backtranslate", BackTranslationSpec),
    ("tasks.TASK", TaskSpec),
    ("tasks.TASK.source", FilesSource),
    ("tasks.TASK.source", HubSource),
    ("tasks.TASK.source", QuickstartSource),
)
_HUB = tomllib.loads((Path(__file__).parent / "hub_datasets.toml").read_text("utf-8"))
_LABELS_SHOWN = 3
_TABLE_BEGINS = "<!-- The table, to its end, is written by docs/generate.py: run `make docs`. -->"
_TABLE_ENDS = "<!-- The table ends here. -->"


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def code(text: str) -> str:
    """Return a text as code in a cell."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


# The command line


def commands() -> str:
    """Return the page of every command."""
    root: Any = typer.main.get_command(build(COMMANDS, completion=True))
    lines = [
        *("# Commands", "", NOTE, ""),
        "A RUN is an id, a name, a unique prefix of either, or `latest`. Every listing takes `--json`. The variables "
        "`PEFTBENCH_DB`, `PEFTBENCH_RUNS_FOLDER` and `PEFTBENCH_CACHE` stand for `--db`, `--runs-folder` and the "
        "cache's folder. What the exit codes mean: [exit codes](exit-codes.md).",
        "",
        *_command(root, ("peftbench",), "the dashboard"),
    ]
    return _page(lines)


def _command(command: Any, path: tuple[str, ...], named: str = "") -> Iterator[str]:
    name = " ".join(path)
    yield from (f"## {name}{', ' + named if named else ''}", "")
    context = command.make_context(name, [], resilient_parsing=True)
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    for paragraph in paragraphs:
        if paragraph.startswith("Example: "):
            yield from ("```text", paragraph.removeprefix("Example: "), "```", "")
        else:
            yield from (cell(paragraph), "")
    usage = " ".join(command.get_usage(context).split()).removeprefix("Usage: ")
    yield from ("```text", usage, "```", "")
    records = [_parameter(parameter, context) for parameter in command.get_params(context)]
    rows = [row for row in records if row is not None]
    if rows:
        yield from table(("argument or option", "", "default"), rows)
    for word, subcommand in getattr(command, "commands", {}).items():
        yield from _command(subcommand, (*path, word))


def _parameter(parameter: Any, context: Any) -> tuple[str, str, str] | None:
    record = parameter.get_help_record(context)
    if record is None or "--help" in parameter.opts:
        return None
    word, text = record
    default = ""
    while found := _SUFFIX.search(text):
        text = text[: found.start()]
        for part in found[1].split("; "):
            if part.startswith("default: "):
                default = code(part.removeprefix("default: "))
            elif part == "required":
                default = "required"
            else:
                text += f" ({part.replace('x', 'N')})"
    # Where an option has no word of its own for its value, and after each argument, typer names the type.
    word = word.replace("<str>", "TEXT").replace("<path>", "FILE") if word.startswith("-") else word.partition(" <")[0]
    return code(word), cell(text), default


# The keys of a spec


def spec_keys() -> str:
    """Return the page of every key of a spec."""
    lines = [
        *("# Keys of a spec", "", NOTE, ""),
        "What `--set KEY=VALUE`, a preset, a workload and a sweep can give, with the defaults of the models "
        "themselves; a preset or a workload may give another one. Which of them wins: "
        "[presets, workloads, overrides](specs.md). `peftbench show RUN --spec` shows the values of a run and where "
        "each came from.",
        "",
        *("## Outside any table", ""),
        *_keys("", RunSpec, only=("runtime", "precision", "seed")),
        *_method_keys(),
    ]
    for prefix, model in _SPEC_TABLES:
        kind = model.model_fields["type"].default if prefix.endswith(".source") else None
        lines += [f"## {prefix}{f', type {kind}' if kind else ''}", "", _said(model), ""]
        lines += _keys(f"{prefix}.", model)
    return _page(lines)


def _method_keys() -> Iterator[str]:
    for info in registered().values():
        if info.options.__module__ != MethodOptions.__module__:
            continue  # of a plug-in that happens to be installed
        yield from (f"## method, {info.name}", "", f"{_said(info.options)} Runtimes: {', '.join(info.runtimes)}.", "")
        own = [name for name in info.options.model_fields if name != "name"]
        yield from _keys("method.", info.options, only=own) if own else ("No keys but `method.name`.", "")


def _said(model: type[BaseModel]) -> str:
    """Return what a model's docstring says of it."""
    return cell((model.__doc__ or "").split("\n\n")[0].strip())


def _keys(prefix: str, model: type[BaseModel], only: Sequence[str] | None = None) -> list[str]:
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    rows = []
    for name, of_key in schema["properties"].items():
        if only is not None and name not in only:
            continue
        rows.append(
            (
                code(prefix + name),
                cell(_type(of_key, schema.get("$defs", {}))),
                _default(of_key, name in required),
                cell(of_key.get("description", "").removeprefix("default: ")),
            )
        )
    return table(("key", "type", "default", ""), rows)


def _type(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return "table" if "properties" in defs[schema["$ref"].rpartition("/")[2]] else "text"
    if "const" in schema:
        return code(str(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "anyOf" in schema or "oneOf" in schema:
        parts = dict.fromkeys(_type(part, defs) for part in schema.get("anyOf", schema.get("oneOf", ())))
        return " or ".join(part for part in parts if part != "none") + (" or none" if "none" in parts else "")
    kind = schema.get("type", "any")
    if kind == "array":
        return "list of " + (_type(schema["items"], defs) if "items" in schema else "numbers")
    names = {"string": "text", "boolean": "true, false", "number": "number", "integer": "whole number"}
    return {**names, "object": "table", "null": "none"}.get(kind, kind) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    said = [f"{words} {_number(schema[key])}" for key, words in signs.items() if key in schema]
    return f", {', '.join(said)}" if said else ""


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:g}"


def _default(schema: Mapping[str, Any], required: bool) -> str:
    if "default" not in schema:
        if schema.get("description", "").startswith("default: "):
            return "see there"
        return "required" if required else ""
    value = schema["default"]
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ""  # a table: its own keys say it
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, list | tuple):
        return code(", ".join(map(str, value)))
    return code(str(value))


# The store


def store_schema() -> str:
    """Return the page of every table and view of a database of this version."""
    lines = [
        *("# Tables and views", "", NOTE, ""),
        "Of a database that this version has made. What a row of each is: [the store](store.md). Columns end in their "
        "unit (`_s`, `_mib`, `_j`, `_w`); a value that does not exist is NULL.",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        connection = open_for_writing(Path(folder) / "fresh.db")
        try:
            names = "SELECT name, sql FROM sqlite_master WHERE type = ? AND name NOT LIKE '%sqlite%' ORDER BY name"
            for name, _ in connection.execute(names, ("view",)).fetchall():
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                lines += [f"## {name}, a view", "", ", ".join(code(column[1]) for column in columns), ""]
            for name, _ in connection.execute(names, ("table",)).fetchall():
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                rows = [(code(c[1]), c[2], "key" if c[5] else "not NULL" if c[3] else "") for c in columns]
                lines += [f"## {name}, a table", "", *table(("column", "type", ""), rows)]
        finally:
            connection.close()
    return _page(lines)


# The workloads


def workloads() -> str:
    """Return the page of every shipped workload and the hub's data sets."""
    specs = {name: resolve("lora-r12", name).spec for name in shipped("workload")}
    rows = [
        (
            code(name),
            cell(read_recipe("workload", name).description),
            ", ".join(code(task.name) for task in spec.tasks),
            cell(spec.encoder.name.rpartition("/")[2]),
            str(spec.train.epochs),
            _reported(spec),
        )
        for name, spec in specs.items()
    ]
    tasks = (task for spec in specs.values() for task in spec.tasks)
    on_hub = dict.fromkeys(_hub_row(task, task.source) for task in tasks if isinstance(task.source, HubSource))
    columns = ("task", "data set", "texts", "labels", "metric", "train", "dev", "test", "licence")
    return _page(
        [
            *("# Workloads", "", NOTE, ""),
            "What is shipped; `peftbench workloads NAME` shows the file, and a file of your own can stand for any of "
            "them ([presets, workloads, overrides](specs.md)). `reported`: the examples whose scores are reported and "
            "compared; where they are a part of dev, the rest of it chooses the epoch.",
            "",
            *table(("workload", "", "tasks", "encoder", "epochs", "reported"), rows),
            *("## Data sets of the hub", ""),
            "Rows and licences are those that the hub states; the data are downloaded, and no part of them is shipped.",
            "",
            *table(columns, list(on_hub)),
            "How class names, withheld labels and revisions are treated, and how to work without a network: "
            "[data](../how-to/data.md#the-hub).",
        ]
    )


def _hub_row(task: TaskSpec, source: HubSource) -> tuple[str, ...]:
    train, dev, *test = _HUB[source.path]["rows"][source.config or ""]
    return (
        code(task.name),
        code(source.path) + (f", {code(source.config)}" if source.config else ""),
        ", ".join(map(code, task.text)),
        _labels(task),
        code(task.headline),
        f"{code(source.train)}, {train:,}",
        f"{code(source.dev)}, {dev:,}",
        f"{code(source.test)}, {test[0]:,}" if source.test else "",
        cell(_HUB[source.path]["licence"]),
    )


def _labels(task: TaskSpec) -> str:
    if task.is_score:
        return f"{task.low:g} to {task.high:g}"
    if task.labels is None:
        return f"{task.classes or 2} classes"
    kind = {"tokens": "tags", "multilabel": "labels"}.get(task.kind, "classes")
    shown = ", ".join(code(name) for name in task.labels[:_LABELS_SHOWN])
    return shown if len(task.labels) <= _LABELS_SHOWN else f"{shown}, …: {len(task.labels)} {kind}"


def _reported(spec: RunSpec) -> str:
    if spec.split.select is not None:
        return f"{1 - spec.split.select:.0%} of dev"
    return "test" if spec.split.has_test else "dev"


# The families of encoders


def encoders() -> str:
    """Return the page of encoders with the table of their families; the rest of the page is as it is."""
    columns = ("family", "class", "attention", "runtime", "default targets", "poolings", "note")
    rows = table(columns, [_family_row(family) for family in FAMILIES])
    return _with_table("encoders.md", rows)


def _family_row(family: Family) -> tuple[str, ...]:
    roles = family.roles
    targets = dict.fromkeys((*roles.query, *roles.key, *roles.value))
    notes = (
        "" if targets else f"no query, key or value to adapt: {family.lacks}",
        "a text's states depend on the padding beside it" if family.sees_padding else "",
        family.note,
    )
    return (
        code(family.model_type),
        code(family.encoder_class),
        code(f"{family.attention} (causal)" if family.causal else family.attention),
        code("native" if family.native else "transformers"),
        ", ".join(map(code, targets)) or "none",
        ", ".join(map(code, family.poolings)),
        "; ".join(filter(None, notes)).replace("|", "\\|"),
    )


# Published learning rates


def learning_rates() -> str:
    """Return the page of published learning rates with their table; the rest of the page is as it is."""
    columns = ("method", "family", "size", "`auto`", "published", "with", "source", "read for this table")
    rows = [
        (
            *(", ".join(map(code, words)) for words in (row.methods, row.families)),
            *(", ".join(row.sizes), f"{row.lr:g}", row.published, row.setting, row.source),
            "yes" if row.checked else "no",
        )
        for row in RATES
    ]
    return _with_table("learning-rates.md", table(columns, rows))


def _with_table(name: str, rows: Sequence[str]) -> str:
    """Return a page with a table between its marks."""
    before, begin, rest = (FOLDER / name).read_text("utf-8").partition(_TABLE_BEGINS)
    _, end, after = rest.partition(_TABLE_ENDS)
    return "\n".join((f"{before}{begin}", "", *rows, f"{end}{after}"))


def _page(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands,
    "spec.md": spec_keys,
    "schema.md": store_schema,
    "workloads.md": workloads,
    "encoders.md": encoders,
    "learning-rates.md": learning_rates,
}


def main() -> None:
    """Write every page that is not as it should be."""
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"written: docs/reference/{name}")


if __name__ == "__main__":
    main()

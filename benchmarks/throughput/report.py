"""The figures as Markdown tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- throughput: begin -->", "<!-- throughput: end -->"
HEADER = ("", "ratio", "quartiles", "range", "steps/s", "examples/s", "tokens/s", "saved MiB", "peak RSS MiB")


def markdown(result: dict[str, Any]) -> str:
    """Return the full report: conditions, an overview of the ratios, all configurations."""
    under, lengths = result["measured_under"], result["lengths"]
    versions = ", ".join(f"{name} {under[name]}" for name in ("torch", "transformers", "peft", "peftbench"))
    parts = [
        f"{under['date']}, {under['device']}, {under['cores']} cores, {under['threads']} threads; {versions}.",
        f"Texts of {lengths['mean']} word pieces on average (5 % below {lengths['p5']}, 5 % above {lengths['p95']}).",
        "Ratio: examples a second over those of the method's bar (the column at 1).",
        "",
        *_overview(result["configurations"]),
    ]
    for each in result["configurations"]:
        parts += ["", *configuration(each)]
    if result.get("prefixes"):
        parts += ["", "### Computed once", "", *prefixes(result["prefixes"])]
    return "\n".join(parts) + "\n"


def write(path: Path, tables: str) -> None:
    """Write the tables between their marks in a page that has them, else as a new page."""
    page = path.read_text("utf-8") if path.exists() else ""
    if BEGIN in page and END in page:
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        tables = f"{before}{BEGIN}\n\n{tables}\n{END}{after}"
    path.write_text(tables, "utf-8")


def prefixes(found: list[dict[str, Any]]) -> list[str]:
    """Return the ratios of the prefix cache, line by line."""
    names = {
        "last_layer_10_epochs": "ours last-layer, 10 epochs / HF last-layer, uncached",
        "upper_half_over_all_layers": "ours lora on the upper half, after the first epoch / ours lora",
    }
    rows = [
        [f"{each['shape']}, batch {each['batch']}: {name}", *_spread(each[key])]
        for each in found
        for key, name in names.items()
    ]
    return table(HEADER[:4], rows)


def _overview(configurations: list[dict[str, Any]]) -> list[str]:
    """Return the median ratios of every configuration side by side."""
    names = dict.fromkeys(name for each in configurations for name in each["columns"])
    rows = [[name, *(_median(each["columns"].get(name)) for each in configurations)] for name in names]
    return table(["", *map(_title, configurations)], rows)


def configuration(found: dict[str, Any]) -> list[str]:
    """Return one configuration's tables, line by line."""
    lines = [f"### {_title(found)} ({found['rounds']} rounds)", "", *_columns(found, HEADER)]
    if found["other_ratios"]:
        rows = [[f"{each['column']} / {each['to']}", *_spread(each["ratio"])] for each in found["other_ratios"]]
        lines += ["", *table(HEADER[:4], rows)]
    if found.get("evaluation"):
        lines += ["", *_columns(found["evaluation"], ("evaluation", *HEADER[1:7]))]
    return lines


def _columns(found: dict[str, Any], header: tuple[str, ...]) -> list[str]:
    rows = []
    for name, figures in found["columns"].items():
        rates = [f"{figures['steps_per_s']:.2f}", f"{figures['examples_per_s']:.1f}", f"{figures['tokens_per_s']:.0f}"]
        memory = [_whole(figures.get("saved_mib")), _whole(figures.get("peak_rss_mib"))]
        rows.append([name, *_spread(figures["ratio"]), *rates, *memory][: len(header)])
    return table(header, rows)


def _median(figures: dict[str, Any] | None) -> str:
    return "" if figures is None else f"{figures['ratio']['median']:.2f}"


def _spread(ratio: dict[str, Any]) -> list[str]:
    return [
        f"{ratio['median']:.2f}",
        f"{ratio['q1']:.2f}-{ratio['q3']:.2f}",
        f"{ratio['low']:.2f}-{ratio['high']:.2f}",
    ]


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _title(found: dict[str, Any]) -> str:
    return f"{found['shape']}, batch {found['batch']}, dropout {found['dropout']:g}"


def table(header: tuple[str, ...] | list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table, its first column left-aligned, the others right-aligned."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]

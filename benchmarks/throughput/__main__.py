"""Command line: `python -m benchmarks.throughput`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.throughput import __doc__ as description
from benchmarks.throughput import report
from benchmarks.throughput.columns import METHODS, SHAPES, Setting, columns_of
from benchmarks.throughput.measure import configuration
from benchmarks.throughput.memory import ROOT, print_own_peak_rss
from benchmarks.throughput.prefixes import prefixes
from benchmarks.throughput.texts import random_texts, summary, text_lengths
from peftbench.errors import PeftbenchError
from peftbench.meters.conditions import measured_under

RESULTS = ROOT / "benchmarks" / "results"
WHOLE = {"shapes": ["base", "minilm"], "batches": [8, 64], "dropout": [0.0, 0.1], "budget": 40.0}
QUICK = {"shapes": ["base", "minilm"], "batches": [8], "dropout": [0.0], "budget": 10.0}


def main(argv: Sequence[str] | None = None) -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    arguments = parse(argv)
    if arguments.rss:
        print_own_peak_rss()
        return
    try:
        lengths = text_lengths(arguments.lengths)
    except (PeftbenchError, OSError) as error:
        sys.exit(f"--lengths: {error}")
    if len(lengths) < max(arguments.batches):
        sys.exit(f"--lengths: {len(lengths)} texts are fewer than a batch of {max(arguments.batches)}")
    split = random_texts(lengths)
    result: dict[str, Any] = {"measured_under": conditions(), "lengths": summary(lengths), "configurations": []}
    started = time.perf_counter()
    for shape in arguments.shapes:
        columns = columns_of(shape, arguments.methods)
        for size in arguments.batches:
            for dropout in arguments.dropout:
                first = dropout == arguments.dropout[0]
                rss = first and size == max(arguments.batches) and not (arguments.no_rss or arguments.quick)
                setting = Setting(shape, dropout)
                found = configuration(setting, size, split, columns, arguments.budget, evaluates=first, rss=rss)
                result["configurations"].append(found)
                print("\n".join([*report.configuration(found), ""]), flush=True)
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    if not arguments.no_prefixes:
        size = min(arguments.batches)
        kept = [shape for shape in arguments.shapes if SHAPES[shape].runtime == "native"]  # others have no prefix
        result["prefixes"] = [prefixes(shape, size, split, 2 if arguments.quick else 3) for shape in kept]
        print("\n".join([*report.prefixes(result["prefixes"]), ""]), flush=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.markdown:
        report.write(arguments.markdown, report.markdown(result))
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes; figures in {arguments.json}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="batch 8, dropout 0, short rounds, no peak RSS: 3 minutes")
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, metavar="SHAPE", help="base, minilm, modernbert, deberta, decoder"
    )
    parser.add_argument("--batches", nargs="+", type=int, metavar="N", help="batch sizes (default: 8 64)")
    parser.add_argument("--dropout", nargs="+", type=float, metavar="P", help="of the encoder (default: 0 0.1)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD", help="default: all")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="for a configuration's rounds (default: 40)")
    parser.add_argument("--lengths", type=Path, metavar="FILE", help="a table or lines of sentences, for their lengths")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: benchmarks/results/throughput.json")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables here, between their marks if it has them"
    )
    parser.add_argument("--no-rss", action="store_true", help="do not measure each column's peak RSS in a process")
    parser.add_argument("--no-prefixes", action="store_true", help="do not measure the prefix cache")
    parser.add_argument("--rss", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    for name, value in (QUICK if arguments.quick else WHOLE).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    arguments.json = arguments.json or RESULTS / f"throughput{'-quick' if arguments.quick else ''}.json"
    return arguments


def conditions() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        **measured_under(torch.device("cpu")),
        "peft": version("peft"),
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()

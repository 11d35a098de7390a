"""The benchmark's database of many runs can be read by the store's readers."""

from __future__ import annotations

from pathlib import Path

from benchmarks.many_runs import fill
from peftbench.analysis.comparison import compare
from peftbench.store.reader import Reader


def test_its_runs_are_listed_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    fill(path, 60)
    with Reader(path) as reader:
        runs = reader.runs()
        assert len(runs) == 60
        assert {run.state for run in runs} == {"finished", "queued"}
        first, second, *_ = (reader.record(run, predictions=True) for run in runs if run.state == "finished")
        assert (len(first.epochs), len(first.scores)) == (len(second.epochs), len(second.scores)) == (3, 18)
        assert len(compare([first, second]).groups) == 2

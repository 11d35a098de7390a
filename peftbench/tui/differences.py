"""What tells runs of one preset apart, for the runs table: `lr=0.001 epochs=2`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from peftbench.analysis.settings import differing, flat_spec, short_keys, text_of
from peftbench.store.rows import Run
from peftbench.text import clean

_NAMED = ("preset", "workload")  # have columns of their own


class Differences:
    """The differences of the listed runs, computed again when other runs are listed."""

    def __init__(self) -> None:
        self._ids: tuple[str, ...] = ()
        self._texts: Mapping[str, str] = {}
        self._specs: dict[str, dict[str, Any]] = {}

    def of(self, runs: Sequence[Run]) -> Mapping[str, str]:
        """Return the settings by run id in which runs of the same preset and workload differ; the seed comes last."""
        ids = tuple(run.id for run in runs)
        if ids != self._ids:
            self._ids = ids
            self._specs = {run.id: self._specs.get(run.id) or _flat(run) for run in runs}
            self._texts = self._told(runs)
        return self._texts

    def _told(self, runs: Sequence[Run]) -> dict[str, str]:
        groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for run in runs:
            groups[run.preset, run.workload].append(run.id)
        texts: dict[str, str] = {}
        for ids in groups.values():
            apart = [each for each in differing([self._specs[run_id] for run_id in ids]) if each[0] not in _NAMED]
            apart.sort(key=lambda each: each[0] == "seed")
            names = short_keys([key for key, _ in apart])
            for place, run_id in enumerate(ids):
                words = [f"{names[key]}={text_of(values[place])}" for key, values in apart]
                texts[run_id] = clean(" ".join(words))
        return texts


def _flat(run: Run) -> dict[str, Any]:
    try:
        return flat_spec(run)
    except (KeyError, TypeError, AttributeError):  # a spec of another program: its row is listed all the same
        return {}

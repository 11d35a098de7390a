"""Resolve a word of a command line to one run, or to the group of all finished runs of one spec.

In this order: the id or name of a run, or `latest`: that run. A preset, or a sweep's row (`lora-r12 rank=4`: a preset
and values of its spec): its finished runs, which must be of one spec on one data set. A prefix of a group's hash
(`GROUP` or `GROUP/DATA`): that group. A prefix of one run's id or name: that run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peftbench.analysis.groups import newest_by_seed, of_one_spec
from peftbench.analysis.settings import flat_spec, labels, text_of
from peftbench.errors import MissingError, UsageError, did_you_mean
from peftbench.store.rows import Run
from peftbench.text import clean

LATEST = "latest"
_HASH = re.compile(r"[0-9a-f]{6,64}(/[0-9a-f]{1,64})?")
_MOST_LISTED = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """Runs of one spec that a word selects, by seed, with a label; `repeats`: older runs of these seeds, left out."""

    label: str
    runs: tuple[Run, ...]
    repeats: tuple[Run, ...] = ()


def select(word: str, runs: Sequence[Run], workload: str | None = None) -> Selection:
    """Return the runs that a word selects.

    Args:
        word: as typed.
        runs: the store's, newest first; those that do not match may be missing.
        workload: where given, only its runs are searched; a run's own id or name matches anyway.

    Raises:
        MissingError: nothing matches.
        UsageError: several runs or groups match.
    """
    if not runs:
        raise MissingError("there are no runs yet", "start one: peftbench run --preset lora-r12")
    for run in runs:
        if word in (run.id, run.name):
            return Selection(run.name, (run,))
    here = [run for run in runs if workload in (None, run.workload)]
    if word == LATEST and here:
        return Selection(here[0].name, (here[0],))
    chosen = _preset(word, here) or _by_hash(word, here) or _by_prefix(word, here)
    if chosen is None:
        known = [*dict.fromkeys(run.preset for run in here), *(run.name for run in here)]
        where = f" on workload {clean(workload)}" if workload else ""
        raise MissingError(
            f"no run, preset or group matches '{clean(word)}'{where}{did_you_mean(word, known)}",
            "peftbench runs lists the runs; a preset counts where it has a finished run",
        )
    return chosen


def select_all(
    words: Sequence[str], candidates: Callable[[str], Sequence[Run]], workload: str | None = None
) -> list[Selection]:
    """Return what words select, in order and without duplicates; raises as `select` does.

    Args:
        words: as typed.
        candidates: returns the store's runs that a word may select, newest first.
        workload: as of `select`.
    """
    choices: dict[tuple[str, ...], Selection] = {}
    for word in words:
        choice = select(word, candidates(word), workload)
        choices.setdefault(tuple(run.id for run in choice.runs), choice)
    return list(choices.values())


def finished_groups(runs: Sequence[Run]) -> list[Selection]:
    """Return every group of finished runs, with labels that tell them apart."""
    groups = [newest_by_seed(of) for of in of_one_spec([run for run in runs if run.state == "finished"]).values()]
    names = labels([kept[0] for kept, _ in groups])
    return [Selection(name, tuple(kept), tuple(older)) for name, (kept, older) in zip(names, groups, strict=True)]


def _preset(word: str, runs: Sequence[Run]) -> Selection | None:
    preset, *conditions = word.split() or [""]
    of_it = [run for run in runs if run.preset == preset]
    fitting = [run for run in of_it if all(_has_value(condition, flat_spec(run)) for condition in conditions)]
    if not of_it:
        return None
    finished = [run for run in fitting if run.state == "finished"]
    if not finished and fitting:
        states = ", ".join(f"{clean(run.name)}: {run.state}" for run in fitting[:_MOST_LISTED])
        raise MissingError(f"no run of {clean(word)} has finished: {states}")
    if not finished:
        raise MissingError(f"no run of preset {clean(preset)} has {clean(' '.join(conditions))}")
    return _single_group(word, finished, clean(word))


def _has_value(condition: str, spec: dict[str, Any]) -> bool:
    """Tell whether a spec has a value, given as `rank=4` or `method.rank=4`."""
    key, equals, value = condition.partition("=")
    if not equals:
        raise UsageError(
            f"'{clean(condition)}' is not KEY=VALUE", "values of the spec follow a preset: 'lora-r12 rank=4'"
        )
    return any((name == key or name.endswith(f".{key}")) and text_of(held) == value for name, held in spec.items())


def _by_hash(word: str, runs: Sequence[Run]) -> Selection | None:
    if not _HASH.fullmatch(word):
        return None
    group, _, data = word.partition("/")
    fitting = [
        run
        for run in runs
        if run.state == "finished" and run.group_hash.startswith(group) and (run.data_hash or "").startswith(data)
    ]
    return _single_group(word, fitting, f"{clean(fitting[0].preset)} ({group[:8]})") if fitting else None


def _by_prefix(word: str, runs: Sequence[Run]) -> Selection | None:
    fitting = [run for run in runs if word and (run.id.startswith(word) or run.name.startswith(word))]
    if len(fitting) > 1:
        listed = ", ".join(f"{clean(run.name)} ({run.id})" for run in fitting[:_MOST_LISTED])
        groups = dict.fromkeys(clean(run.preset) for run in fitting if run.state == "finished")
        raise UsageError(
            f"'{clean(word)}' matches {len(fitting)} runs: {listed}{', …' if len(fitting) > _MOST_LISTED else ''}",
            f"type more of the name, or a preset for all its seeds: {', '.join(groups)}" if groups else None,
        )
    return Selection(fitting[0].name, (fitting[0],)) if fitting else None


def _single_group(word: str, finished: Sequence[Run], label: str) -> Selection:
    groups = of_one_spec(finished)
    if len(groups) == 1:
        kept, older = newest_by_seed(finished)
        return Selection(label, tuple(kept), tuple(older))
    names = labels([of[0] for of in groups.values()])
    listed = [
        f"{clean(name)}: group {group[:12]}, data {(data or '–')[:12]}, workload {clean(of[0].workload)}, "
        f"{len(of)} run{'s' * (len(of) > 1)}"
        for name, ((group, data), of) in zip(names, groups.items(), strict=True)
    ]
    more = [f"… and {len(listed) - _MOST_LISTED} more"] if len(listed) > _MOST_LISTED else []
    workloads = {of[0].workload for of in groups.values()}
    by_workload = ", or --workload NAME" if len(workloads) > 1 else ""
    raise UsageError(
        "\n".join([f"'{clean(word)}' matches {len(groups)} groups of finished runs:", *listed[:_MOST_LISTED], *more]),
        f"name one by a setting ('PRESET KEY=VALUE'), by its hash (GROUP or GROUP/DATA){by_workload}",
    )

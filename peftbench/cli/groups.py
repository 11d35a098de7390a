"""Which groups of runs a command is about, and what it reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peftbench.analysis.choosing import Choice
    from peftbench.analysis.groups import Group
    from peftbench.store.reader import Reader
    from peftbench.store.rows import Run, SampleRow

MOST = 60


def finished_or_named(reader: Reader, words: Sequence[str], workload: str | None, command: str) -> list[Group]:
    """Return the groups asked for, or all finished ones of one workload: the newest finished run's where none is named.

    Raises:
        MissingError: there is none.
        UsageError: they are too many, or a word fits several.
        RefusedError: they are of different workloads.
    """
    from peftbench.analysis.choosing import choose_all, finished_groups
    from peftbench.errors import RefusedError, UsageError
    from peftbench.text import clean

    runs = reader.runs()
    choices: list[Choice] = choose_all(words, runs, workload) if words else finished_groups(_finished(runs, workload))
    if len(choices) > MOST:
        raise UsageError(f"{command} takes up to {MOST} groups, not {len(choices)}", "name some of them")
    workloads = sorted({run.workload for one in choices for run in one.runs})
    if len(workloads) > 1:
        raise RefusedError(
            f"these runs are of different workloads: {', '.join(map(clean, workloads))}",
            "scores on different data say nothing about the methods; choose one with --workload",
        )
    return groups_of(reader, choices)


def groups_of(reader: Reader, choices: Sequence[Choice]) -> list[Group]:
    """Read the groups that were chosen, with their predictions."""
    from peftbench.analysis.groups import group

    return [group(one.label, [reader.record(run, predictions=True) for run in one.runs]) for one in choices]


def power_samples(reader: Reader, groups: Sequence[Group]) -> dict[str, list[SampleRow]]:
    """Return the meters' samples of each group's first run, by the run's id."""
    return {one.first.id: reader.samples(one.first.id) for one in groups}


def metric_of(option: str, name: str, groups: list[Group]) -> None:
    """See that a metric is Dev Avg or a task of the groups.

    Raises:
        UsageError: it is neither.
    """
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.text import clean

    known = [*dict.fromkeys(task for one in groups for task in one.records[0].tasks), "dev_avg"]
    if name not in known:
        raise UsageError(
            f"{option}: no metric '{clean(name)}'{did_you_mean(name, known)}",
            f"metrics: {', '.join(map(clean, known))}",
        )


def _finished(runs: Sequence[Run], workload: str | None) -> list[Run]:
    """Return the finished runs of a workload."""
    from peftbench.errors import MissingError, did_you_mean
    from peftbench.text import clean

    finished = [run for run in runs if run.state == "finished"]
    if not finished:
        raise MissingError("no run has finished yet", "start one: peftbench run --preset lora-r12")
    wanted = workload or finished[0].workload
    known = sorted({run.workload for run in finished})
    if wanted not in known:
        raise MissingError(
            f"no run on workload '{clean(wanted)}' has finished{did_you_mean(wanted, known)}",
            f"workloads with finished runs: {', '.join(map(clean, known))}",
        )
    return [run for run in finished if run.workload == wanted]

"""Select the groups of runs that a command analyses, and read their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peftbench.analysis.groups import Group
    from peftbench.analysis.selection import Selection
    from peftbench.store.reader import Reader
    from peftbench.store.rows import Run, SampleRow

MOST = 60


def finished_or_named(reader: Reader, words: Sequence[str], workload: str | None, command: str) -> list[Group]:
    """Return the named groups, or all finished groups of one workload (default: that of the newest finished run).

    Raises:
        MissingError: there is none.
        UsageError: there are more than `MOST`, or a word is ambiguous.
        RefusedError: their workloads differ.
    """
    from peftbench.analysis.selection import finished_groups, select_all
    from peftbench.errors import RefusedError, UsageError
    from peftbench.text import clean

    choices: list[Selection]
    if words:
        choices = select_all(words, lambda word: reader.candidates(word, workload), workload)
    else:
        choices = finished_groups(_finished(reader, workload))
    if len(choices) > MOST:
        raise UsageError(f"{command} takes up to {MOST} groups, not {len(choices)}", "name some of them")
    workloads = sorted({run.workload for choice in choices for run in choice.runs})
    if len(workloads) > 1:
        raise RefusedError(
            f"these runs are of different workloads: {', '.join(map(clean, workloads))}",
            "scores on different data do not compare the methods; choose one with --workload",
        )
    return groups_of(reader, choices)


def groups_of(reader: Reader, choices: Sequence[Selection]) -> list[Group]:
    """Read the chosen groups from the database, with their predictions."""
    from peftbench.analysis.groups import group_of

    return [group_of(choice.label, [reader.record(run, predictions=True) for run in choice.runs]) for choice in choices]


def power_samples(reader: Reader, groups: Sequence[Group]) -> dict[str, list[SampleRow]]:
    """Return the meter samples of each group's first run, by run id."""
    return {group.first.id: reader.samples(group.first.id) for group in groups}


def metric_of(option: str, name: str, groups: list[Group]) -> None:
    """Check that a metric is `dev_avg` or a task of the groups.

    Raises:
        UsageError: it is neither of these.
    """
    from peftbench.errors import UsageError, did_you_mean
    from peftbench.text import clean

    known = [*dict.fromkeys(task for group in groups for task in group.records[0].tasks), "dev_avg"]
    if name not in known:
        raise UsageError(
            f"{option}: no metric '{clean(name)}'{did_you_mean(name, known)}",
            f"metrics: {', '.join(map(clean, known))}",
        )


def _finished(reader: Reader, workload: str | None) -> list[Run]:
    """Return the finished runs of a workload."""
    from peftbench.errors import MissingError, did_you_mean
    from peftbench.store.rows import RunFilter
    from peftbench.text import clean

    known = reader.workloads_finished()
    if not known:
        raise MissingError("no run has finished yet", "start one: peftbench run --preset lora-r12")
    chosen = workload or known[0]
    if chosen not in known:
        raise MissingError(
            f"no run on workload '{clean(chosen)}' has finished{did_you_mean(chosen, known)}",
            f"workloads with finished runs: {', '.join(map(clean, sorted(known)))}",
        )
    return reader.runs(RunFilter(states=("finished",), workload=chosen))

"""Which stored groups stand for which row of the study, and which are a row with augmented data beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peftbench.analysis.groups import Group
from peftbench.analysis.settings import flat_spec

FULL, LORA, BEST = "full", "lora-r12", "dora-r12"
HEADS = "last-layer-dropout"  # as the study ran its first row: the encoder's dropout was on
RANKS: Mapping[int, str] = {1: "dora-r1", 4: "dora-r4", 12: BEST, 24: "dora-r24", 128: "dora-r128"}
ROWS = ("last-layer", HEADS, FULL, LORA, *RANKS.values())  # the presets that repeat a row, in the tables' order


@dataclass(frozen=True, slots=True)
class StudyGroups:
    """Groups of one workload by the preset whose row they repeat; `augmented` holds pairs (without, with).

    `others` are further groups of these presets, with other settings: of each preset the one with the most runs counts,
    of equals the newest.
    """

    rows: Mapping[str, Group]
    augmented: tuple[tuple[Group, Group], ...]
    others: tuple[Group, ...]

    @property
    def ranks(self) -> dict[int, Group]:
        """The DoRA groups by rank, the smallest first."""
        return {rank: self.rows[preset] for rank, preset in RANKS.items() if preset in self.rows}

    @property
    def all(self) -> tuple[Group, ...]:
        """Every group that counts, each once."""
        found = {id(one): one for one in (*self.rows.values(), *(one for pair in self.augmented for one in pair))}
        return tuple(found.values())


def study_groups(groups: Sequence[Group]) -> StudyGroups:
    """Sort the finished groups of a workload into the study's rows."""
    plain = [one for one in groups if not _augmented(one)]
    rows, others = {}, []
    for preset in ROWS:
        of_it = sorted((one for one in plain if one.first.preset == preset), key=_weight, reverse=True)
        if of_it:
            rows[preset] = of_it[0]
            others += of_it[1:]
    without = {_spec_without(one): one for one in plain}
    pairs = [(without[key], one) for one in groups if _augmented(one) and (key := _spec_without(one)) in without]
    return StudyGroups(rows, tuple(pairs), tuple(others))


def _weight(one: Group) -> tuple[int, str]:
    return len(one.records), max(record.run.created_at for record in one.records)


def _augmented(one: Group) -> bool:
    return any(_is_augment(key) and value is not None for key, value in flat_spec(one.first).items())


def _spec_without(one: Group) -> str:
    """Return a spec without its seed and what it says of augmentation."""
    kept = {key: value for key, value in flat_spec(one.first).items() if key != "seed" and not _is_augment(key)}
    return repr(sorted(kept.items()))


def _is_augment(key: str) -> bool:
    return key.partition(".")[0] == "augment"

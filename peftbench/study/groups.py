"""Assign stored groups to the rows of the study, and pair groups with and without augmented data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peftbench.analysis.groups import Group
from peftbench.analysis.settings import flat_spec
from peftbench.analysis.task_order import order_pairs

FULL, LORA, BEST = "full", "lora-r12", "dora-r12"
HEADS = "last-layer-dropout"  # the study's first row: encoder dropout was on
AUGMENTED = "dora-r12-augmented"
RANKS: Mapping[int, str] = {1: "dora-r1", 4: "dora-r4", 12: BEST, 24: "dora-r24", 128: "dora-r128"}
ROWS = ("last-layer", HEADS, FULL, LORA, *RANKS.values())  # presets that reproduce a row, in the order of the tables
# The study's augmentation settings: groups with other settings do not reproduce its augmented row.
_STUDY_AUGMENTATION = {
    "augment.method": "both",
    "augment.eda.n_aug": 9,
    "augment.backtranslate.pivot": "ko",
    "augment.backtranslate.model": "google/madlad400-3b-mt",
}


@dataclass(frozen=True, slots=True)
class StudyGroups:
    """Groups of one workload by the preset whose row they reproduce.

    `augmented` has pairs (without, with); `reordered` has pairs that differ only in the order of their tasks.

    `others` are further groups of these presets, with different settings: for each preset the group with the most runs
    is used, the newest in case of ties.
    """

    rows: Mapping[str, Group]
    augmented: tuple[tuple[Group, Group], ...]
    others: tuple[Group, ...]
    reordered: tuple[tuple[Group, Group], ...] = ()

    def row(self, preset: str) -> Group | None:
        """Return the group that reproduces a preset's row; `AUGMENTED` only with the study's settings."""
        if preset != AUGMENTED:
            return self.rows.get(preset)
        alike = [
            group
            for without, group in self.augmented
            if without is self.rows.get(BEST) and _augmented_as_in_study(group)
        ]
        return max(alike, key=_weight, default=None)

    @property
    def ranks(self) -> dict[int, Group]:
        """The DoRA groups by rank, ascending."""
        return {rank: self.rows[preset] for rank, preset in RANKS.items() if preset in self.rows}

    @property
    def all(self) -> tuple[Group, ...]:
        """All groups that are used, each once."""
        unique = {
            id(group): group for group in (*self.rows.values(), *(group for pair in self.augmented for group in pair))
        }
        return tuple(unique.values())


def study_groups(groups: Sequence[Group], reordered: Sequence[Group] = ()) -> StudyGroups:
    """Assign the finished groups of a workload to the study's rows.

    Args:
        groups: groups of the workload.
        reordered: groups of other workloads that may have the same tasks in another order.
    """
    plain = [group for group in groups if not _augmented(group)]
    rows, others = {}, []
    for preset in ROWS:
        of_it = sorted((group for group in plain if group.first.preset == preset), key=_weight, reverse=True)
        if of_it:
            rows[preset] = of_it[0]
            others += of_it[1:]
    without = {_spec_without(group): group for group in plain}
    pairs = [
        (without[key], group) for group in groups if _augmented(group) and (key := _spec_without(group)) in without
    ]
    return StudyGroups(rows, tuple(pairs), tuple(others), order_pairs([*groups, *reordered]))


def _augmented_as_in_study(group: Group) -> bool:
    spec = flat_spec(group.first)
    return all(spec.get(key) == value for key, value in _STUDY_AUGMENTATION.items())


def _weight(group: Group) -> tuple[int, str]:
    return len(group.records), max(record.run.created_at for record in group.records)


def _augmented(group: Group) -> bool:
    return any(_is_augment(key) and value is not None for key, value in flat_spec(group.first).items())


def _spec_without(group: Group) -> str:
    """Return a key of a spec without its seed and augmentation settings."""
    kept = {key: value for key, value in flat_spec(group.first).items() if key != "seed" and not _is_augment(key)}
    return repr(sorted(kept.items()))


def _is_augment(key: str) -> bool:
    return key.partition(".")[0] == "augment"

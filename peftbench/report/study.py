"""The study, claim by claim, and its tables with ours beside the published figures: as a page and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from peftbench.analysis.claims import Finding
from peftbench.analysis.comparison import LEADERBOARD, Comparison
from peftbench.analysis.evidence import Evidence
from peftbench.analysis.groups import Group, Spread, spread
from peftbench.analysis.samples import DEV_AVG
from peftbench.analysis.spending import Spending
from peftbench.analysis.study_groups import RANKS, ROWS, StudyGroups
from peftbench.report import figures, published
from peftbench.report.compared import spread_cell, unlike
from peftbench.report.resources import VRAM_BY
from peftbench.report.sheet import Cell, Line, Page, Sheet, name
from peftbench.text import clean

_NONE = Cell(figures.NOTHING)
_HOW = (
    "Intervals: 95 %, over seeds and dev examples (Dev Avg), over seeds alone (costs, gap). A claim is reproduced "
    "where all of its intervals lie inside the region that its rule names, and contradicted where an estimate lies "
    "outside and the edge is ruled out (Holm over the claim's evidence). That no difference was detected decides "
    "nothing. Nothing is corrected for the number of claims."
)

# What runs on another workload than the study's, a small encoder say, can say of each claim, and what they cannot.
_ELSEWHERE = {
    "adapters-match": "whether they match on this encoder and these data; a small one has less to adapt, and its own "
    "learning rates decide much",
    "dora-best": "the order of the rows here; with few dev examples and seeds differences of some hundredths drown",
    "plateau": "where accuracy levels off here: the rank that is enough depends on the encoder's width and the data",
    "rank-cost": "how memory and speed follow the rank at this width; the shares are others on BERT-base, where the "
    "frozen weights are more",
    "memory-not-compute": "both shares here; on a CPU memory is the process's own, with the program and the data in "
    "it, and there is no energy",
    "augmentation": "whether new rows help on these sentences; those of the quickstart come from a grammar, so that "
    "real text may behave otherwise",
    "gap": "whether the gap grows here; few epochs leave little time to overfit",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Study:
    """The study held against the groups of one workload: all that its report shows."""

    groups: StudyGroups
    findings: tuple[Finding, ...]
    result: Comparison

    @property
    def workload(self) -> str:
        """The workload of all groups."""
        return self.result.groups[0].first.workload

    @property
    def is_its_own(self) -> bool:
        """Whether these are runs on what the study ran on."""
        first = self.result.groups[0].first
        return first.workload == published.WORKLOAD and first.encoder == published.ENCODER

    def place(self, preset: str) -> int | None:
        """Return where a row's group stands among those compared."""
        one = self.groups.rows.get(preset)
        return None if one is None else self.result.groups.index(one)


def page(study: Study) -> Page:
    """Return the report as a page. Its first line says on what the runs were made."""
    first = study.result.groups[0].first
    on = f"workload {clean(first.workload)} ({clean(first.encoder)})"
    other = () if study.is_its_own else (Line(_other_workload(study), warning=True),)
    return Page(
        title=f"The study, claim by claim, on {on}{'' if study.is_its_own else ': NOT what the study ran on'}",
        warnings=(*other, *(unlike(study.result.groups, each) for each in study.result.unfair)),
        verdicts=tuple(_verdict(study, one) for one in study.findings),
        differences=(),
        sheets=(*map(_evidence, study.findings), _table_1(study), _table_2(study), _figure_2(study)),
        notes=tuple(_notes(study)),
    )


def claims_page(study: Study) -> Page:
    """Return the first part of the report: what became of each claim, and what these runs can say of it."""
    whole = page(study)
    return dataclasses.replace(whole, sheets=(), notes=tuple(_can_show(study)))


def as_json(study: Study) -> dict[str, Any]:
    """Return the same as plain values, unrounded; the first key says on what the runs were made."""
    return {
        "workload": study.workload,
        "is_the_studys_workload": study.is_its_own,
        "source": published.SOURCE,
        "unknown": published.UNKNOWN,
        "claims": [_finding_json(one) for one in study.findings],
        "not_alike": [each.key for each in study.result.unfair],
        "left_out": [{"group": one.label, "runs": list(one.ids)} for one in study.groups.others],
        "rows": [_row_json(study, preset) for preset in ROWS],
    }


def _other_workload(study: Study) -> str:
    first = study.result.groups[0].first
    return (
        f"NOT the study's workload: these runs are on {clean(first.workload)} ({clean(first.encoder)}), the study's "
        f"on {published.WORKLOAD} ({published.ENCODER}). What is reproduced or contradicted here is so here; its "
        "figures stand beside ours for orientation."
    )


def _verdict(study: Study, one: Finding) -> Line:
    where = "" if study.is_its_own else f" (on {clean(study.workload)})"
    return Line(f"{one.standing}{where}: {one.claim.text}{_because(one)}", strong=True, tag=one.standing)


def _because(one: Finding) -> str:
    """Say in half a line what decided, or what is lacking."""
    deciding = [each for each in one.evidence if each.speaks == "against"]
    if one.standing == "contradicted":
        return f": {'; '.join(map(_said, deciding))}"
    if one.standing == "reproduced":
        return f" ({len(one.evidence)} interval{'s' * (len(one.evidence) != 1)}, all as the claim says)"
    lacks = list(dict.fromkeys(each.lacks for each in one.evidence if each.lacks))
    parts = [f"not in the store: {', '.join(map(clean, one.lacks))}"] if one.lacks else []
    parts += lacks
    open_ = sum(each.speaks == "neither" and each.estimate is not None for each in one.evidence)
    if open_:
        parts.append(f"{open_} of {len(one.evidence)} differences are too unsure to tell")
    return f": {'; '.join(parts)}" if parts else ""


def _said(one: Evidence) -> str:
    return f"{one.what} of {clean(one.of)} to {clean(one.against)} {_difference(one)} {_interval(one)}"


def _difference(one: Evidence) -> str:
    if one.estimate is None:
        return figures.NOTHING
    return figures.share(one.estimate.value) if one.estimate.share else figures.signed(one.estimate.value)


def _interval(one: Evidence) -> str:
    if one.estimate is None:
        return figures.NOTHING
    write = figures.share if one.estimate.share else figures.signed
    return f"[{write(one.estimate.low)}, {write(one.estimate.high)}]"


def _evidence(one: Finding) -> Sheet:
    """Return what a claim rests on, a line an interval, with the rule below."""
    rows = tuple(
        (
            name(f"{clean(each.of)} to {clean(each.against)}"),
            Cell(each.what, each.what),
            Cell(_difference(each), each.estimate.value if each.estimate else None),
            Cell(_interval(each) if each.estimate else clean(each.lacks), _interval(each)),
            Cell(each.speaks, each.speaks),
        )
        for each in one.evidence
    )
    heads = ("difference", "of", "estimate", "95 % interval", "speaks")
    title = f"{one.claim.text}: {one.standing}"
    return Sheet(f"claim_{one.claim.key}", title, heads, rows, (f"rule: {one.claim.rule}",))


def _table_1(study: Study) -> Sheet:
    tasks = study.result.groups[0].records[0].tasks
    columns = (*tasks, DEV_AVG, LEADERBOARD)
    rows = [
        (
            name(clean(label)),
            Cell(str(len(one.records)), len(one.records)),
            *(_score(study, one, key) for key in columns),
        )
        for label, one in _labelled(study)
    ]
    known = [published.BEST_ROW.get(key) for key in columns]
    rows.append((name("study: its best row"), _NONE, *(Cell(figures.score(value), value) for value in known)))
    heads = ("row", "runs", *(clean(task) for task in tasks), "Dev Avg", "leaderboard")
    note = "dev, best epoch; of the study's Table 1 only the scores of its best row are known here"
    return Sheet("table_1", "Table 1: scores, ours beside the study's best row", heads, tuple(rows), (note,))


def _labelled(study: Study) -> list[tuple[str, Group]]:
    return [
        *((preset, study.groups.rows[preset]) for preset in ROWS if preset in study.groups.rows),
        *((one.label, one) for _, one in study.groups.augmented),
    ]


def _score(study: Study, one: Group, key: str) -> Cell:
    place = study.result.groups.index(one)
    return spread_cell(study.result.scores[place].get(key), figures.score, place in study.result.best.get(key, ()))


def _table_2(study: Study) -> Sheet:
    tasks = study.result.groups[0].records[0].tasks
    speed = "sst" if "sst" in tasks else tasks[0]
    key, label = _memory(study)
    rows = []
    for preset in ROWS:
        place = study.place(preset)
        spent = None if place is None else study.result.spendings[place]
        memory, joules = published.VRAM_MIB.get(preset), published.J_PER_STEP.get(preset)
        cells = (
            name(preset),
            spread_cell(spent.figures[key] if spent else None, figures.mib),
            Cell(figures.mib(memory), memory),
            spread_cell(spent.its.get(speed) if spent else None, figures.rate),
            spread_cell(_joules(spent, speed), figures.joules),
            Cell(_as_known(joules), joules),
        )
        rows.append(cells)
    heads = ("row", f"{label}\nMiB", "study's\nVRAM MiB", f"{clean(speed)}\nit/s", "\nJ/step", "study's\nJ/step")
    notes = [
        f"{clean(speed)}'s speed and energy, as in the study; its it/s and watts are not known here",
        *dict.fromkeys(
            VRAM_BY[one.vram_source] for spent in study.result.spendings for one in spent.costs if one.vram_source
        ),
    ]
    if key != "vram_mib":
        notes.append("ours is the process's memory on the CPU, the study's a card's: they are not of one kind")
    return Sheet("table_2", "Table 2: cost, ours beside the study's", heads, tuple(rows), tuple(notes))


def _memory(study: Study) -> tuple[str, str]:
    measured = any(spent.figures["vram_mib"] for spent in study.result.spendings)
    return ("vram_mib", "our VRAM") if measured else ("peak_rss_mib", "our RSS")


def _joules(spent: Spending | None, task: str) -> Spread | None:
    return None if spent is None else spread(one.j_per_step.get(task) for one in spent.costs)


def _as_known(joules: float | None) -> str:
    return figures.NOTHING if joules is None else f"{joules:.1f}"


def _figure_2(study: Study) -> Sheet:
    rows = []
    for rank, preset in RANKS.items():
        place = study.place(preset)
        if place is None:
            rows.append((name(str(rank)), *[_NONE] * 5))
            continue
        scores, of = study.result.scores[place], study.result.dynamics[place]
        rows.append(
            (
                name(str(rank)),
                spread_cell(scores[DEV_AVG], figures.score),
                Cell(f"{figures.ranged(of.best_epochs)} of {figures.ranged(of.epochs)}"),
                spread_cell(of.gap_best, figures.score),
                spread_cell(of.gap_last, figures.score),
                _NONE,
            )
        )
    heads = ("DoRA rank", "Dev Avg", "best epoch", "gap, best", "gap, last", "study's")
    note = "gap: train less dev, mean of the tasks; the curves themselves are in --html and in peftbench plot curves"
    return Sheet("figure_2", "Figure 2: DoRA by rank, at its best and last epoch", heads, tuple(rows), (note,))


def _notes(study: Study) -> list[str]:
    notes = [
        *_can_show(study),
        f"Published figures: {published.SOURCE}. {published.UNKNOWN}",
        _HOW,
    ]
    for one in study.groups.others:
        notes.append(f"left out, another group of the same preset with fewer or older runs: {clean(one.label)}")
    return notes


def _can_show(study: Study) -> list[str]:
    """Say of each claim what runs on another workload than the study's can show, and what they cannot."""
    if study.is_its_own:
        return []
    return [f"{one.claim.text}: these runs can show {_ELSEWHERE[one.claim.key]}." for one in study.findings]


def _finding_json(one: Finding) -> dict[str, Any]:
    return {
        "claim": one.claim.key,
        "text": one.claim.text,
        "rule": one.claim.rule,
        "standing": one.standing,
        "lacks": list(one.lacks),
        "evidence": [_evidence_json(each) for each in one.evidence],
    }


def _evidence_json(one: Evidence) -> dict[str, Any]:
    estimate = one.estimate
    return {
        "what": one.what,
        "of": one.of,
        "against": one.against,
        "estimate": estimate.value if estimate else None,
        "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None,
        "relative": estimate.share if estimate else None,
        "speaks": one.speaks,
        "lacks": one.lacks,
    }


def _row_json(study: Study, preset: str) -> dict[str, Any]:
    place = study.place(preset)
    ours: Mapping[str, Any] | None = None
    if place is not None:
        spent = study.result.spendings[place]
        ours = {
            "runs": list(study.result.groups[place].ids),
            "scores": {key: _plain(value) for key, value in study.result.scores[place].items()},
            "cost": {key: _plain(value) for key, value in spent.figures.items()},
            "its": {key: _plain(value) for key, value in spent.its.items()},
            "dynamics": dataclasses.asdict(study.result.dynamics[place]),
        }
    theirs = {"vram_mib": published.VRAM_MIB.get(preset), "j_per_step": published.J_PER_STEP.get(preset)}
    return {"row": preset, "ours": ours, "published": theirs}


def _plain(value: Spread | None) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)

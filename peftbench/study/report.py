"""Report on the study as a page and as JSON: claim by claim, and its tables with our values beside the published."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from peftbench import formatting
from peftbench.analysis.comparison import Comparison
from peftbench.analysis.groups import Spread
from peftbench.report.comparison import unlike
from peftbench.report.page import Cell, Line, Page, Sheet, name
from peftbench.study import published
from peftbench.study.claims import ORDER_TEST, ClaimResult
from peftbench.study.evidence import Evidence
from peftbench.study.groups import AUGMENTED, ROWS, StudyGroups
from peftbench.study.tables import NO_RUN, NOT_MEASURED, figure_2, table_1, table_2, test_scores
from peftbench.text import clean

_CURVES = "All values of its two tables and its test scores are included; Figure 2 has only curves, no numbers."
_HOW = (
    "Intervals: 95 %, over seeds and dev examples (scores) or over seeds only (costs, gap). A claim is reproduced if "
    "all of its intervals lie inside the region of its rule, and contradicted if an estimate lies outside and the edge "
    "is rejected (Holm's correction over the claim's evidence). Failing to detect a difference decides nothing. There "
    "is no correction for the number of claims."
)

# What runs on a different workload (e.g. a small encoder) can and cannot show about each claim.
_ON_OTHER_WORKLOADS = {
    "adapters-match": "whether they match on this encoder and data; a small encoder has less to adapt, and the result "
    "depends on its learning rates",
    "dora-best": "the order of the rows here; few dev examples and seeds do not resolve small differences",
    "plateau": "where scores stop rising here: the sufficient rank depends on the encoder's width and the data",
    "rank-cost": "how memory and speed depend on the rank at this width; ratios differ on BERT-base, which has more "
    "frozen weights",
    "memory-not-compute": "both ratios here; on a CPU, memory is that of the process, including program and data, and "
    "there is no energy",
    "power": "the power of this machine on a model this small, which leaves a GPU idle most of the time; on a CPU "
    "without RAPL, nothing",
    "augmentation": "whether new rows help on these sentences; those of the quickstart come from a grammar, and real "
    "text may behave differently",
    "gap": "whether the gap grows here; few epochs leave little time to overfit",
    "task-order": "the same as on any workload: it follows from the separation of the tasks",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Study:
    """The study evaluated on the groups of one workload: all data of its report."""

    groups: StudyGroups
    findings: tuple[ClaimResult, ...]
    result: Comparison

    @property
    def workload(self) -> str:
        """The workload of all groups."""
        return self.result.groups[0].first.workload

    @property
    def is_its_own(self) -> bool:
        """Whether the runs use the study's workload and encoder."""
        first = self.result.groups[0].first
        return (first.workload, first.encoder) == (published.facts().workload, published.facts().encoder)

    def row_index(self, preset: str) -> int | None:
        """Return the index of a row's group among those compared, or None."""
        group = self.groups.row(preset)
        return None if group is None else self.result.groups.index(group)


def page(study: Study) -> Page:
    """Return the report as a page. Its title names the workload of the runs."""
    first = study.result.groups[0].first
    on = f"workload {clean(first.workload)} ({clean(first.encoder)})"
    other = () if study.is_its_own else (Line(_other_workload(study), warning=True),)
    return Page(
        title=f"The study, claim by claim, on {on}{'' if study.is_its_own else ': NOT the workload of the study'}",
        warnings=(*other, *(unlike(study.result.groups, each) for each in study.result.confounding)),
        verdicts=tuple(_verdict(study, finding) for finding in study.findings),
        differences=(),
        sheets=(
            *(_evidence(finding) for finding in study.findings if finding.evidence),
            *(make(study.groups, study.result) for make in (table_1, test_scores, table_2, figure_2)),
        ),
        notes=tuple(_notes(study)),
    )


def claims_page(study: Study) -> Page:
    """Return the first part of the report: the verdict on each claim, and what these runs can show."""
    full = page(study)
    return dataclasses.replace(full, sheets=(), notes=tuple(_can_show(study)))


def as_json(study: Study) -> dict[str, Any]:
    """Return the report as JSON-compatible values, unrounded; the first key is the workload of the runs."""
    return {
        "workload": study.workload,
        "is_the_studys_workload": study.is_its_own,
        "source": published.facts().source,
        "unknown": _CURVES,
        "claims": [_finding_json(finding) for finding in study.findings],
        "not_alike": [each.key for each in study.result.confounding],
        "left_out": [{"group": group.label, "runs": list(group.ids)} for group in study.groups.others],
        "rows": [_row_json(study, preset) for preset in (*ROWS, AUGMENTED)],
        "test": {"row": published.facts().test_preset, "split": "test", "published": dict(published.facts().test)},
    }


def _other_workload(study: Study) -> str:
    first = study.result.groups[0].first
    return (
        f"NOT the study's workload: these runs are on {clean(first.workload)} ({clean(first.encoder)}), the study's "
        f"on {published.facts().workload} ({published.facts().encoder}). Verdicts hold for this workload only; the "
        "study's values are shown for orientation."
    )


def _verdict(study: Study, finding: ClaimResult) -> Line:
    where = "" if study.is_its_own else f" (on {clean(study.workload)})"
    outcome = "holds by construction, tested" if finding.standing == "by construction" else finding.standing
    text = f"{outcome}{where}: {finding.claim.number}. {finding.claim.text}{_reason(finding)}"
    return Line(text, strong=True, tag=finding.standing.replace(" ", "-"))


def _reason(finding: ClaimResult) -> str:
    """Return a short reason for a verdict: the deciding evidence, or what is missing."""
    deciding = [each for each in finding.evidence if each.speaks == "against"]
    if finding.standing == "contradicted":
        return f": {'; '.join(map(_evidence_in_words, deciding))}"
    if finding.standing == "reproduced":
        return f" ({len(finding.evidence)} interval{'s' * (len(finding.evidence) != 1)}, all inside the claimed region)"
    if finding.standing == "by construction":
        reasons = "; ".join(dict.fromkeys(each.lacks for each in finding.evidence if each.lacks))
        return f": {reasons or f'not in the database: {finding.lacks[0]}'}; see {ORDER_TEST}"
    lacks = list(dict.fromkeys(each.lacks for each in finding.evidence if each.lacks))
    parts = [f"not in the database: {', '.join(map(clean, finding.lacks))}"] if finding.lacks else []
    parts += lacks
    open_ = sum(each.speaks == "neither" and each.estimate is not None for each in finding.evidence)
    if open_:
        parts.append(f"{open_} of {len(finding.evidence)} differences are inconclusive")
    return f": {'; '.join(parts)}" if parts else ""


def _evidence_in_words(evidence: Evidence) -> str:
    sides = f"{evidence.what} of {clean(evidence.of)} to {clean(evidence.against)}"
    return f"{sides} {_difference(evidence)} {_interval(evidence)}"


def _difference(evidence: Evidence) -> str:
    if evidence.estimate is None:
        return formatting.NOTHING
    return (
        formatting.share(evidence.estimate.value)
        if evidence.estimate.share
        else formatting.signed(evidence.estimate.value)
    )


def _interval(evidence: Evidence) -> str:
    if evidence.estimate is None:
        return formatting.NOTHING
    write = formatting.share if evidence.estimate.share else formatting.signed
    return f"[{write(evidence.estimate.low)}, {write(evidence.estimate.high)}]"


def _evidence(finding: ClaimResult) -> Sheet:
    """Return the evidence of a claim, one row per interval, with the rule below."""
    rows = tuple(
        (
            name(f"{clean(each.of)} to {clean(each.against)}"),
            Cell(each.what, each.what),
            Cell(_difference(each), each.estimate.value if each.estimate else None),
            Cell(_interval(each) if each.estimate else clean(each.lacks), _interval(each)),
            Cell(each.speaks, each.speaks),
        )
        for each in finding.evidence
    )
    heads = ("difference", "of", "estimate", "95 % interval", "speaks")
    title = f"{finding.claim.number}. {finding.claim.text}: {finding.standing}"
    return Sheet(f"claim_{finding.claim.key}", title, heads, rows, (f"rule: {finding.claim.rule}",))


def _notes(study: Study) -> list[str]:
    notes = [
        *_can_show(study),
        *_rules_without_evidence(study),
        f"Published figures: {published.facts().source}. {_CURVES}",
        f"{NO_RUN}: no finished group of that row is in the database; {NOT_MEASURED}: not recorded in its runs.",
        _HOW,
    ]
    for group in study.groups.others:
        notes.append(f"left out (another group of the same preset with fewer or older runs): {clean(group.label)}")
    return notes


def _rules_without_evidence(study: Study) -> list[str]:
    """Return the rule of each claim that has no evidence and therefore no table."""
    return [
        f"rule of claim {finding.claim.number}: {finding.claim.rule}"
        for finding in study.findings
        if not finding.evidence
    ]


def _can_show(study: Study) -> list[str]:
    """Return for each claim what runs on a different workload can and cannot show."""
    if study.is_its_own:
        return []
    return [
        f"{finding.claim.number}. {finding.claim.text}: these runs can show {_ON_OTHER_WORKLOADS[finding.claim.key]}."
        for finding in study.findings
    ]


def _finding_json(finding: ClaimResult) -> dict[str, Any]:
    return {
        "claim": finding.claim.key,
        "number": finding.claim.number,
        "text": finding.claim.text,
        "rule": finding.claim.rule,
        "standing": finding.standing,
        "lacks": list(finding.lacks),
        "evidence": [_evidence_json(each) for each in finding.evidence],
    }


def _evidence_json(evidence: Evidence) -> dict[str, Any]:
    estimate = evidence.estimate
    return {
        "what": evidence.what,
        "of": evidence.of,
        "against": evidence.against,
        "estimate": estimate.value if estimate else None,
        "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None,
        "relative": estimate.share if estimate else None,
        "speaks": evidence.speaks,
        "lacks": evidence.lacks,
    }


def _row_json(study: Study, preset: str) -> dict[str, Any]:
    index = study.row_index(preset)
    ours: Mapping[str, Any] | None = None
    if index is not None:
        spent = study.result.spendings[index]
        ours = {
            "runs": list(study.result.groups[index].ids),
            "scores": {key: _plain(value) for key, value in study.result.scores[index].items()},
            "cost": {key: _plain(value) for key, value in spent.figures.items()},
            "its": {key: _plain(value) for key, value in spent.its.items()},
            "dynamics": dataclasses.asdict(study.result.dynamics[index]),
        }
    return {"row": preset, "ours": ours, "published": _published_json(published.by_preset().get(preset))}


def _published_json(row: published.PublishedRow | None) -> dict[str, Any]:
    """Return the values of a published row; all None for a row that the study does not have."""
    keys = ("label", "lr", "vram_mib", "sst_its", "power_w", "j_per_step")
    return {"dev": dict(row.dev) if row else None, **{key: getattr(row, key) if row else None for key in keys}}


def _plain(value: Spread | None) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)

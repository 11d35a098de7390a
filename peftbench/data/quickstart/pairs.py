"""Generators of the two pair tasks: paraphrase detection and similarity (0..5).

Both express a fact, and then the same or a changed fact with other words and word order. The wording varies
equally for every label, so that word overlap does not reveal the label: a pair with exchanged roles or another
weekday shares more words than a true paraphrase.
"""

from __future__ import annotations

from peftbench.data.quickstart.facts import any_fact
from peftbench.data.quickstart.grammar import Draw

PARAPHRASE_LEVELS = (0, 1)
STS_LEVELS = (0, 1, 2, 3, 4, 5)
Pair = tuple[str, str]


def write_paraphrase(draw: Draw, label: int) -> tuple[Pair, float]:
    """Two sentences with the same meaning (1), or a similar but different one (0)."""
    fact = any_fact(draw)
    other = fact
    while not label and other == fact:  # of two changes, the second may undo the first
        near = draw.weighted(((fact.core, 6), (fact.detail, 1), (fact.akin, 3)))(draw)
        other = near.detail(draw) if draw.chance(0.7) else near
    return (fact.tell(draw, 0.0), other.tell(draw, 0.25)), float(label)


def write_sts(draw: Draw, level: int) -> tuple[Pair, float]:
    """Two sentences of similarity `level`, and their score: the level plus rater noise.

    5 reordered or reworded, 4 a detail lost, 3 a detail changed, 2 somebody or something else or exchanged
    roles, 1 the same topic, 0 unrelated.
    """
    fact = any_fact(draw)
    drift = 0.5
    if level == 5:
        drift = draw.pick((0.0, 1.0))
        other, low, high = fact, *((4.4, 4.8) if drift else (4.8, 5.0))
    elif level == 4:
        other, low, high = fact.vaguer(draw), 3.7, 4.2
    elif level == 3:
        other, low, high = fact.detail(draw), 2.7, 3.3
    elif level == 2:
        other, low, high = fact.core(draw), 1.8, 2.3
    elif level == 1:
        other, low, high = fact.akin(draw), 0.9, 1.5
    else:
        other, low, high = any_fact(draw), 0.0, 0.4
        while other.topic is fact.topic:
            other = any_fact(draw)
    return (fact.tell(draw, 0.1), other.tell(draw, drift)), round(draw.uniform(low, high), 1)

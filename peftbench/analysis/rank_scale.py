"""How a method's scale moves with its rank where several ranks are compared: s = alpha / r, of rsLoRA alpha / sqrt(r).

Rank and scale change together where alpha is fixed (Kalajdzievski 2023, arXiv 2312.03732): what the rank
does can then not be told from what the scale does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from peftbench.analysis.groups import Group
from peftbench.text import clean

_ROOT = "rslora"  # its scale is alpha / sqrt(rank)
_BY_LAYER = "adalora"  # its scale is that of each layer's own rank


class _Ranked(NamedTuple):
    rank: int
    alpha: float


def scale_notes(groups: Sequence[Group]) -> tuple[str, ...]:
    """Return a sentence for each method that is compared at several ranks: what its scale does over them."""
    by_method: dict[str, set[_Ranked]] = {}
    for group in groups:
        method = group.first.spec["method"]
        if (ranked := _ranked(method)) is not None:
            by_method.setdefault(str(method["name"]), set()).add(ranked)
    several = {name: sorted(rows) for name, rows in by_method.items() if len({row.rank for row in rows}) > 1}
    return tuple(f"{clean(name)}: {_scales(name, rows)}" for name, rows in several.items())


def _ranked(method: Mapping[str, Any]) -> _Ranked | None:
    rank, alpha = method.get("rank"), method.get("alpha")
    if method["name"] == _BY_LAYER:
        return None
    return _Ranked(rank, float(alpha)) if isinstance(rank, int) and isinstance(alpha, int | float) else None


def _scales(name: str, rows: Sequence[_Ranked]) -> str:
    formula = "alpha / sqrt(rank)" if name == _ROOT else "alpha / rank"
    scales = [row.alpha / (math.sqrt(row.rank) if name == _ROOT else row.rank) for row in rows]
    alphas, ratios = {row.alpha for row in rows}, {row.alpha / row.rank for row in rows}
    first, last = f"{scales[0]:.3g}", f"{scales[-1]:.3g}"
    if name == _ROOT and len(alphas) == 1:
        return f"alpha is {rows[0].alpha:g} at every rank, the scale {formula}: as rsLoRA means it"
    if name != _ROOT and len(ratios) == 1:
        ratio = next(iter(ratios))
        relation = "alpha = rank" if ratio == 1 else f"alpha = {ratio:g} rank"
        return f"{relation}, so that the scale {formula} is {first} at every rank"
    moves = f"the scale {formula} goes from {first} at rank {rows[0].rank} to {last} at rank {rows[-1].rank}"
    if len(alphas) == 1:
        cause = f"alpha is fixed at {rows[0].alpha:g}"
    elif len(ratios) == 1:
        cause = "alpha grows with the rank"
    else:
        cause = "alpha differs otherwise than the rank"
    return f"{cause}, so that {moves}: rank and scale are confounded"

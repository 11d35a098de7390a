"""The quickstart workload's sentences: three tasks that the program writes itself, without data or network.

They are of the kinds of the published study: five-class sentiment (`sst`), paraphrase detection
(`paraphrase`) and graded similarity (`sts`). Every sentence comes from a grammar of this package, none from
a data set. Labels follow from how a sentence was built, and from them a declared share is then falsified,
as human labels are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peftbench.data.examples import Example
from peftbench.data.quickstart.grammar import Draw, digest
from peftbench.data.quickstart.pairs import PARAPHRASE_LEVELS, STS_LEVELS, write_paraphrase, write_sts
from peftbench.data.quickstart.sentiment import SENTIMENT_LEVELS, write_sentiment

SPLITS = ("train", "dev", "test")

LABEL_NOISE = 0.05
"""The share of labels that are falsified where the caller does not say."""

MAX_COUNT = 20_000
"""The most examples of one split. Beyond it the search for sentences not yet used becomes slow."""


def _neighbour(label: float, shift: float) -> float:
    """The class beside it; the outermost ones have one neighbour only."""
    top = SENTIMENT_LEVELS[-1]
    step = 1 if label == 0 or (label < top and shift > 0) else -1
    return label + step


def _flipped(label: float, shift: float) -> float:
    return 1 - label


def _jittered(label: float, shift: float) -> float:
    """Up to two points off, within the scale."""
    return round(min(5.0, max(0.0, label + 2 * shift)), 1)


@dataclass(frozen=True, slots=True)
class _Task:
    """How a task's examples are written and falsified.

    `levels` are what the examples are balanced over, `write` makes texts and label of one level, and
    `falsify` takes a label and a number in -1..1.
    """

    levels: tuple[int, ...]
    write: Callable[[Draw, int], tuple[tuple[str, ...], float]]
    falsify: Callable[[float, float], float]


_TASKS = {
    "sst": _Task(SENTIMENT_LEVELS, write_sentiment, _neighbour),
    "paraphrase": _Task(PARAPHRASE_LEVELS, write_paraphrase, _flipped),
    "sts": _Task(STS_LEVELS, write_sts, _jittered),
}
TASKS = tuple(_TASKS)


def generate(task: str, split: str, count: int, *, seed: int = 0, label_noise: float = LABEL_NOISE) -> list[Example]:
    """Write the first `count` examples of one split of a task.

    The same arguments give the same examples on every platform and Python. A smaller count gives the
    beginning of a larger one. No text (for pairs: no pair, in either order) occurs twice in a split, or in
    two splits, even if these were made with different seeds. Before noise, each class of `sst` and
    `paraphrase` is equally frequent, and the `sts` scores lie around 0, 1, .. 5 equally often.

    Args:
        task: `sst` (one text, label 0 very negative .. 4 very positive), `paraphrase` (two texts, label 1 if
            they say the same) or `sts` (two texts, similarity 0..5 in tenths).
        split: `train`, `dev` or `test`.
        count: how many, 1 to 20,000.
        seed: another seed, other sentences.
        label_noise: the share of labels to falsify, 0..1, in every split alike: a sentiment moves to a
            neighbouring class, a paraphrase label is flipped, a similarity moves by up to 2 points either
            way. At the default of 0.05 nobody can expect more than about 0.95 accuracy on `sst` and
            `paraphrase`, or a Pearson correlation of more than about 0.99 on `sts`.

    Raises:
        ValueError: an unknown task or split, or a count or label noise out of range.
    """
    if task not in _TASKS:
        raise ValueError(f"unknown quickstart task {task!r}; there are {', '.join(TASKS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count must be 1 to {MAX_COUNT}, not {count}")
    if not 0 <= label_noise <= 1:
        raise ValueError(f"label_noise must be 0 to 1, not {label_noise}")

    kind = _TASKS[task]
    draw = Draw("text", task, split, seed)
    noise = Draw("noise", task, split, seed)
    used: set[tuple[str, ...]] = set()
    levels: list[int] = []
    examples: list[Example] = []
    while len(examples) < count:
        levels = levels or draw.shuffled(kind.levels)
        texts, label = kind.write(draw, levels[-1])
        key = tuple(sorted(texts))
        if key in used or len(set(key)) < len(key) or _split_of(task, key) != split:
            continue
        used.add(key)
        levels.pop()
        falsified, shift = noise.chance(label_noise), noise.uniform(-1.0, 1.0)
        label = kind.falsify(label, shift) if falsified else label
        examples.append(Example(f"{task}-{split}-{len(examples):06d}", texts, float(label)))
    return examples


def _split_of(task: str, texts: tuple[str, ...]) -> str:
    """The only split these texts may occur in: their own hash decides, so that splits never share one."""
    return SPLITS[digest("split", task, *texts) % len(SPLITS)]

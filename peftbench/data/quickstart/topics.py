"""Generator of topics: which of six topics a short hotel review is about (several labels, or none).

A review has a topic if it states something on that topic of the hotel under review: praise, blame or neither, affirmed
or denied ("no question was too silly for them" is on staff). These do not count: the same said of something else
(another hotel, the train, home), figures of speech ("food for thought"), and what the writer does not know ("I cannot
say anything about the food").

Most statements do not name their topic ("it cost me a week's wages"), and the words of one topic occur in others. Of
the statements of a split, 60 % are drawn from some that occur in no other. The topics are unequally frequent, and some
occur together: noise with location and comfort, price with food.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from peftbench.data.quickstart.grammar import Draw
from peftbench.data.quickstart.grammar import sentence as as_sentence
from peftbench.data.quickstart.splits import LABEL_NOISE, check, pick_for, split_of
from peftbench.data.quickstart.topic_words import BESIDE_THE_TOPIC, ELSEWHERE, JOINT, NEUTRAL, SLOTS, STATEMENTS

TOPIC_NAMES = tuple(STATEMENTS)
"""The labels, in the order of their numbers: price, staff, comfort, food, location, noise."""

SHARED_STATEMENTS = 0.4
"""The fraction of statements that are drawn from those of all splits."""

# The sets of topics of a review, with their weights in per cent.
_SETS: tuple[tuple[tuple[str, ...], float], ...] = (
    ((), 10),
    (("staff",), 13),
    (("comfort",), 11),
    (("food",), 8),
    (("price",), 6),
    (("location",), 6),
    (("noise",), 1),
    (("staff", "comfort"), 8),
    (("staff", "food"), 9),
    (("food", "price"), 7),
    (("staff", "price"), 3),
    (("comfort", "price"), 4),
    (("comfort", "noise"), 3),
    (("location", "noise"), 3),
    (("staff", "location"), 2),
    (("staff", "comfort", "food"), 3),
    (("staff", "food", "price"), 1.5),
    (("comfort", "location", "price"), 1.5),
)

_JOINED = {
    1: ("{0}",),
    2: ("{0}, and {1}", "{0}, but {1}", "{0}; {1}", "{0}, while {1}", "{0}. {1}", "{0}. {1}"),
    3: ("{0}, and {1}. {2}", "{0}. {1}, but {2}", "{0}, {1}, and {2}", "{0}. {1}, and {2}", "{0}, but {1}; {2}"),
}
# After what does not count, the review returns to the hotel explicitly.
_BEFORE = ("{beside}; here, {rest}", "{beside}, but this time {rest}", "{beside}. This time {rest}")
_AFTER = ("{rest}; {beside}", "{rest}. {beside}", "{rest}. {beside}")
_INTRODUCED = ("{neutral}. {rest}", "{neutral}. {rest}", "{neutral}; {rest}", "{neutral}, and {rest}")


@dataclass(slots=True)
class _Review:
    """The state of one review being generated."""

    draw: Draw
    split: str

    def filled(self, clause: str, **given: str) -> str:
        """A clause with its slots filled."""
        return clause.format(**given, **{slot: self.draw.pick(options) for slot, options in SLOTS.items()})

    def statement(self, topic: str) -> str:
        """A statement on a topic."""
        return self.filled(pick_for(self.draw, self.split, STATEMENTS[topic], SHARED_STATEMENTS))

    def statements(self, topics: tuple[str, ...]) -> list[str]:
        """Statements on all the topics, two of them now and then in one."""
        rest = list(topics)
        joined = []
        for joint, options in JOINT.items():
            if set(joint) <= set(rest) and self.draw.chance(0.4):
                joined.append(self.filled(pick_for(self.draw, self.split, options, SHARED_STATEMENTS)))
                rest = [topic for topic in rest if topic not in joint]
        return [*joined, *(self.statement(topic) for topic in rest)]

    def beside(self) -> str:
        """A clause that looks like a statement on a topic and is on none."""
        if self.draw.chance(0.5):
            return self.filled(pick_for(self.draw, self.split, BESIDE_THE_TOPIC, SHARED_STATEMENTS))
        statement = self.statement(self.draw.pick(TOPIC_NAMES))
        return self.filled(self.draw.pick(ELSEWHERE), statement=statement)

    def neutral(self) -> str:
        """A clause on no topic."""
        return self.filled(self.draw.pick(NEUTRAL))


def write_topics(draw: Draw, split: str, topics: tuple[str, ...]) -> str:
    """Write a review of a few short clauses on these topics, with the statements of one split."""
    review = _Review(draw, split)
    clauses = draw.shuffled(review.statements(topics)) or [review.neutral()]
    text = draw.pick(_JOINED[len(clauses)]).format(*clauses)
    introduced = bool(topics) and len(clauses) < 3 and draw.chance(0.45)
    if len(clauses) < 3 and draw.chance(0.35 if topics else 0.75):
        before = bool(topics) and not introduced and draw.chance(0.6)
        text = draw.pick(_BEFORE if before else _AFTER).format(beside=review.beside(), rest=text)
    if introduced:
        text = draw.pick(_INTRODUCED).format(neutral=review.neutral(), rest=text)
    return _capitals(as_sentence(text))


def _capitals(text: str) -> str:
    return re.sub(r"(?<=\. )[a-z]", lambda found: found[0].upper(), text)


def generate_topics(
    split: str, count: int, *, seed: int = 0, label_noise: float = LABEL_NOISE
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Generate the first `count` reviews of one split: the id, text and topics of each, in the order of `TOPIC_NAMES`.

    The same arguments give the same reviews on every platform and Python version. A smaller count gives a prefix of a
    larger one. No review occurs twice in a split or in two splits, even if generated with different seeds.

    Args:
        split: `train`, `dev` or `test`.
        count: number of reviews, 1 to 20,000.
        seed: selects the reviews.
        label_noise: the fraction of reviews to corrupt, 0..1, in every split: one topic is added or removed.

    Raises:
        ValueError: an unknown split, or a count or label noise out of range.
    """
    check(split, count, label_noise)
    draw = Draw("text", "topics", split, seed)
    noise = Draw("noise", "topics", split, seed)
    used: set[str] = set()
    reviews: list[tuple[str, str, tuple[str, ...]]] = []
    while len(reviews) < count:
        topics = draw.weighted(_SETS)
        text = write_topics(draw, split, topics)
        while text in used or split_of("topics", text) != split:  # with the same topics, which keeps their frequencies
            text = write_topics(draw, split, topics)
        used.add(text)
        falsified, toggled = noise.chance(label_noise), noise.pick(TOPIC_NAMES)
        labels = {*topics} ^ {toggled} if falsified else {*topics}
        named = tuple(topic for topic in TOPIC_NAMES if topic in labels)
        reviews.append((f"topics-{split}-{len(reviews):06d}", text, named))
    return reviews

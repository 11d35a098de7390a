"""Generator of named entities: tagged words of news sentences.

What is tagged, and how far it extends:

- PER: a person's first name, surname or both, with an initial. Titles and jobs are outside ("Mayor", "the nurse").
- LOC: a place, also a street, a lake or a valley that has the name of a person.
- ORG: a firm, an institution ("University of York", "York Hospital"), and a town or country as a team.
- PROD: a product, with its version ("Comet 3") and with the maker's name directly before it ("Zentra Comet").
- Outside: articles, `'s`, punctuation, days, months, nationalities, and nouns that are names elsewhere ("a rose").

The words alone do not determine the tags. "Lincoln" is a person, a town, a club or part of a longer name, "Comet" is a
firm, a product or a comet, "May" is a person or a month. Capital letters do not either: some sentences are headlines,
and some have no capital letters. Of the names of a split, 40 % are drawn from some that occur in no
other. Every frame determines the types of its names, so that they can be found from the context.
"""

from __future__ import annotations

from dataclasses import dataclass

from peftbench.data.quickstart.entity_frames import (
    AFTER_POSSESSED,
    CLAUSES,
    CONTRASTS,
    JOINTS,
    NAMES,
    NO_NAME,
    OPENERS,
    PLAIN_OPENERS,
    PLAIN_QUESTIONS,
    POSSESSED,
    QUESTIONS,
    Frames,
)
from peftbench.data.quickstart.entity_words import NAMES_FOR, SLOTS
from peftbench.data.quickstart.grammar import VOWELS, Draw, words
from peftbench.data.quickstart.splits import LABEL_NOISE, check, pick_for, split_of

ENTITY_TYPES = ("LOC", "ORG", "PER", "PROD")
OUTSIDE = "O"
ENTITY_TAGS = (OUTSIDE, *(f"{prefix}-{kind}" for kind in ENTITY_TYPES for prefix in "BI"))
"""The tags of the words, in the order of their class numbers."""

SHARED_NAMES = 0.6
"""The fraction of names that are drawn from those of all splits."""

NO_ENTITY = 0.2
"""The fraction of sentences without an entity."""

Tagged = tuple[tuple[str, ...], tuple[str, ...]]
"""The words of a sentence, and their tags."""

_INITIALS = tuple("ABCDEFGHJKLMNPRSTVW")
_DIGITS = words("2, 3, 4, 5, 7, 9, 200, 500")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a sentence: the words of one entity, or words outside of entities (`kind` is `O`)."""

    words: tuple[str, ...]
    kind: str = OUTSIDE

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of its words."""
        if self.kind == OUTSIDE:
            return (OUTSIDE,) * len(self.words)
        return (f"B-{self.kind}", *(f"I-{self.kind}",) * (len(self.words) - 1))


@dataclass(slots=True)
class _Report:
    """The state of one sentence being generated: the names and frames that it has already."""

    draw: Draw
    split: str
    used: set[str]

    def filled(self, frame: str) -> list[Piece]:
        """A frame, with its slots filled."""
        pieces = []
        for part in frame.split():
            slot = part[1:-1] if part.startswith("{") else ""
            if slot in NAMES:
                pieces += self.entity(slot)
            elif slot:
                pieces.append(Piece(tuple(self.draw.pick(SLOTS[slot]).split())))
            else:
                pieces.append(Piece((part,)))
        return pieces

    def entity(self, kind: str) -> list[Piece]:
        """An entity, and the article before it where it has one."""
        tag, wordings = NAMES[kind]
        *before, entity = self.draw.weighted(wordings).split()
        named = tuple(self.name(part[1:-1]) if part.startswith("{") else part for part in entity.split("+"))
        return [*(Piece((word,)) for word in before), Piece(named, tag)]

    def name(self, slot: str) -> str:
        """A name that is not in the sentence yet, or an initial or a number."""
        if slot == "initial":
            return self.draw.pick(_INITIALS) + "."
        if slot == "digit":
            return self.draw.pick(_DIGITS)
        while True:
            name = pick_for(self.draw, self.split, self.draw.weighted(NAMES_FOR[slot]), SHARED_NAMES)
            if name not in self.used:
                self.used.add(name)
                return name

    def frame(self, frames: Frames) -> str:
        """A frame that is not in the sentence yet."""
        frame = self.draw.other(frames, *self.used)
        self.used.add(frame)
        return frame

    def clause(self) -> list[Piece]:
        """A clause with at least one entity."""
        shape = self.draw.weighted((("clause", 6), ("possessed", 2), ("contrast", 2)))
        if shape == "contrast":
            return self.filled(self.frame(CONTRASTS))
        if shape == "possessed":
            kind = self.draw.pick(tuple(POSSESSED))
            noun, after = self.draw.pick(words(POSSESSED[kind])), self.draw.pick(AFTER_POSSESSED)
            the = "the " if kind == "product" else ""
            if self.draw.chance(0.5):
                return self.filled(f"the {noun} of {the}{{{kind}}} {after}")
            return self.filled(f"{the}{{{kind}}} 's {noun} {after}")
        kinds = (("person", 4), ("firm", 2.5), ("club", 1.5), ("location", 2), ("institution", 1), ("product", 2))
        subjects, predicates = CLAUSES[self.draw.weighted(kinds)]
        return self.filled(f"{self.draw.pick(subjects)} {self.draw.pick(predicates)}")

    def plain(self) -> list[Piece]:
        """A clause without an entity."""
        return self.filled(self.frame(NO_NAME))


def write_entities(draw: Draw, split: str, named: bool) -> list[Piece]:
    """Write the pieces of a sentence with the names of one split, or (not `named`) without an entity."""
    report = _Report(draw, split, set())
    if draw.chance(0.08):
        return _written(draw, report.filled(draw.pick(QUESTIONS if named else PLAIN_QUESTIONS) + " ?"))
    pieces = report.clause() if named else report.plain()
    if draw.chance(0.3 if named else 0.6):
        pieces = report.filled(draw.pick(OPENERS if named else PLAIN_OPENERS)) + pieces
    if draw.chance(0.2 if named else 0.3):
        second = report.plain() if not named or draw.chance(0.4) else report.clause()
        pieces += [*report.filled(draw.pick(JOINTS)), *second]
    return _written(draw, [*pieces, Piece((".",))])


def _written(draw: Draw, pieces: list[Piece]) -> list[Piece]:
    """The pieces with the articles that fit, and the capital letters of a sentence, a headline or a short message."""
    style = draw.weighted((("sentence", 8), ("headline", 1), ("message", 1)))
    written = []
    for at, piece in enumerate(pieces):
        following = pieces[at + 1].words[0] if at + 1 < len(pieces) else ""
        spelled = tuple("an" if word == "a" and following[0].lower() in VOWELS else word for word in piece.words)
        if style == "message":
            spelled = tuple(word.lower() for word in spelled)
        elif style == "headline" or at == 0:
            spelled = tuple(word[0].upper() + word[1:] for word in spelled)
        written.append(Piece(spelled, piece.kind))
    return written


def _falsified(noise: Draw, piece: Piece, label_noise: float) -> Piece:
    """The piece, its entity now and then of another type or of none."""
    if piece.kind == OUTSIDE:
        return piece
    falsified, dropped, other = noise.chance(label_noise), noise.chance(0.5), noise.other(ENTITY_TYPES, piece.kind)
    if not falsified:
        return piece
    return Piece(piece.words, OUTSIDE if dropped else other)


def generate_entities(
    split: str, count: int, *, seed: int = 0, label_noise: float = LABEL_NOISE
) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Generate the first `count` sentences of one split: the id, words and tags (`ENTITY_TAGS`) of each.

    The same arguments give the same sentences on every platform and Python version. A smaller count gives a prefix of
    a larger one. No sentence occurs twice in a split or in two splits, even if generated with different seeds. A word
    contains no white space.

    Args:
        split: `train`, `dev` or `test`.
        count: number of sentences, 1 to 20,000.
        seed: selects the sentences.
        label_noise: the fraction of entities to corrupt, 0..1, in every split: half of them get another type, the
            others the tag `O`.

    Raises:
        ValueError: an unknown split, or a count or label noise out of range.
    """
    check(split, count, label_noise)
    draw = Draw("text", "entities", split, seed)
    noise = Draw("noise", "entities", split, seed)
    used: set[str] = set()
    sentences: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    while len(sentences) < count:
        named, key = not draw.chance(NO_ENTITY), ""
        while not key or key in used or split_of("entities", key) != split:
            pieces = write_entities(draw, split, named)
            spelled = tuple(word for piece in pieces for word in piece.words)
            key = " ".join(spelled).lower()
        used.add(key)
        tags = tuple(tag for piece in pieces for tag in _falsified(noise, piece, label_noise).tags)
        sentences.append((f"entities-{split}-{len(sentences):06d}", spelled, tags))
    return sentences

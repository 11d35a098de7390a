"""A text as words and what stands between them, so that words can be moved and the rest stays where it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["keep", "letters"]

# What treebank tokens split off ("n't", "'s") is a word; so is "co-writer", "don't" and "1,000".
_WORD = re.compile(r"n't\b|['’](?:s|re|ve|ll|d|m|t)\b|\w+(?:['’,.-]\w+)*", re.IGNORECASE)
_CLITIC = re.compile(r"n't|['’](?:s|re|ve|ll|d|m|t)", re.IGNORECASE)

# The stop words of Wei and Zou's program (NLTK's English list of its time): never replaced, no source of insertions.
_LISTED = """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
    it its itself they them their theirs themselves what which who whom this that these those am is are was were be
    been being have has had having do does did doing a an the and but if or because as until while of at by for with
    about against between into through during before after above below to from up down in out on off over under again
    further then once here there when where why how all any both each few more most other some such no nor not only
    own same so than too very s t can will just don should now
"""
STOP_WORDS = frozenset(_LISTED.split())


@dataclass(frozen=True, slots=True)
class Words:
    """A text taken apart: `gaps[i]` stands before word i, the last gap behind the last word."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text put together again."""
        return "".join(part for pair in zip(self.gaps, (*self.words, ""), strict=True) for part in pair).strip()

    def replaced(self, place: int, word: str) -> Words:
        """Return it with another word at a place, written as the one that was there begins."""
        return Words((*self.words[:place], _cased(word, self.words[place]), *self.words[place + 1 :]), self.gaps)

    def inserted(self, place: int, word: str) -> Words:
        """Return it with a word more, before word `place` or, for `place` = their number, behind the last."""
        before = (self.gaps[place], " ") if place < len(self.words) else (" ", self.gaps[place])
        gaps = (*self.gaps[:place], *before, *self.gaps[place + 1 :])
        return Words((*self.words[:place], word, *self.words[place:]), gaps)

    def swapped(self, first: int, second: int) -> Words:
        """Return it with two words in each other's place."""
        words = list(self.words)
        words[first], words[second] = words[second], words[first]
        return Words(tuple(words), self.gaps)

    def without(self, places: Sequence[int]) -> Words:
        """Return it without these words; the punctuation about them stays."""
        words, gaps = [], [self.gaps[0]]
        for place, word in enumerate(self.words):
            if place in places:
                gaps[-1] = _joined(gaps[-1], self.gaps[place + 1])
            else:
                words.append(word)
                gaps.append(self.gaps[place + 1])
        return Words(tuple(words), tuple(gaps))


def take_apart(text: str, style: Style) -> Words:
    """Take a text apart.

    Args:
        text: one sentence, or more.
        style: "keep" keeps case and punctuation; "letters" makes it lower-case letters and single blanks first, as
            Wei and Zou's program does (apostrophes go, everything else that is no letter becomes a blank).
    """
    if style == "letters":
        plain_words = tuple(only_letters(text).split())
        return Words(plain_words, ("", *(" ",) * (len(plain_words) - 1), "") if plain_words else ("",))
    words: list[str] = []
    gaps: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        words.append(match[0])
        gaps.append(text[end : match.start()])
        end = match.end()
    return Words(tuple(words), (*gaps, text[end:]))


def only_letters(text: str) -> str:
    """Return the text in the letters from a to z and single blanks."""
    lowered = re.sub("['’]", "", text).lower()
    return " ".join(re.sub("[^a-z]", " ", lowered).split())


def is_stop_word(word: str) -> bool:
    """Tell whether a word is one of Wei and Zou's stop words, or what is split off one ("n't", "'s")."""
    return word.lower() in STOP_WORDS or _CLITIC.fullmatch(word) is not None


def plain(text: str) -> str:
    """Return what is compared when two texts count as equal: their words, without case, spacing and punctuation."""
    return " ".join(match[0].lower() for match in re.finditer(r"\w+", text))


def _cased(word: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word


def _joined(left: str, right: str) -> str:
    """Return what stands where a word was taken out, from what stood on its two sides."""
    if not left.strip():
        return right
    return left if not right.strip() else re.sub(r"\s+", " ", left + right)

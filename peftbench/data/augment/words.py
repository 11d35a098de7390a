"""Split a text into words and the gaps between them, so that words can be edited while punctuation stays in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["keep", "letters"]

# Clitics split off by treebank tokenisation ("n't", "'s") are words; so are "co-writer", "don't" and "1,000".
_WORD = re.compile(r"n't\b|['’](?:s|re|ve|ll|d|m|t)\b|\w+(?:['’,.-]\w+)*", re.IGNORECASE)
_CLITIC = re.compile(r"n't|['’](?:s|re|ve|ll|d|m|t)", re.IGNORECASE)

# The stop words of Wei and Zou's code (NLTK's English list at the time): never replaced or used for insertions.
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
    """A split text: `gaps[i]` precedes word i, the last gap follows the last word."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    @property
    def text(self) -> str:
        """The reassembled text."""
        return "".join(part for pair in zip(self.gaps, (*self.words, ""), strict=True) for part in pair).strip()

    def replaced(self, index: int, word: str) -> Words:
        """Return a copy with one word replaced, keeping the capitalisation of its first letter."""
        return Words((*self.words[:index], _match_case(word, self.words[index]), *self.words[index + 1 :]), self.gaps)

    def inserted(self, index: int, word: str) -> Words:
        """Return a copy with a word inserted before word `index`, or after the last if `index` is their number."""
        before = (self.gaps[index], " ") if index < len(self.words) else (" ", self.gaps[index])
        gaps = (*self.gaps[:index], *before, *self.gaps[index + 1 :])
        return Words((*self.words[:index], word, *self.words[index:]), gaps)

    def swapped(self, first: int, second: int) -> Words:
        """Return a copy with two words swapped."""
        words = list(self.words)
        words[first], words[second] = words[second], words[first]
        return Words(tuple(words), self.gaps)

    def without(self, indices: Sequence[int]) -> Words:
        """Return a copy without these words; the punctuation around them is kept."""
        words, gaps = [], [self.gaps[0]]
        for index, word in enumerate(self.words):
            if index in indices:
                gaps[-1] = _merged_gap(gaps[-1], self.gaps[index + 1])
            else:
                words.append(word)
                gaps.append(self.gaps[index + 1])
        return Words(tuple(words), tuple(gaps))


def take_apart(text: str, style: Style) -> Words:
    """Split a text into words and gaps.

    Args:
        text: one or more sentences.
        style: "keep" keeps case and punctuation; "letters" first reduces it to lower-case letters and single spaces,
            as in Wei and Zou's code (apostrophes are removed, other non-letters become spaces).
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
    """Return the text reduced to the letters a to z and single spaces."""
    lowered = re.sub("['’]", "", text).lower()
    return " ".join(re.sub("[^a-z]", " ", lowered).split())


def is_stop_word(word: str) -> bool:
    """Return whether a word is one of Wei and Zou's stop words, or a clitic split off one ("n't", "'s")."""
    return word.lower() in STOP_WORDS or _CLITIC.fullmatch(word) is not None


def plain(text: str) -> str:
    """Normalise a text for comparison: its words in lower case, without punctuation and extra spaces."""
    return " ".join(match[0].lower() for match in re.finditer(r"\w+", text))


def _match_case(word: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word


def _merged_gap(left: str, right: str) -> str:
    """Merge the gaps on both sides of a deleted word."""
    if not left.strip():
        return right
    return left if not right.strip() else re.sub(r"\s+", " ", left + right)

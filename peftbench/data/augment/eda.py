"""Easy data augmentation (Wei and Zou 2019, EMNLP-IJCNLP; arXiv 1901.11196): four operations on a sentence.

For l words and strength alpha, n = alpha * l words are changed, at least one:

    replace   replace n words that are not stop words by a random synonym each
    insert    n times: insert a random synonym of a random non-stop word at a random position
    swap      n times: swap two random words
    delete    delete each word with probability alpha; a draw that deletes none is kept, and yields a row too
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from peftbench.data.augment.words import Words, is_stop_word, only_letters, take_apart
from peftbench.seeds import derive_seed
from peftbench.spec.augment import EdaSpec

Synonyms = Callable[[str], Sequence[str]]

OPERATIONS = ("replace", "insert", "swap", "delete")
TRIES = 10  # draws of an operation before giving up on a sentence that it leaves unchanged
DELETE = "delete"  # never redrawn: redrawing until a word is deleted would delete 14 % of the words at alpha 0.1


def variants(
    texts: tuple[str, ...], settings: EdaSpec, synonyms: Synonyms, seed: int, *use: str
) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Yield `n_aug` pairs of an operation and its output texts; None if it produced nothing new.

    The output of `delete` is not redrawn: it may equal the source row or an earlier output.

    The operations with non-zero alpha share `n_aug` evenly; the remainder is assigned at random. Both texts of a pair
    are changed by the same operation.

    Args:
        texts: one text, or the two of a pair.
        settings: alphas, `n_aug`, style.
        synonyms: returns the synonyms of a word.
        seed: determines every draw, together with `use`, which identifies the example.
        use: see `seeds.derive_seed`.
    """
    rng = Random(derive_seed(seed, "eda", *use))
    source = [take_apart(text, settings.style) for text in texts]
    made = {tuple(words.text for words in source)}
    wordlist = Thesaurus(synonyms, settings)
    for operation in _operations(settings, rng):
        if operation == DELETE:
            new = tuple(delete(words, settings, wordlist, rng).text for words in source)
            yield operation, new if all(words.words for words in source) else None
            continue
        for _ in range(TRIES):
            new = tuple(_APPLY[operation](words, settings, wordlist, rng).text for words in source)
            if new not in made and all(new):
                made.add(new)
                yield operation, new
                break
        else:
            yield operation, None


class Thesaurus:
    """Synonym lookup in one writing style.

    Args:
        synonyms: returns the synonyms of a word.
        settings: defines the style.
    """

    def __init__(self, synonyms: Synonyms, settings: EdaSpec) -> None:
        self._synonyms, self._letters = synonyms, settings.style == "letters"

    def of(self, word: str) -> Sequence[str]:
        """Return a word's synonyms; empty for a stop word."""
        if is_stop_word(word):
            return ()
        synonyms = self._synonyms(word)
        if not self._letters:
            return synonyms
        return [synonym for synonym in dict.fromkeys(map(only_letters, synonyms)) if synonym and synonym != word]


def replace(words: Words, settings: EdaSpec, thesaurus: Thesaurus, rng: Random) -> Words:
    """Replace n words, or all that have a synonym if fewer."""
    candidates = [index for index, word in enumerate(words.words) if thesaurus.of(word)]
    for index in rng.sample(candidates, min(_count(settings.alpha_replace, words), len(candidates))):
        words = words.replaced(index, rng.choice(thesaurus.of(words.words[index])))
    return words


def insert(words: Words, settings: EdaSpec, thesaurus: Thesaurus, rng: Random) -> Words:
    """Insert a synonym n times."""
    able = [word for word in words.words if thesaurus.of(word)]
    if not able:
        return words
    for _ in range(_count(settings.alpha_insert, words)):
        word = rng.choice(thesaurus.of(rng.choice(able)))
        words = words.inserted(rng.randint(0, len(words.words)), word)
    return words


def swap(words: Words, settings: EdaSpec, thesaurus: Thesaurus, rng: Random) -> Words:
    """Swap two words n times."""
    if len(words.words) < 2:
        return words
    for _ in range(_count(settings.alpha_swap, words)):
        words = words.swapped(*rng.sample(range(len(words.words)), 2))
    return words


def delete(words: Words, settings: EdaSpec, thesaurus: Thesaurus, rng: Random) -> Words:
    """Delete each word with probability alpha; if all would be deleted, one is kept."""
    deleted = [index for index in range(len(words.words)) if rng.random() < settings.alpha_delete]
    if len(deleted) == len(words.words) and deleted:
        deleted.remove(rng.choice(deleted))
    return words.without(deleted)


_APPLY = dict(zip(OPERATIONS, (replace, insert, swap, delete), strict=True))


def _count(alpha: float, words: Words) -> int:
    """Return n = alpha * l, rounded down, at least 1 (as in the authors' code)."""
    return max(1, int(alpha * len(words.words)))


def _operations(settings: EdaSpec, rng: Random) -> list[str]:
    """Return the operation for each of the `n_aug` new rows."""
    used = [operation for operation in OPERATIONS if getattr(settings, f"alpha_{operation}") > 0]
    each, left = divmod(settings.n_aug, len(used))
    extra = rng.sample(used, left)
    return [operation for operation in used for _ in range(each + (operation in extra))]

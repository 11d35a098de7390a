"""Easy data augmentation (Wei and Zou 2019, EMNLP-IJCNLP; arXiv 1901.11196): four small changes to a sentence.

With l words and a strength alpha, n = alpha * l of them are changed, at least one:

    replace   n words that are not stop words by a random synonym of each
    insert    n times: a random synonym of a random word that is not a stop word, at a random place
    swap      n times: two random words change places
    delete    each word goes with probability alpha
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from peftbench.data.augment.words import Words, is_stop_word, only_letters, take_apart
from peftbench.seeds import derive_seed
from peftbench.spec.augment import EdaSpec

Synonyms = Callable[[str], Sequence[str]]

OPERATIONS = ("replace", "insert", "swap", "delete")
TRIES = 10  # draws before an operation is given up on a sentence that it keeps leaving as it was


def variants(
    texts: tuple[str, ...], settings: EdaSpec, synonyms: Synonyms, seed: int, *use: str
) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Yield `n_aug` times an operation and the texts it made; None where it found nothing new to make.

    The operations whose alpha is not 0 share `n_aug` evenly; what is left over goes to some of them by chance. Both
    texts of a pair are changed by the same operation.

    Args:
        texts: one text, or the two of a pair.
        settings: alphas, `n_aug`, style.
        synonyms: of a word.
        seed: with `use`, which names the example, it determines every draw.
        use: see `seeds.derive_seed`.
    """
    rng = Random(derive_seed(seed, "eda", *use))
    source = [take_apart(text, settings.style) for text in texts]
    made = {tuple(words.text for words in source)}
    wordlist = Thesaurus(synonyms, settings)
    for operation in _shares(settings, rng):
        for _ in range(TRIES):
            new = tuple(_APPLY[operation](words, settings, wordlist, rng).text for words in source)
            if new not in made and all(new):
                made.add(new)
                yield operation, new
                break
        else:
            yield operation, None


class Thesaurus:
    """Synonyms as one style writes them.

    Args:
        synonyms: of a word.
        settings: their style.
    """

    def __init__(self, synonyms: Synonyms, settings: EdaSpec) -> None:
        self._synonyms, self._letters = synonyms, settings.style == "letters"

    def of(self, word: str) -> Sequence[str]:
        """Return a word's synonyms; none for a stop word."""
        if is_stop_word(word):
            return ()
        found = self._synonyms(word)
        if not self._letters:
            return found
        return [one for one in dict.fromkeys(map(only_letters, found)) if one and one != word]


def replace(words: Words, settings: EdaSpec, thesaurus: Thesaurus, rng: Random) -> Words:
    """Replace n words, or as many as have a synonym."""
    able = [place for place, word in enumerate(words.words) if thesaurus.of(word)]
    for place in rng.sample(able, min(_count(settings.alpha_replace, words), len(able))):
        words = words.replaced(place, rng.choice(thesaurus.of(words.words[place])))
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
    """Delete each word with probability alpha; where all would go, one stays."""
    gone = [place for place in range(len(words.words)) if rng.random() < settings.alpha_delete]
    if len(gone) == len(words.words) and gone:
        gone.remove(rng.choice(gone))
    return words.without(gone)


_APPLY = dict(zip(OPERATIONS, (replace, insert, swap, delete), strict=True))


def _count(alpha: float, words: Words) -> int:
    """Return n = alpha * l, at least 1 (as their program does), rounded down."""
    return max(1, int(alpha * len(words.words)))


def _shares(settings: EdaSpec, rng: Random) -> list[str]:
    """Return the operation of each of the `n_aug` new rows."""
    used = [operation for operation in OPERATIONS if getattr(settings, f"alpha_{operation}") > 0]
    each, left = divmod(settings.n_aug, len(used))
    extra = rng.sample(used, left)
    return [operation for operation in used for _ in range(each + (operation in extra))]

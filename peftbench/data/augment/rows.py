"""New training rows of one task, made once and kept on disk by all that determines them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peftbench.data.augment.backtranslation import BackTranslator
from peftbench.data.augment.eda import variants
from peftbench.data.augment.wordnet import WordNet, find_wordnet
from peftbench.data.augment.words import plain
from peftbench.data.cache_files import write_cache
from peftbench.data.examples import Example, fingerprint
from peftbench.errors import UsageError
from peftbench.paths import cache_folder
from peftbench.spec.augment import AugmentSpec

_CACHE_VERSION = 1  # raise it when what is made from the same input changes
_TOLD_EVERY = 200  # rows

UNCHANGED = "nothing new"
REPEATED = "a row that was there"
LEAKED = "a sentence of dev or test"

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row that augmentation made, and from which by what; it has that row's label."""

    id: str
    texts: tuple[str, ...]
    label: float
    source_id: str
    operation: str

    @property
    def example(self) -> Example:
        """The row as training takes it."""
        return Example(self.id, self.texts, self.label)


@dataclass(frozen=True, slots=True)
class NewRows:
    """What augmentation made of a split: the rows, and how many others were left out, by operation and reason."""

    rows: tuple[NewRow, ...]
    left_out: Mapping[str, Mapping[str, int]]
    from_cache: bool = False

    def dropped(self, reason: str) -> int:
        """How many rows were left out for this reason."""
        return sum(reasons.get(reason, 0) for reasons in self.left_out.values())

    def described(self, task: str, rows: int) -> str:
        """Say in one sentence what was made of so many rows of a task, and what was left out and why."""
        made = Counter(row.operation for row in self.rows)
        kinds = ", ".join(f"{operation} {count:,}" for operation, count in made.items()) or "none"
        reasons = {reason: self.dropped(reason) for reason in (UNCHANGED, REPEATED, LEAKED)}
        left_out = ", ".join(f"{count:,} as {reason}" for reason, count in reasons.items() if count) or "none"
        return f"{task} train: {rows:,} rows and {len(self.rows):,} new ones ({kinds}); left out: {left_out}"


@dataclass(slots=True)
class Augmenter:
    """What the augmentation of a spec needs: a dictionary, translation models; found at once, loaded when needed.

    Raises:
        MissingError: the dictionary or a model is not on this machine.
    """

    settings: AugmentSpec
    wordnet: WordNet | None = field(init=False, default=None)
    translator: BackTranslator | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.settings.uses_backtranslation:
            self.translator = BackTranslator(self.settings.backtranslate)
        if self.settings.uses_eda:
            self.wordnet = find_wordnet()

    @property
    def facts(self) -> dict[str, Any]:
        """What was used, for the record."""
        dictionary = self.wordnet and {"wordnet": self.wordnet.where, "wordnet_sha256": self.wordnet.sha256}
        models = self.translator and {"translation_sha256": self.translator.sha256}
        return {**(dictionary or {}), **(models or {})}

    def new_rows(
        self,
        task: str,
        examples: Sequence[Example],
        guarded: Collection[str],
        on_progress: OnProgress = lambda done, total: None,
    ) -> NewRows:
        """Make new rows of a task's training examples, or take them from the cache.

        Args:
            task: its name, a part of every draw.
            examples: the rows that are there.
            guarded: texts of dev and test as `plain` writes them: no row made may hold one.
            on_progress: told how many steps are done, and of how many.
        """
        path = cache_folder() / "augmented" / f"{self._key(task, examples, guarded)}.jsonl"
        found = _read(path)
        if found is None:
            found = _chosen(examples, guarded, self._made(task, examples, on_progress))
            write_cache(path, _written(found))
        return found

    def close(self) -> None:
        """Give the memory of translation models back."""
        if self.translator is not None:
            self.translator.close()

    def _made(
        self, task: str, examples: Sequence[Example], on_progress: OnProgress
    ) -> Iterator[tuple[Example, str, tuple[str, ...] | None]]:
        """Yield source, operation and new texts, None where there are none."""
        if self.translator is not None:
            texts = [text for example in examples for text in example.texts]
            back = iter(self.translator.translate(texts, on_progress))
            for example in examples:
                new = tuple(next(back) for _ in example.texts)
                is_new = all(new) and any(plain(a) != plain(b) for a, b in zip(new, example.texts, strict=True))
                yield example, "backtranslate", new if is_new else None
        if self.wordnet is not None:
            settings, synonyms = self.settings, self.wordnet.synonyms
            for done, example in enumerate(examples, start=1):
                for operation, made in variants(example.texts, settings.eda, synonyms, settings.seed, task, example.id):
                    yield example, operation, made
                if done % _TOLD_EVERY == 0 or done == len(examples):
                    on_progress(done, len(examples))

    def _key(self, task: str, examples: Sequence[Example], guarded: Collection[str]) -> str:
        settings = self.settings
        determinants = [
            *(_CACHE_VERSION, task, fingerprint(examples), sorted(guarded)),
            self.wordnet and [self.wordnet.sha256, settings.seed, settings.eda.model_dump(mode="json")],
            self.translator and self.translator.sha256,
        ]
        return hashlib.sha256(json.dumps(determinants, ensure_ascii=True).encode()).hexdigest()


def _chosen(
    examples: Sequence[Example],
    guarded: Collection[str],
    made: Iterable[tuple[Example, str, tuple[str, ...] | None]],
) -> NewRows:
    """Keep what is new, in no split that must stay unseen, and not there already; number it."""
    ids = {example.id for example in examples}
    seen = {example.texts for example in examples}
    rows: list[NewRow] = []
    numbers: Counter[tuple[str, str]] = Counter()
    left_out: dict[str, Counter[str]] = {}
    for source, operation, texts in made:
        reason = _why_not(source, texts, seen, guarded)
        if reason is not None or texts is None:
            left_out.setdefault(operation, Counter())[reason or UNCHANGED] += 1
            continue
        seen.add(texts)
        numbers[source.id, operation] += 1
        row_id = f"{source.id}-{operation}-{numbers[source.id, operation]}"
        if row_id in ids:
            raise UsageError(f"the id '{row_id}' of a new row is there already: augment rows that are not augmented")
        ids.add(row_id)
        rows.append(NewRow(row_id, texts, source.label, source.id, operation))
    return NewRows(tuple(rows), {operation: dict(reasons) for operation, reasons in left_out.items()})


def _why_not(
    source: Example, texts: tuple[str, ...] | None, seen: Collection[tuple[str, ...]], guarded: Collection[str]
) -> str | None:
    if texts is None:
        return UNCHANGED
    if texts in seen:
        return REPEATED
    changed = [new for new, old in zip(map(plain, texts), map(plain, source.texts), strict=True) if new != old]
    return LEAKED if any(text in guarded for text in changed) else None


def _written(found: NewRows) -> bytes:
    """Return the rows as lines of JSON, their hash and what was left out in the first."""
    body = "".join(json.dumps(asdict(row), ensure_ascii=True) + "\n" for row in found.rows).encode()
    head = {"left_out": found.left_out, "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(head).encode() + b"\n" + body


def _read(path: Path) -> NewRows | None:
    """Return what a cache file holds; None where it is absent or damaged (it is then made anew)."""
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(first)
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            return None
        lines = [json.loads(line) for line in body.splitlines()]
        return NewRows(
            tuple(NewRow(**{**line, "texts": tuple(line["texts"])}) for line in lines),
            head["left_out"],
            from_cache=True,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None

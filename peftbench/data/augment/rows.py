"""Generate new training rows of one task, cached on disk by everything that determines them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from peftbench.data.augment.backtranslation import BackTranslator
from peftbench.data.augment.eda import DELETE, variants
from peftbench.data.augment.wordnet import WordNet, find_wordnet
from peftbench.data.augment.words import plain
from peftbench.data.cache_files import write_cache
from peftbench.data.examples import Example, fingerprint
from peftbench.data.load import load_test
from peftbench.errors import MissingError, UsageError
from peftbench.paths import cache_folder
from peftbench.spec.augment import AugmentSpec
from peftbench.store.conditions import AugmentConditions
from peftbench.store.rows import Label
from peftbench.tasks import FilesSource, TaskSpec

_CACHE_VERSION = 2  # increment when the output for the same input changes
_PROGRESS_EVERY = 200  # rows

UNCHANGED = "nothing new"
REPEATED = "a row that was there"
LEAKED = "a sentence of dev or test"

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class NewRow:
    """An augmented row with its source row, whose label it takes, and its operation."""

    id: str
    texts: tuple[str, ...]
    label: Label
    source_id: str
    operation: str

    @property
    def example(self) -> Example:
        """The row as a training example."""
        return Example(self.id, self.texts, self.label)


@dataclass(frozen=True, slots=True)
class NewRows:
    """The augmented rows of a split, and the number of rejected ones by operation and reason."""

    rows: tuple[NewRow, ...]
    left_out: Mapping[str, Mapping[str, int]]
    from_cache: bool = False

    def dropped(self, reason: str) -> int:
        """Return the number of rows rejected for a reason."""
        return sum(reasons.get(reason, 0) for reasons in self.left_out.values())

    def described(self, task: str, rows: int) -> str:
        """Summarise in one sentence the new rows of a task with `rows` rows, and the rejected ones by reason."""
        made = Counter(row.operation for row in self.rows)
        kinds = ", ".join(f"{operation} {count:,}" for operation, count in made.items()) or "none"
        reasons = {reason: self.dropped(reason) for reason in (UNCHANGED, REPEATED, LEAKED)}
        left_out = ", ".join(f"{count:,} as {reason}" for reason, count in reasons.items() if count) or "none"
        return f"{task} train: {rows:,} rows and {len(self.rows):,} new ones ({kinds}); rejected: {left_out}"


def guarded_texts(task: TaskSpec, dev: Sequence[Example]) -> tuple[frozenset[str], str | None]:
    """Return the texts that new rows must not contain, and a note if the test file is missing.

    They are those of dev and, if available, of test, normalised by `plain`.

    Raises:
        DataError: the test file exists but is not usable.
    """
    examples, message = list(dev), None
    if isinstance(task.source, FilesSource) and task.source.test is not None:
        try:
            examples += load_test(task)
        except MissingError:
            message = f"{task.name}: no test file, so new rows were compared with dev only"
    return frozenset(plain(text) for example in examples for text in example.texts), message


@dataclass(slots=True)
class Augmenter:
    """The resources for a spec's augmentation: dictionary and translation models, located early and loaded lazily.

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
    def facts(self) -> AugmentConditions:
        """The resources used, for the run's record."""
        facts: AugmentConditions = {}
        if self.wordnet is not None:
            facts |= {"wordnet": self.wordnet.where, "wordnet_sha256": self.wordnet.sha256}
        if self.translator is not None:
            facts["translation_sha256"] = self.translator.sha256
        return facts

    def new_rows(
        self,
        task: str,
        examples: Sequence[Example],
        guarded: Collection[str],
        on_progress: OnProgress = lambda done, total: None,
    ) -> NewRows:
        """Generate new rows from a task's training examples, or read them from the cache.

        Args:
            task: the task's name, part of the seed of every draw.
            examples: the original rows.
            guarded: the texts of `guarded_texts`: no new row may contain one.
            on_progress: called with the steps done and the total.
        """
        path = cache_folder() / "augmented" / f"{self._key(task, examples, guarded)}.jsonl"
        new = _read_cache(path)
        if new is None:
            new = _filtered(examples, guarded, self._candidates(task, examples, on_progress))
            write_cache(path, _serialised(new))
        return new

    def close(self) -> None:
        """Free the memory of translation models."""
        if self.translator is not None:
            self.translator.close()

    def _candidates(
        self, task: str, examples: Sequence[Example], on_progress: OnProgress
    ) -> Iterator[tuple[Example, str, tuple[str, ...] | None]]:
        """Yield source, operation and new texts; None if the operation produced nothing new."""
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
                if done % _PROGRESS_EVERY == 0 or done == len(examples):
                    on_progress(done, len(examples))

    def _key(self, task: str, examples: Sequence[Example], guarded: Collection[str]) -> str:
        settings = self.settings
        determinants = [
            *(_CACHE_VERSION, task, fingerprint(examples), sorted(guarded)),
            self.wordnet and [self.wordnet.sha256, settings.seed, settings.eda.model_dump(mode="json")],
            self.translator and self.translator.sha256,
        ]
        return hashlib.sha256(json.dumps(determinants, ensure_ascii=True).encode()).hexdigest()


def _filtered(
    examples: Sequence[Example],
    guarded: Collection[str],
    made: Iterable[tuple[Example, str, tuple[str, ...] | None]],
) -> NewRows:
    """Keep and number the rows that are new, not in dev or test, and (except for `delete`) not duplicates."""
    ids = {example.id for example in examples}
    seen = {example.texts for example in examples}
    rows: list[NewRow] = []
    numbers: Counter[tuple[str, str]] = Counter()
    left_out: dict[str, Counter[str]] = {}
    for source, operation, texts in made:
        reason = _rejection_reason(source, operation, texts, seen, guarded)
        if reason is not None or texts is None:
            left_out.setdefault(operation, Counter())[reason or UNCHANGED] += 1
            continue
        seen.add(texts)
        numbers[source.id, operation] += 1
        row_id = f"{source.id}-{operation}-{numbers[source.id, operation]}"
        if row_id in ids:
            raise UsageError(f"the id '{row_id}' of a new row already exists: augment data that is not augmented yet")
        ids.add(row_id)
        rows.append(NewRow(row_id, texts, source.label, source.id, operation))
    return NewRows(tuple(rows), {operation: dict(reasons) for operation, reasons in left_out.items()})


def _rejection_reason(
    source: Example,
    operation: str,
    texts: tuple[str, ...] | None,
    seen: Collection[tuple[str, ...]],
    guarded: Collection[str],
) -> str | None:
    if texts is None:
        return UNCHANGED
    if texts in seen and operation != DELETE:
        return REPEATED
    changed = [new for new, old in zip(map(plain, texts), map(plain, source.texts), strict=True) if new != old]
    return LEAKED if any(text in guarded for text in changed) else None


def _serialised(new: NewRows) -> bytes:
    """Serialise the rows as JSON lines; the first line holds their hash and the rejection counts."""
    body = "".join(json.dumps(asdict(row), ensure_ascii=True) + "\n" for row in new.rows).encode()
    head = {"left_out": new.left_out, "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(head).encode() + b"\n" + body


def _read_cache(path: Path) -> NewRows | None:
    """Read a cache file; None if it is missing or corrupt (it is then recomputed)."""
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

"""New rows: labels and sources, unique ids, no text of dev or test, no duplicates; the same from the cache."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from peftbench.data.augment import rows, wordnet
from peftbench.data.augment.rows import LEAKED, REPEATED, UNCHANGED, Augmenter
from peftbench.data.augment.words import plain
from peftbench.data.examples import Example
from peftbench.errors import MissingError, UsageError
from peftbench.spec.augment import AugmentSpec, BackTranslationSpec, EdaSpec
from tests.data.augment.dictionary import write_dictionary
from tests.data.augment.models import tiny_t5

SST = [
    Example("a1", ("A truly great film with a good plot.",), 4.0),
    Example("a2", ("The plot is dull, the story boring.",), 1.0),
    Example("a3", ("?!",), 2.0),
]
STS = [Example("p1", ("a good film", "we watch a dull film"), 1.8), Example("p2", ("a great plot", "so"), 0.25)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_t5(tmp_path_factory.mktemp("t5")))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(wordnet.ENVIRONMENT, str(write_dictionary(tmp_path / "wordnet")))
    return tmp_path


def spec(method: str = "eda", model: str = "", **changed: object) -> AugmentSpec:
    back = BackTranslationSpec(model=model or "none", precision="fp32", max_new_tokens=6)
    return AugmentSpec(method=method, backtranslate=back, **changed)


def made(settings: AugmentSpec, examples: list[Example] = SST, guarded: frozenset[str] = frozenset(), **more: object):
    return Augmenter(settings).new_rows("sst", examples, guarded, **more)


def guard(examples: list[Example]) -> frozenset[str]:
    return frozenset(plain(text) for example in examples for text in example.texts)


def test_every_row_keeps_its_sources_label_and_says_where_it_is_from() -> None:
    found = made(spec())
    labels = {example.id: example.label for example in SST}
    assert {row.source_id for row in found.rows} == {"a1", "a2"}
    assert all(row.label == labels[row.source_id] for row in found.rows)
    assert Counter(row.source_id for row in found.rows) == {"a1": 9, "a2": 9}
    assert {row.operation for row in found.rows} == {"replace", "insert", "swap", "delete"}
    ids = [row.id for row in found.rows] + [example.id for example in SST]
    assert len(set(ids)) == len(ids)
    assert all(row.example == Example(row.id, row.texts, row.label) for row in found.rows)


def test_what_cannot_be_changed_is_counted() -> None:
    found = made(spec())
    assert found.dropped(UNCHANGED) == 9
    assert sum(map(len, (found.rows,))) + found.dropped(UNCHANGED) == 9 * len(SST)


def test_a_row_equal_to_a_sentence_of_dev_or_test_is_dropped_and_counted() -> None:
    free = made(spec())
    leak = free.rows[0].texts[0]
    dev = [Example("d", (leak.upper() + " !",), 0.0)]  # case and punctuation are ignored
    found = made(spec(), guarded=guard(dev))
    assert found.dropped(LEAKED) == 1
    assert [row.texts for row in found.rows] == [row.texts for row in free.rows[1:]]


def test_of_a_pair_only_a_sentence_that_was_changed_can_leak() -> None:
    dev = guard([Example("d", ("a great plot", "so"), 0.0)])
    found = Augmenter(spec()).new_rows("sts", STS, dev)
    assert any("so" in row.texts for row in found.rows)  # cannot be changed, and was already in train
    leaked = guard([Example("d", (found.rows[0].texts[1], "x"), 0.0)])
    assert Augmenter(spec()).new_rows("sts", STS, leaked).dropped(LEAKED) == 1


def test_a_row_that_is_there_already_is_dropped_and_counted() -> None:
    twins = [Example(f"t{n}", ("good film",), 3.0) for n in range(6)]
    found = made(spec(), twins)
    others = [row.texts for row in found.rows if row.operation != "delete"]
    assert len(set(others)) == len(others)
    assert found.dropped(REPEATED) > 0


def test_what_delete_made_is_a_row_however_often_it_is_there() -> None:
    twins = [Example(f"t{n}", ("good film",), 3.0) for n in range(6)]
    deleted = [row for row in made(spec(), twins).rows if row.operation == "delete"]
    assert ("good film",) in {row.texts for row in deleted}
    assert len({row.texts for row in deleted}) < len(deleted)
    assert len({row.id for row in deleted}) == len(deleted)


def test_a_pair_stays_a_pair() -> None:
    found = Augmenter(spec()).new_rows("sts", STS, frozenset())
    assert {len(row.texts) for row in found.rows} == {2}
    assert {row.label for row in found.rows} == {1.8, 0.25}


def test_back_translation_makes_one_row_of_each(model: str) -> None:
    told: list[tuple[int, int]] = []
    found = made(spec("backtranslate", model), on_progress=lambda done, total: told.append((done, total)))
    assert {row.operation for row in found.rows} == {"backtranslate"}
    assert len(found.rows) + sum(sum(reasons.values()) for reasons in found.left_out.values()) == len(SST)
    assert found.rows and told[-1] == (6, 6)


def test_both_are_the_rows_of_each(model: str) -> None:
    both = {(row.source_id, row.operation, row.texts) for row in made(spec("both", model)).rows}
    alone = [*made(spec("backtranslate", model)).rows, *made(spec()).rows]
    assert both == {(row.source_id, row.operation, row.texts) for row in alone}


class TestCache:
    def test_the_second_time_is_the_same_and_makes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = made(spec())
        monkeypatch.setattr(rows, "variants", None)
        second = made(spec())
        assert (first.from_cache, second.from_cache) == (False, True)
        assert (second.rows, second.left_out) == (first.rows, first.left_out)

    def test_whatever_determines_the_rows_is_in_the_key(self, folders: Path, model: str) -> None:
        made(spec())
        assert not made(spec(seed=1)).from_cache
        assert not made(spec(eda=EdaSpec(n_aug=4))).from_cache
        assert not made(spec(), SST[:2]).from_cache
        assert not made(spec(), guarded=frozenset({"x"})).from_cache
        assert not made(spec("both", model)).from_cache
        assert not Augmenter(spec()).new_rows("other", SST, frozenset()).from_cache
        (folders / "wordnet" / "noun.exc").write_text("mice mouse\n")
        assert not made(spec()).from_cache

    def test_a_damaged_file_is_made_anew(self, folders: Path) -> None:
        first = made(spec())
        (file,) = (folders / "cache" / "augmented").iterdir()
        file.write_bytes(file.read_bytes()[:-20])
        again = made(spec())
        assert not again.from_cache and again.rows == first.rows
        assert made(spec()).from_cache


def test_what_is_missing_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, folders: Path) -> None:
    with pytest.raises(MissingError, match="needs the model none"):
        Augmenter(spec("both"))
    monkeypatch.setenv(wordnet.ENVIRONMENT, str(folders / "nowhere"))
    with pytest.raises(MissingError, match="WordNet"):
        Augmenter(spec())


def test_rows_that_are_augmented_already_are_not_augmented_under_the_same_ids() -> None:
    augmented = [*SST, *(row.example for row in made(spec()).rows)]
    with pytest.raises(UsageError, match="already exists"):
        made(spec(seed=1), augmented)


def test_facts_name_the_dictionary(folders: Path) -> None:
    facts = Augmenter(spec()).facts
    assert facts["wordnet"] == str(folders / "wordnet") and len(facts["wordnet_sha256"]) == 64
    json.dumps(facts)

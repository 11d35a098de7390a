"""The generated named entities: reproducible, unique, well formed, and not to be had from the words alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache
from itertools import combinations

import pytest

from peftbench.data.quickstart.entities import ENTITY_TAGS, ENTITY_TYPES, NO_ENTITY, generate_entities
from peftbench.data.quickstart.entity_frames import CLAUSES, CONTRASTS, NAMES, NO_NAME, POSSESSED, QUESTIONS
from peftbench.data.quickstart.entity_words import NAMES_FOR, SLOTS
from peftbench.data.quickstart.grammar import digest
from peftbench.data.quickstart.splits import LABEL_NOISE, SPLITS
from peftbench.metrics.spans import spans_of
from peftbench.metrics.value import value

SIZE = 1_000
Sentence = tuple[str, tuple[str, ...], tuple[str, ...]]


@cache
def sentences(split: str = "train", count: int = SIZE, noise: float = LABEL_NOISE) -> tuple[Sentence, ...]:
    return tuple(generate_entities(split, count, label_noise=noise))


def names(split: str) -> list[str]:
    """The entities of a split, in lower case, as often as they occur."""
    rows = sentences(split, noise=0.0)
    return [" ".join(words[a : b + 1]).lower() for _, words, tags in rows for _, a, b in spans_of(tags)]


def test_the_sentences_never_change():
    """Stored runs are compared with new ones: a change must be announced in the changelog as breaking."""
    assert (
        f"{digest(*generate_entities('train', 50)):064x}"
        == "677e696bdeefa8cbb964bc4159e50f009e0b9791a69a9719bcf57560373448c6"
    )


def test_a_smaller_count_is_the_beginning_of_a_larger_one():
    assert tuple(generate_entities("train", 137)) == sentences()[:137]


def test_another_seed_gives_other_sentences():
    own = {words for _, words, _ in sentences()[:200]}
    assert len(own & {words for _, words, _ in generate_entities("train", 200, seed=1)}) < 20


def test_no_sentence_is_repeated_within_or_between_splits_and_seeds():
    texts = {split: {" ".join(words).lower() for _, words, _ in sentences(split)} for split in SPLITS}
    assert all(len(own) == SIZE for own in texts.values())
    assert all(texts[one].isdisjoint(texts[other]) for one, other in combinations(SPLITS, 2))
    assert texts["train"].isdisjoint(" ".join(words).lower() for _, words, _ in generate_entities("dev", 300, seed=1))


def test_ids_name_task_split_and_position():
    assert sentences("dev")[17][0] == "entities-dev-000017"


def test_every_word_has_a_tag_and_no_white_space():
    assert all(len(words) == len(tags) for _, words, tags in sentences())
    assert all(re.fullmatch(r"\S+", word) for _, words, _ in sentences() for word in words)


def test_tags_are_bio_of_all_types():
    assert {tag for *_, tags in sentences() for tag in tags} == set(ENTITY_TAGS)
    for *_, tags in sentences():
        for before, tag in zip(("O", *tags), tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_types_and_sentences_without_an_entity_have_their_share():
    clean = sentences(noise=0.0)
    kinds = Counter(kind for *_, tags in clean for kind, _, _ in spans_of(tags))
    assert sorted(kinds) == sorted(ENTITY_TYPES)
    assert min(kinds.values()) > 0.1 * kinds.total()
    assert abs(sum(set(tags) == {"O"} for *_, tags in clean) / SIZE - NO_ENTITY) < 0.03


def test_the_declared_share_of_entities_is_falsified():
    clean, noisy = sentences(noise=0.0), sentences()
    assert [words for _, words, _ in clean] == [words for _, words, _ in noisy]
    kept = dropped = retyped = 0
    for (*_, true), (*_, given) in zip(clean, noisy, strict=True):
        for kind, a, b in spans_of(true):
            found = given[a]
            kept += found == f"B-{kind}"
            dropped += found == "O"
            retyped += found not in ("O", f"B-{kind}")
            assert {tag[2:] for tag in given[a : b + 1]} == {found[2:]}
    assert abs((dropped + retyped) / (kept + dropped + retyped) - LABEL_NOISE) < 0.015
    assert 0.5 < dropped / retyped < 2


def test_more_noise_keeps_what_less_noise_falsified():
    clean, some, more = (sentences("dev", 300, noise) for noise in (0.0, 0.1, 0.3))
    for (*_, original), (*_, once), (*_, twice) in zip(clean, some, more, strict=True):
        assert all(b in (a, c) for a, b, c in zip(original, once, twice, strict=True))


def test_about_half_of_the_names_of_dev_are_not_in_train():
    seen = set(names("train"))
    dev = names("dev")
    assert 0.4 < sum(name not in seen for name in dev) / len(dev) < 0.6
    one_word = [name for name in dev if " " not in name]
    assert 0.3 < sum(name not in seen for name in one_word) / len(one_word) < 0.6


def test_many_names_have_several_types():
    types = defaultdict(set)
    for _, words, tags in sentences(noise=0.0):
        for word, tag in zip(words, tags, strict=True):
            types[word.lower()].add(tag[2:])
    assert len([word for word, found in types.items() if len(found) > 1]) > 60
    assert types["derby"] >= {"PER", "LOC", "ORG"}


def by_majority(train: tuple[Sentence, ...], dev: tuple[Sentence, ...]) -> list[list[str]]:
    """Each word with its most frequent tag in train; words that are not there with `O`."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[word.lower()][tag] += 1
    return [[max(counts[w.lower()], key=counts[w.lower()].get, default="O") for w in words] for _, words, _ in dev]


def test_the_words_alone_do_not_give_the_tags():
    train, dev = sentences("train", 400), sentences("dev", 300)
    labels = [list(tags) for *_, tags in dev]
    outside = [["O"] * len(tags) for tags in labels]
    assert value("span_f1", labels, outside).value == 0.0
    assert 0.35 < value("span_f1", labels, by_majority(train, dev)).value < 0.5


def test_label_noise_leaves_room():
    clean = [list(tags) for *_, tags in sentences("dev", 300, 0.0)]
    assert value("span_f1", [list(tags) for *_, tags in sentences("dev", 300)], clean).value > 0.95


def test_every_slot_can_be_filled():
    slots = {
        slot for wordings in NAMES.values() for wording, _ in wordings[1] for slot in re.findall(r"{(\w+)}", wording)
    }
    assert slots <= {*NAMES_FOR, "initial", "digit"}
    clauses = [frame for parts in CLAUSES.values() for frames in parts for frame in frames]
    used = set(re.findall(r"{(\w+)}", " ".join((*clauses, *CONTRASTS, *NO_NAME, *QUESTIONS))))
    assert used | POSSESSED.keys() <= NAMES.keys() | SLOTS.keys()


UNREADABLE = {
    "an unfilled slot": r"[{}|+_]",
    "a word said twice": r"\b(\w+) \1\b",
    "a before a vowel": r"\b[Aa] [AEIOUaeiou]",
    "an before a consonant": r"\b[Aa]n [^AEIOUaeiou]",
    "two marks": r"[.,;?] [.,;?]",
    "no closing mark": r"[^.?]$",
    "a question without its mark": r"^(Will|May [A-Z]|Who|What|Did|Does|Is|Has)\b.*\.$",
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_every_sentence_reads_as_english(fault):
    texts = [" ".join(words) for _, words, _ in sentences()]
    assert [text for text in texts if re.search(UNREADABLE[fault], text)] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("valid", 1), "unknown split 'valid'; allowed: train, dev, test"),
        (("train", 0), "count must be 1 to 20000, not 0"),
    ],
)
def test_what_cannot_be_generated_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        generate_entities(*arguments)

"""The generated topics of hotel reviews: reproducible, unique, readable, and not to be had from the words alone."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from peftbench.data.quickstart.grammar import digest
from peftbench.data.quickstart.splits import LABEL_NOISE, SPLITS
from peftbench.data.quickstart.topic_words import BESIDE_THE_TOPIC, ELSEWHERE, JOINT, NEUTRAL, SLOTS, STATEMENTS
from peftbench.data.quickstart.topics import TOPIC_NAMES, generate_topics
from peftbench.metrics.value import value

SIZE = 1_000
Review = tuple[str, str, tuple[str, ...]]


@cache
def reviews(split: str = "train", count: int = SIZE, noise: float = LABEL_NOISE) -> tuple[Review, ...]:
    return tuple(generate_topics(split, count, label_noise=noise))


def indicator(rows: tuple[Review, ...]) -> np.ndarray:
    return np.array([[topic in topics for topic in TOPIC_NAMES] for *_, topics in rows]).astype(int)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_the_reviews_never_change():
    """Stored runs are compared with new ones: a change must be announced in the changelog as breaking."""
    assert (
        f"{digest(*generate_topics('train', 50)):064x}"
        == "d164935a61243e61be6d344fda2717db3fa07a6dcb55b02a474c5e967ab82b40"
    )


def test_a_smaller_count_is_the_beginning_of_a_larger_one():
    assert tuple(generate_topics("train", 137)) == reviews()[:137]


def test_another_seed_gives_other_reviews():
    own = {text for _, text, _ in reviews()[:200]}
    assert len(own & {text for _, text, _ in generate_topics("train", 200, seed=1)}) < 20


def test_no_review_is_repeated_within_or_between_splits_and_seeds():
    texts = {split: {text for _, text, _ in reviews(split)} for split in SPLITS}
    assert all(len(own) == SIZE for own in texts.values())
    assert all(texts[one].isdisjoint(texts[other]) for one, other in combinations(SPLITS, 2))
    assert texts["train"].isdisjoint(text for _, text, _ in generate_topics("dev", 300, seed=1))


def test_ids_name_task_split_and_position():
    assert reviews("dev")[17][0] == "topics-dev-000017"


def test_topics_are_in_the_order_of_their_names():
    assert all(tuple(sorted(topics, key=TOPIC_NAMES.index)) == topics for *_, topics in reviews())


def test_topics_are_unequally_frequent():
    share = dict(zip(TOPIC_NAMES, indicator(reviews("train", SIZE, 0.0)).mean(axis=0), strict=True))
    assert 0.05 < share["noise"] < share["location"] < 0.15 < share["price"] < share["food"] < share["staff"] < 0.45


def test_a_review_has_up_to_three_topics():
    numbers = Counter(indicator(reviews("train", SIZE, 0.0)).sum(axis=1))
    assert sorted(numbers) == [0, 1, 2, 3]
    assert all(numbers[number] > 0.04 * SIZE for number in numbers)


def test_some_topics_occur_together():
    has = dict(zip(TOPIC_NAMES, indicator(reviews("train", SIZE, 0.0)).T.astype(bool), strict=True))
    assert has["location"][has["noise"]].mean() > 2 * has["location"].mean()
    assert has["staff"][has["noise"]].mean() < has["staff"].mean() / 2


def test_the_declared_share_of_reviews_has_a_topic_toggled():
    clean, noisy = reviews(noise=0.0), reviews()
    assert [text for _, text, _ in clean] == [text for _, text, _ in noisy]
    toggled = np.abs(indicator(clean) - indicator(noisy)).sum(axis=1)
    assert set(toggled) == {0, 1}
    assert abs(toggled.mean() - LABEL_NOISE) < 0.02


def test_more_noise_keeps_what_less_noise_falsified():
    clean, some, more = (reviews("dev", 300, noise) for noise in (0.0, 0.1, 0.3))
    for (*_, original), (*_, once), (*_, twice) in zip(clean, some, more, strict=True):
        assert once in (original, twice)


def test_what_is_said_of_something_else_does_not_count():
    """A review without a topic may make the same statements, on another hotel."""
    statements = [clause for clauses in STATEMENTS.values() for clause in clauses if "{" not in clause]
    untitled = [text for _, text, topics in reviews(noise=0.0) if not topics]
    stating = [text for text in untitled if any(statement in text for statement in statements)]
    elsewhere = re.compile(r"another hotel|hotel where|hostel|guest house|an inn|different town|campsite|resort")
    assert len(stating) > 0.1 * len(untitled)
    assert all(elsewhere.search(text) for text in stating)


def test_a_part_of_the_words_of_dev_is_not_in_train():
    seen = {word for _, text, _ in reviews("train", 400) for word in words(text)}
    dev = reviews("dev", 300)
    assert sum(any(word not in seen for word in words(text)) for _, text, _ in dev) / len(dev) > 0.4


@pytest.mark.slow
def test_the_words_alone_do_not_give_the_topics():
    """Logistic regression on words stays far below the limit that the label noise sets."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    train, dev = reviews("train", 400), reviews("dev", 300)
    vectorizer = TfidfVectorizer()
    given = vectorizer.fit_transform([text for _, text, _ in train])
    model = OneVsRestClassifier(LogisticRegression(C=100.0, max_iter=1_000)).fit(given, indicator(train))
    predicted = model.predict(vectorizer.transform([text for _, text, _ in dev])).astype(int)
    labels = indicator(dev)
    assert 0.45 < value("micro_f1", labels, predicted).value < 0.65
    assert value("micro_f1", labels, np.ones_like(labels)).value < 0.42
    assert value("micro_f1", labels, indicator(reviews("dev", 300, 0.0))).value > 0.96


def test_every_list_has_a_part_for_each_split_and_every_slot_is_known():
    lists = [*STATEMENTS.values(), *JOINT.values(), BESIDE_THE_TOPIC]
    assert all(len(options) % 4 == 0 and len(set(options)) == len(options) for options in lists)
    clauses = " ".join(clause for options in (*lists, NEUTRAL, ELSEWHERE) for clause in options)
    assert set(re.findall(r"{(\w+)}", clauses)) == {*SLOTS, "statement"}


UNREADABLE = {
    "two spaces": r"  ",
    "a space before a mark": r" [.,;?]",
    "an unfilled slot": r"[{}|/_]",
    "a word said twice": r"\b(\w+) \1\b",
    "a before a vowel": r"\b[Aa] [aeiou]",
    "an before a consonant": r"\b[Aa]n [^aeiou]",
    "two marks": r"[.,;?]{2}",
    "a lower-case beginning": r"(^|\. )[^A-Z]",
    "no closing mark": r"[^.]$",
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_every_review_reads_as_english(fault):
    assert [text for _, text, _ in reviews() if re.search(UNREADABLE[fault], text)] == []


def test_reviews_are_short():
    """The workload must train in about a minute on two cores."""
    assert sum(len(text.split()) for _, text, _ in reviews()) / SIZE < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("valid", 1), "unknown split 'valid'; allowed: train, dev, test"),
        (("train", 20_001), "count must be 1 to 20000, not 20001"),
    ],
)
def test_what_cannot_be_generated_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        generate_topics(*arguments)

"""The generated sentences: reproducible, balanced, unique and readable."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import combinations

import pytest

from peftbench.data.examples import Example, fingerprint
from peftbench.data.quickstart import LABEL_NOISE, SEVERAL, SPLITS, generate
from peftbench.data.quickstart import TASKS as ALL_TASKS

TASKS = [task for task in ALL_TASKS if task not in SEVERAL]
PAIR_TASKS = ("paraphrase", "sts")
SIZE = 2_000


@cache
def examples(task: str, split: str = "train", noise: float = LABEL_NOISE) -> tuple[Example, ...]:
    return tuple(generate(task, split, SIZE, label_noise=noise))


def sentences(task: str) -> list[str]:
    return [text for example in examples(task) for text in example.texts]


def overlap(example: Example) -> float:
    """The Jaccard similarity of the words of both texts of a pair."""
    first, second = (set(re.findall(r"[\w']+", text.lower())) for text in example.texts)
    return len(first & second) / len(first | second)


# Stored runs are compared with new ones: a change of these values must be announced in the changelog as breaking.
FINGERPRINTS = {
    "sst": "e65ce057c58e9cab675ca947b918ad100ebfa0a6b0d451b7e81459a8517842ee",
    "paraphrase": "62c61d9a1be4238a7db6f97716f74af1c061a7f34e594e4e76eeaaa6f2e273ba",
    "sts": "8c7680b80e2048f3718ff8181ea6722309e6da801069a256c96e5b721d07b40d",
}


@pytest.mark.parametrize("task", TASKS)
def test_the_sentences_never_change(task):
    assert fingerprint(generate(task, "train", 50)) == FINGERPRINTS[task]


@pytest.mark.parametrize("task", TASKS)
def test_a_smaller_count_is_the_beginning_of_a_larger_one(task):
    assert tuple(generate(task, "train", 137)) == examples(task)[:137]


@pytest.mark.parametrize("task", TASKS)
def test_another_seed_gives_other_sentences(task):
    texts = {example.texts for example in generate(task, "train", 200, seed=1)}
    assert len(texts & {example.texts for example in examples(task)[:200]}) < 20


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_no_text_is_repeated_within_or_between_splits(task):
    keys = {split: {tuple(sorted(example.texts)) for example in examples(task, split)} for split in SPLITS}
    assert all(len(texts) == SIZE for texts in keys.values())
    assert all(keys[one].isdisjoint(keys[other]) for one, other in combinations(SPLITS, 2))


@pytest.mark.parametrize("task", TASKS)
def test_splits_of_different_seeds_share_no_text_either(task):
    dev = {tuple(sorted(example.texts)) for example in generate(task, "dev", 500, seed=1)}
    assert dev.isdisjoint(tuple(sorted(example.texts)) for example in examples(task))


@pytest.mark.parametrize("task", PAIR_TASKS)
def test_a_pair_is_two_different_texts(task):
    assert all(len(set(example.texts)) == 2 for example in examples(task))


def test_ids_name_task_split_and_position():
    assert examples("sst")[17].id == "sst-train-000017"
    assert len({example.id for example in examples("sts", "dev")}) == SIZE


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("task", "classes"), [("sst", 5), ("paraphrase", 2)])
def test_classes_are_balanced(task, classes, split):
    counts = Counter(example.label for example in examples(task, split))
    assert sorted(counts) == list(range(classes))
    assert all(abs(count / SIZE - 1 / classes) < 0.03 for count in counts.values())


def test_similarities_fill_the_scale_in_tenths():
    labels = [example.label for example in examples("sts")]
    assert min(labels) == 0.0
    assert max(labels) == 5.0
    assert all(label == round(label, 1) for label in labels)
    assert min(Counter(round(label) for label in labels).values()) > SIZE / 15


@pytest.mark.parametrize("task", TASKS)
def test_the_declared_share_of_labels_is_falsified(task):
    clean, noisy = examples(task, noise=0.0), examples(task)
    assert [example.texts for example in clean] == [example.texts for example in noisy]
    moved = [abs(one.label - other.label) for one, other in zip(clean, noisy, strict=True)]
    share = sum(step > 0 for step in moved) / SIZE
    assert LABEL_NOISE - 0.02 < share < LABEL_NOISE + 0.02
    assert round(max(moved), 1) <= (2 if task == "sts" else 1)


@pytest.mark.parametrize("task", TASKS)
def test_more_noise_keeps_what_less_noise_falsified(task):
    clean, some, more = (generate(task, "dev", 400, label_noise=noise) for noise in (0.0, 0.1, 0.3))
    for original, once, twice in zip(clean, some, more, strict=True):
        assert once.label in (original.label, twice.label)


def test_overlap_does_not_give_a_paraphrase_away():
    """Hard negatives share many words with their source; a third of the negatives share only the topic."""
    negatives = [overlap(example) for example in examples("paraphrase", noise=0.0) if example.label == 0]
    positives = [overlap(example) for example in examples("paraphrase", noise=0.0) if example.label == 1]
    assert sum(negatives) / len(negatives) > 0.35
    assert sum(negative > 0.7 for negative in negatives) / len(negatives) > 0.05
    assert sum(positive < 0.7 for positive in positives) / len(positives) > 0.4


def test_similarity_falls_with_what_was_changed():
    shared = {level: [] for level in range(6)}
    for example in examples("sts", noise=0.0):
        shared[round(example.label)].append(overlap(example))
    mean = {level: sum(values) / len(values) for level, values in shared.items()}
    assert mean[0] < mean[1] < mean[3] < mean[5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("qqp", "train", 1), "unknown quickstart task 'qqp'; allowed: sst, paraphrase, sts"),
        (("sst", "valid", 1), "unknown split 'valid'; allowed: train, dev, test"),
        (("sst", "train", 0), "count must be 1 to 20000, not 0"),
        (("sst", "train", 20_001), "count must be 1 to 20000, not 20001"),
    ],
)
def test_what_cannot_be_generated_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        generate(*arguments)


def test_noise_beyond_a_share_is_refused():
    with pytest.raises(ValueError, match=r"label_noise must be 0 to 1, not 1\.5"):
        generate("sst", "train", 1, label_noise=1.5)


UNREADABLE = {
    "two spaces": r"  ",
    "a space before a mark": r" [.,;?]",
    "an unfilled slot": r"[{}|/_]",
    "a word said twice": r"\b(\w+) \1\b",
    "a before a vowel": r"\ba [aeiou]",
    "an before a consonant": r"\ban [^aeiou]",
    "two marks": r"[.,;?]{2}",
    "a lower-case beginning": r"^[^A-Z]",
    "no closing mark": r"[^.?]$",
    "a question without its mark": r"^(How|What|Why|Is|Are)\b.*\.$",
}


@pytest.mark.parametrize("fault", UNREADABLE)
@pytest.mark.parametrize("task", TASKS)
def test_every_sentence_reads_as_english(task, fault):
    assert [text for text in sentences(task) if re.search(UNREADABLE[fault], text)] == []


@pytest.mark.parametrize(("task", "most"), [("sst", 13), ("paraphrase", 27), ("sts", 27)])
def test_sentences_are_short(task, most):
    """The workload must train in about a minute on two cores."""
    words = [len(" ".join(example.texts).split()) for example in examples(task)]
    assert sum(words) / len(words) < most


@pytest.mark.parametrize("task", TASKS)
def test_the_grammar_is_varied(task):
    texts = sentences(task)
    assert len({" ".join(text.lower().split()[:3]) for text in texts}) > 200
    assert len({word for text in texts for word in re.findall(r"[a-z']+", text.lower())}) > 250

"""EDA: each operation as in the paper; both styles; reproducible draws."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from peftbench.data.augment.eda import OPERATIONS, Thesaurus, delete, insert, replace, swap, variants
from peftbench.data.augment.words import is_stop_word, only_letters, plain, take_apart
from peftbench.spec.augment import EdaSpec, advice

KNOWN = {"great": ("grand", "big-time"), "film": ("movie", "motion picture"), "slow": ("sluggish",)}
TEXT = "It was a Great film, wasn't it? (Slow, but the film's plot isn't.)"
TWENTY = " ".join(f"film{n}" for n in range(20))


def synonyms(word: str) -> tuple[str, ...]:
    return ("x y",) if word.startswith("film") and word != "film" else KNOWN.get(word.lower(), ())


def thesaurus(spec: EdaSpec) -> Thesaurus:
    return Thesaurus(synonyms, spec)


texts = st.text(st.sampled_from("ab Z.,'()-1é\t"), max_size=40)


class TestWords:
    @given(texts)
    def test_a_text_taken_apart_goes_together_again(self, text: str) -> None:
        assert take_apart(text, "keep").text == text.strip()
        assert take_apart(text, "letters").text == only_letters(text)

    def test_words_are_what_stands_between_punctuation(self) -> None:
        assert take_apart("It does n't -- ever -- cost $ 1,000.50, `` co-writer '' isn't film 's.", "keep").words == (
            *("It", "does", "n't", "ever", "cost", "1,000.50", "co-writer", "isn't", "film", "'s"),
        )

    def test_letters_are_as_in_the_authors_program(self) -> None:
        assert only_letters("It's a well-made\tfilm, No. 7!") == "its a well made film no"

    def test_case_follows_the_word_that_was_there(self) -> None:
        words = take_apart("Great GREAT great", "keep")
        assert words.replaced(0, "grand").replaced(1, "grand").replaced(2, "grand").text == "Grand GRAND grand"

    def test_a_word_that_goes_leaves_its_punctuation(self) -> None:
        words = take_apart("(Great film, slow.)", "keep")
        assert words.without([0]).text == "(film, slow.)"
        assert words.without([1]).text == "(Great, slow.)"
        assert words.without([2]).text == "(Great film, .)"
        assert take_apart("a great film .", "keep").without([2]).text == "a great ."

    @given(texts, st.integers(0, 50), st.sampled_from(["keep", "letters"]))
    def test_an_inserted_word_is_one_more_word(self, text: str, place: int, style: str) -> None:
        words = take_apart(text, style)
        place = min(place, len(words.words))
        more = words.inserted(place, "word")
        assert more.words == (*words.words[:place], "word", *words.words[place:])
        assert "word" in more.text.split() or any("word" in part for part in more.text.split())
        assert plain(more.text.replace("word", " ")) == plain(words.text)

    def test_stop_words(self) -> None:
        assert all(map(is_stop_word, ("The", "NOT", "n't", "'s", "i")))
        assert not any(map(is_stop_word, ("film", "isnt", "great")))

    def test_two_texts_are_equal_by_their_words(self) -> None:
        assert plain("A  great film .") == plain("a great film") != plain("a great movie")


class TestOperations:
    @pytest.mark.parametrize("alpha", [0.1, 0.25, 0.5])
    def test_replace_changes_n_words_by_synonyms_of_theirs(self, alpha: float) -> None:
        spec = EdaSpec(alpha_replace=alpha)
        words = take_apart(TWENTY, "keep")
        new = replace(words, spec, thesaurus(spec), Random(1))
        changed = [(old, now) for old, now in zip(words.words, new.words, strict=True) if old != now]
        assert len(changed) == int(alpha * 20)
        assert {now for _, now in changed} == {"x y"}

    def test_at_least_one_word_is_changed_and_stop_words_never(self) -> None:
        spec = EdaSpec()
        seen = Counter()
        for seed in range(200):
            words = take_apart("The great slow one", "keep")
            new = replace(words, spec, thesaurus(spec), Random(seed))
            (place,) = (i for i, (a, b) in enumerate(zip(words.words, new.words, strict=True)) if a != b)
            seen[new.words[place]] += 1
        assert set(seen) == {"grand", "big-time", "sluggish"}
        assert 60 < seen["sluggish"] < 140  # first a word is drawn, then one of its synonyms

    def test_insert_adds_n_synonyms_anywhere_even_at_the_ends(self) -> None:
        spec = EdaSpec(alpha_insert=0.5)
        places = Counter()
        for seed in range(300):
            new = insert(take_apart("a great film it", "keep"), spec, thesaurus(spec), Random(seed))
            added = Counter(new.words) - Counter(["a", "great", "film", "it"])
            assert added.total() == 2 and set(added) <= {"grand", "big-time", "movie", "motion picture"}
            places[new.words[0] not in ("a",)] += 1
            places["end"] += new.words[-1] != "it"
        assert places[True] > 50 and places["end"] > 50

    def test_swap_moves_words_and_loses_none(self) -> None:
        spec = EdaSpec()
        for seed in range(50):
            words = take_apart(TEXT, "keep")
            new = swap(words, spec, thesaurus(spec), Random(seed))
            assert Counter(new.words) == Counter(words.words)
            assert new.gaps == words.gaps
            assert sum(a != b for a, b in zip(new.words, words.words, strict=True)) == 2 or new.words == words.words

    def test_delete_takes_each_word_with_probability_alpha_and_never_all(self) -> None:
        spec = EdaSpec(alpha_delete=0.3)
        words = take_apart(TWENTY, "keep")
        left = [len(delete(words, spec, thesaurus(spec), Random(seed)).words) for seed in range(400)]
        assert sum(left) / len(left) == pytest.approx(14, abs=0.5)
        always = EdaSpec(alpha_delete=0.99)
        short = take_apart("great film", "keep")
        assert {len(delete(short, always, thesaurus(always), Random(seed)).words) for seed in range(50)} == {1}

    @given(texts.filter(lambda text: text.strip()), st.integers(0, 9), st.sampled_from(["keep", "letters"]))
    @settings(max_examples=60)
    def test_no_operation_invents_a_word(self, text: str, seed: int, style: str) -> None:
        spec = EdaSpec(style=style)
        words = take_apart(text, style)
        for operation in (swap, delete):
            new = operation(words, spec, thesaurus(spec), Random(seed))
            assert not Counter(new.words) - Counter(words.words)
        for operation in (replace, insert):
            assert operation(words, spec, thesaurus(spec), Random(seed)) == words  # none of them has a synonym


class TestVariants:
    def made(self, text: str = TEXT, seed: int = 0, **changed: object) -> list:
        return list(variants((text,), EdaSpec(**changed), synonyms, seed, "sst", "id1"))

    def test_the_operations_share_the_new_rows(self) -> None:
        assert Counter(operation for operation, _ in self.made(n_aug=8)) == dict.fromkeys(OPERATIONS, 2)
        nine = Counter(operation for operation, _ in self.made(n_aug=9))
        assert sorted(nine.values()) == [2, 2, 2, 3]
        extra = {
            max(found, key=found.get)
            for seed in range(40)
            for found in [Counter(operation for operation, _ in self.made(n_aug=9, seed=seed))]
        }
        assert extra == set(OPERATIONS)

    def test_an_alpha_of_0_leaves_an_operation_out(self) -> None:
        found = Counter(operation for operation, _ in self.made(n_aug=4, alpha_replace=0, alpha_insert=0))
        assert found == {"swap": 2, "delete": 2}

    def test_the_seed_and_the_row_determine_all_of_it(self) -> None:
        assert self.made() == self.made() != self.made(seed=1)
        assert list(variants((TEXT,), EdaSpec(), synonyms, 0, "sst", "id2")) != self.made()

    def test_every_new_text_is_new(self) -> None:
        new = [texts for operation, texts in self.made(n_aug=12) if texts is not None and operation != "delete"]
        assert len(set(new)) == len(new)
        assert (TEXT,) not in new

    @pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
    @pytest.mark.parametrize("words", [3, 8, 19])
    def test_a_word_goes_with_probability_alpha_over_all_rows(self, alpha: float, words: int) -> None:
        """Wei and Zou's code draws once: at 0.1, half of the rows of eight words lose none."""
        text = " ".join(f"w{n}" for n in range(words))
        spec = EdaSpec(n_aug=6, alpha_replace=0, alpha_insert=0, alpha_swap=0, alpha_delete=alpha)
        rows = [made for row in range(800) for _, (made,) in variants((text,), spec, synonyms, 0, "sst", str(row))]
        assert len(rows) == 4800
        gone = 1 - sum(len(row.split()) for row in rows) / (words * len(rows))
        kept = alpha**words / words  # if all would be deleted, one is kept
        assert gone == pytest.approx(alpha - kept, abs=5 * (alpha / (words * len(rows))) ** 0.5)
        assert rows.count(text) / len(rows) == pytest.approx((1 - alpha) ** words, abs=0.04)

    def test_other_operations_draw_as_before(self) -> None:
        """Deletions come last, so that their draws do not affect other rows."""
        few, many = (self.made(n_aug=8, alpha_delete=alpha) for alpha in (0.1, 0.9))
        assert few[:6] == many[:6]

    def test_what_cannot_be_changed_is_said_and_not_repeated(self) -> None:
        assert [texts for _, texts in self.made("So?", n_aug=4)] == [None] * 3 + [("So?",)]
        assert [texts for _, texts in self.made("?!", n_aug=4)] == [None] * 4
        assert [operation for operation, texts in self.made("film", n_aug=4) if texts] == [
            *("replace", "insert", "delete"),
        ]

    def test_both_texts_of_a_pair_are_changed_by_the_same_operation(self) -> None:
        for operation, new in variants((TWENTY, TWENTY), EdaSpec(n_aug=8), synonyms, 0, "sts", "x"):
            lengths = [len(text.split()) for text in new]
            if operation == "replace":
                assert all("x y" in text for text in new)
            elif operation == "insert":
                assert lengths == [24, 24]  # two synonyms of two words each
            elif operation == "swap":
                assert lengths == [20, 20] and TWENTY not in new
            assert new[0] != new[1]  # independent draws

    def test_the_style_is_that_of_the_new_rows(self) -> None:
        for _, (text,) in self.made(style="letters"):
            assert only_letters(text) == text
        kept = " ".join(text for _, (text,) in self.made())
        assert "(" in kept and "Great" in kept and "wasn't" in kept

    @pytest.mark.parametrize("style", ["keep", "letters"])
    def test_no_text_has_two_blanks_or_ends_in_one(self, style: str) -> None:
        for seed in range(30):
            for _, (text,) in self.made(seed=seed, style=style, alpha_delete=0.4):
                assert text == text.strip()
                assert not any(a == b == " " for a, b in pairwise(text))


class TestSettings:
    def test_the_studys_are_the_defaults(self) -> None:
        spec = EdaSpec()
        assert (spec.n_aug, spec.alpha_replace, spec.alpha_delete, spec.style) == (9, 0.1, 0.1, "keep")

    def test_one_operation_must_be_left(self) -> None:
        with pytest.raises(ValidationError, match="no operation is enabled"):
            EdaSpec(alpha_replace=0, alpha_insert=0, alpha_swap=0, alpha_delete=0)

    def test_the_papers_advice_for_large_sets(self) -> None:
        assert "advise 4" in advice(9, 8544, "sst")
        assert advice(4, 8544, "sst") is None and advice(9, 4999, "sst") is None

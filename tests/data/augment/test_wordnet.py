"""WordNet files, with a small test dictionary."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from peftbench.data.augment import wordnet
from peftbench.data.augment.wordnet import WordNet, find_wordnet
from peftbench.errors import DataError, MissingError
from tests.data.augment.dictionary import write_dictionary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dictionary(tmp_path_factory.mktemp("wordnet"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a dictionary; returns the user's home."""
    for name in (wordnet.ENVIRONMENT, "NLTK_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(wordnet, "_DEBIAN", str(tmp_path / "debian"))
    monkeypatch.setattr(wordnet.sys, "prefix", str(tmp_path / "prefix"))
    return tmp_path


@pytest.mark.parametrize(
    ("word", "synonyms"),
    [
        ("film", ("motion picture", "movie", "thin layer")),
        ("FILM", ("motion picture", "movie", "thin layer")),
        ("films", ("motion picture", "movie", "thin layer")),  # the base form itself is not a synonym
        ("plots", ("story",)),
        ("stories", ("plot",)),
        ("ran", ("go",)),
        ("watching", ("see",)),
        ("better", ("fine", "first-class")),
        ("boring", ("dull",)),
        ("dull", ("boring",)),  # without the syntactic marker
        ("paris", ("City of Light",)),
        ("motion picture", ("film", "movie")),
        ("nothing", ()),
        ("", ()),
    ],
)
def test_synonyms_are_the_other_words_of_the_synsets_of_a_word_and_its_base_forms(
    folder: Path, word: str, synonyms: tuple[str, ...]
) -> None:
    assert WordNet(folder).synonyms(word) == synonyms


def test_the_dictionary_is_known_by_its_content(folder: Path, tmp_path: Path) -> None:
    other = write_dictionary(tmp_path / "other")
    assert WordNet(other).sha256 == WordNet(folder).sha256
    (other / "noun.exc").write_text("oxen ox\nmice mouse\n")
    assert WordNet(other).sha256 != WordNet(folder).sha256


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data.noun", "  1 licence\n", "data.noun: no synset at byte"),
        ("index.verb", "run v many 0\n", "index.verb, line 1: 'run v many 0' is not an index line"),
        ("adv.exc", None, "adv.exc cannot be read"),
    ],
)
def test_a_damaged_dictionary_is_named(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    write_dictionary(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        WordNet(tmp_path).synonyms("film")
    assert said in caught.value.message
    assert "reinstall it" in caught.value.hint


class TestFinding:
    def test_where_there_is_none_it_is_said_how_to_get_one(self, nowhere: Path) -> None:
        if any((Path(folder) / "nltk_data").exists() for folder in ("/usr/share", "/usr/lib", "/usr/local/share")):
            pytest.skip("NLTK's data are installed for all users")
        with pytest.raises(MissingError) as caught:
            find_wordnet()
        assert "no WordNet dictionary was found" in caught.value.message
        assert "apt install wordnet-base" in caught.value.hint and "nltk.downloader wordnet" in caught.value.hint

    def test_debian_then_a_folder_of_nltk_then_nltk_data(self, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        given = write_dictionary(nowhere / "given" / "corpora" / "wordnet")
        monkeypatch.setenv("NLTK_DATA", f"{nowhere / 'none'}{os.pathsep}{nowhere / 'given'}")
        assert find_wordnet().where == str(given)
        home = write_dictionary(nowhere / "nltk_data" / "corpora" / "wordnet")
        assert find_wordnet().where == str(home)
        debian = write_dictionary(nowhere / "debian")
        assert find_wordnet().where == str(debian)
        own = write_dictionary(nowhere / "own")
        monkeypatch.setenv(wordnet.ENVIRONMENT, str(own))
        assert find_wordnet().where == str(own)

    def test_what_nltk_has_downloaded_need_not_be_unpacked(self, nowhere: Path) -> None:
        folder = write_dictionary(nowhere / "plain")
        (nowhere / "nltk_data" / "corpora").mkdir(parents=True)
        with zipfile.ZipFile(nowhere / "nltk_data" / "corpora" / "wordnet.zip", "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"wordnet/{file.name}")
        found = find_wordnet()
        assert "wordnet.zip" in found.where
        assert found.synonyms("films") == WordNet(folder).synonyms("films")

    def test_a_folder_that_was_named_and_holds_none_is_not_passed_over(
        self, nowhere: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_dictionary(nowhere / "debian")
        monkeypatch.setenv(wordnet.ENVIRONMENT, str(nowhere / "typo"))
        with pytest.raises(MissingError, match=r"PEFTBENCH_WORDNET=.*typo: no folder with WordNet's files"):
            find_wordnet()

"""WordNet's synonyms, read from its dictionary files: no program of WordNet's or NLTK's is needed.

The files are `index.*` (words and where their synsets are), `data.*` (the synsets) and `*.exc` (irregular forms), in
the form of the manual page wndb(5). A word is looked up as it is and in its base forms, by the rules of morphy(7), as
NLTK's `wordnet.synsets` does.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from peftbench.errors import DataError, MissingError
from peftbench.text import clean

Place = Path | zipfile.Path

ENVIRONMENT = "PEFTBENCH_WORDNET"
_DEBIAN = "/usr/share/wordnet"
_PARTS = ("noun", "verb", "adj", "adv")
_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "noun": (
        *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
        *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
    ),
    "verb": (
        *(("s", ""), ("ies", "y"), ("es", "e"), ("es", "")),
        *(("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}


class WordNet:
    """A dictionary in memory.

    Args:
        place: the folder that holds its files, or that folder within a zip file.

    Raises:
        DataError: a file is missing or is no WordNet file.
    """

    def __init__(self, place: Place) -> None:
        self.where = str(place)
        digest = hashlib.sha256()
        self._data: dict[str, bytes] = {}
        self._synsets: dict[str, dict[str, list[int]]] = {}
        self._irregular: dict[str, dict[str, list[str]]] = {}
        for part in _PARTS:
            contents = {name: self._read(place / name) for name in (f"data.{part}", f"index.{part}", f"{part}.exc")}
            for content in contents.values():
                digest.update(hashlib.sha256(content).digest())
            data, index, exceptions = contents.values()
            self._data[part] = data
            self._synsets[part] = dict(self._index(part, index))
            self._irregular[part] = {word: bases for word, *bases in map(str.split, exceptions.decode().splitlines())}
        self.sha256 = digest.hexdigest()
        self._known: dict[str, tuple[str, ...]] = {}

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Return the other words of every synset that the word is in, sorted; blanks for WordNet's underscores.

        The word itself and its base forms are left out, whatever their case.
        """
        word = word.lower().replace(" ", "_")
        if word not in self._known:
            found, own = set(), {word}
            for part in _PARTS:
                for base in self._bases(word, part):
                    own.add(base)
                    found |= {other for offset in self._synsets[part][base] for other in self._words(part, offset)}
            self._known[word] = tuple(sorted(one.replace("_", " ") for one in found if one.lower() not in own))
        return self._known[word]

    def _bases(self, word: str, part: str) -> list[str]:
        irregular = self._irregular[part].get(word)
        regular = [word[: -len(old)] + new for old, new in _ENDINGS[part] if word.endswith(old)]
        forms = [word, *(regular if irregular is None else irregular)]
        return [form for form in dict.fromkeys(forms) if form in self._synsets[part]]

    def _words(self, part: str, offset: int) -> list[str]:
        """Return the words of one synset: `offset file type count(hex) word id word id ...`."""
        data = self._data[part]
        fields = data[offset : data.find(b"\n", offset)].decode("utf-8", "replace").split()
        try:
            if int(fields[0]) != offset:
                raise ValueError
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        except (ValueError, IndexError) as error:
            raise DataError(f"{self.where}/data.{part}: no synset at byte {offset}", _DAMAGED) from error
        return [word.partition("(")[0] for word in words]  # an adjective may say where it stands: "galore(ip)"

    def _index(self, part: str, content: bytes) -> Iterator[tuple[str, list[int]]]:
        """Yield each word and its synsets' offsets: `word pos count pointers pointer... senses tagged offset...`."""
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if line.startswith(" "):  # the licence
                continue
            fields = line.split()
            try:
                yield fields[0], [int(field) for field in fields[-int(fields[2]) :]]
            except (ValueError, IndexError) as error:
                raise DataError(
                    f"{self.where}/index.{part}, line {number}: '{clean(line, 40)}' is no line of an index", _DAMAGED
                ) from error

    def _read(self, file: Place) -> bytes:
        try:
            return file.read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.where}: {file.name} cannot be read: {clean(error)}", _DAMAGED) from error


_DAMAGED = "the dictionary is damaged or not whole: install it again"


def find_wordnet() -> WordNet:
    """Find a dictionary and read it, which takes about a second.

    The first of these that holds one: the folder that `PEFTBENCH_WORDNET` names, Debian's package wordnet-base, the
    folders in which NLTK looks for its data, those of `NLTK_DATA`.

    Raises:
        MissingError: there is none, or none where `PEFTBENCH_WORDNET` points.
        DataError: it is damaged.
    """
    asked = os.environ.get(ENVIRONMENT)
    if asked:
        place = Path(asked).expanduser()
        if not _is_dictionary(place):
            raise MissingError(f"{ENVIRONMENT}={clean(asked)}: no folder with WordNet's files (data.noun, ...)")
        return WordNet(place)
    for candidate in _places():
        if _is_dictionary(candidate):
            return WordNet(candidate)
    raise MissingError(
        "EDA takes synonyms from WordNet, and there is no WordNet dictionary here",
        "Debian, Ubuntu: apt install wordnet-base; elsewhere: pip install nltk, python -m nltk.downloader wordnet; "
        f"or {ENVIRONMENT}=DIR, a folder that holds data.noun and its companions",
    )


def _places() -> Iterator[Place]:
    yield Path(_DEBIAN)
    homes = [Path.home() / "nltk_data"]
    homes += [Path(sys.prefix) / below / "nltk_data" for below in ("", "share", "lib")]
    homes += [Path("/usr") / below / "nltk_data" for below in ("share", "local/share", "lib", "local/lib")]
    homes += [Path(one).expanduser() for one in os.environ.get("NLTK_DATA", "").split(os.pathsep) if one]
    for home in homes:
        yield home / "corpora" / "wordnet"
        archive = home / "corpora" / "wordnet.zip"  # as NLTK's downloader leaves it
        if archive.is_file() and zipfile.is_zipfile(archive):
            yield zipfile.Path(archive, "wordnet/")


def _is_dictionary(place: Place) -> bool:
    return (place / "data.noun").is_file() and (place / "index.noun").is_file()

"""Read WordNet synonyms from its dictionary files, without the WordNet programs or NLTK.

The files are `index.*` (words and their synset offsets), `data.*` (the synsets) and `*.exc` (irregular forms), in
the format of wndb(5). A word is looked up as written and in its base forms, by the rules of morphy(7), as in NLTK's
`wordnet.synsets`.
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

Folder = Path | zipfile.Path

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
        folder: the folder with its files, or that folder within a zip file.

    Raises:
        DataError: a file is missing or not in WordNet's format.
    """

    def __init__(self, folder: Folder) -> None:
        self.where = str(folder)
        digest = hashlib.sha256()
        self._data: dict[str, bytes] = {}
        self._synsets: dict[str, dict[str, list[int]]] = {}
        self._irregular: dict[str, dict[str, list[str]]] = {}
        for part in _PARTS:
            contents = {name: self._read(folder / name) for name in (f"data.{part}", f"index.{part}", f"{part}.exc")}
            for content in contents.values():
                digest.update(hashlib.sha256(content).digest())
            data, index, exceptions = contents.values()
            self._data[part] = data
            self._synsets[part] = dict(self._index(part, index))
            self._irregular[part] = {word: bases for word, *bases in map(str.split, exceptions.decode().splitlines())}
        self.sha256 = digest.hexdigest()
        self._known: dict[str, tuple[str, ...]] = {}

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Return the other words of all synsets of a word, sorted, with spaces for WordNet's underscores.

        The word itself and its base forms are excluded, ignoring case.
        """
        word = word.lower().replace(" ", "_")
        if word not in self._known:
            candidates, own = set(), {word}
            for part in _PARTS:
                for base in self._base_forms(word, part):
                    own.add(base)
                    candidates |= {other for offset in self._synsets[part][base] for other in self._words(part, offset)}
            self._known[word] = tuple(
                sorted(synonym.replace("_", " ") for synonym in candidates if synonym.lower() not in own)
            )
        return self._known[word]

    def _base_forms(self, word: str, part: str) -> list[str]:
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
        return [word.partition("(")[0] for word in words]  # adjectives may have a syntactic marker: "galore(ip)"

    def _index(self, part: str, content: bytes) -> Iterator[tuple[str, list[int]]]:
        """Yield each word and its synset offsets: `word pos count pointers pointer... senses tagged offset...`."""
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if line.startswith(" "):  # the licence
                continue
            fields = line.split()
            try:
                yield fields[0], [int(field) for field in fields[-int(fields[2]) :]]
            except (ValueError, IndexError) as error:
                raise DataError(
                    f"{self.where}/index.{part}, line {number}: '{clean(line, 40)}' is not an index line", _DAMAGED
                ) from error

    def _read(self, file: Folder) -> bytes:
        try:
            return file.read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.where}: {file.name} cannot be read: {clean(error)}", _DAMAGED) from error


_DAMAGED = "the dictionary is damaged or incomplete: reinstall it"


def find_wordnet() -> WordNet:
    """Find a dictionary and read it, which takes about a second.

    Searched in this order: the folder in `PEFTBENCH_WORDNET`, Debian's package wordnet-base, NLTK's data folders,
    those in `NLTK_DATA`.

    Raises:
        MissingError: none was found, or none in the folder of `PEFTBENCH_WORDNET`.
        DataError: the dictionary is damaged.
    """
    configured = os.environ.get(ENVIRONMENT)
    if configured:
        folder = Path(configured).expanduser()
        if not _is_dictionary(folder):
            raise MissingError(f"{ENVIRONMENT}={clean(configured)}: no folder with WordNet's files (data.noun, ...)")
        return WordNet(folder)
    for candidate in _folders():
        if _is_dictionary(candidate):
            return WordNet(candidate)
    raise MissingError(
        "EDA needs WordNet for synonyms, and no WordNet dictionary was found",
        "Debian, Ubuntu: apt install wordnet-base; elsewhere: pip install nltk, python -m nltk.downloader wordnet; "
        f"or {ENVIRONMENT}=DIR, a folder with data.noun and the other files",
    )


def _folders() -> Iterator[Folder]:
    yield Path(_DEBIAN)
    homes = [Path.home() / "nltk_data"]
    homes += [Path(sys.prefix) / below / "nltk_data" for below in ("", "share", "lib")]
    homes += [Path("/usr") / below / "nltk_data" for below in ("share", "local/share", "lib", "local/lib")]
    homes += [Path(folder).expanduser() for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    for home in homes:
        yield home / "corpora" / "wordnet"
        archive = home / "corpora" / "wordnet.zip"  # as NLTK's downloader leaves it
        if archive.is_file() and zipfile.is_zipfile(archive):
            yield zipfile.Path(archive, "wordnet/")


def _is_dictionary(folder: Folder) -> bool:
    return (folder / "data.noun").is_file() and (folder / "index.noun").is_file()

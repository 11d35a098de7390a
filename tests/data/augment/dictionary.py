"""A tiny dictionary in WordNet's file format: a dozen synsets with computed offsets, and a licence header."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

SYNSETS = {
    "noun": (
        ("film", "movie", "motion_picture"),
        ("plot", "story"),
        ("film", "thin_layer"),
        ("Paris", "City_of_Light"),
    ),
    "verb": (("run", "go"), ("watch", "see")),
    "adj": (("good", "fine", "first-class"), ("dull", "boring(p)"), ("great", "grand")),
    "adv": (("truly", "really"),),
}
IRREGULAR = {"noun": "oxen ox", "verb": "ran run\nwent go", "adj": "better good well", "adv": "best well"}
LICENCE = "  1 These few words were written for a test.  \n  2 Do with them what you like.  \n"
POS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


def write_dictionary(folder: Path) -> Path:
    """Write the files of the dictionary and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, synsets in SYNSETS.items():
        data, places = LICENCE, defaultdict(list)
        for words in synsets:
            offset = len(data.encode())
            listed = " ".join(f"{word} 0" for word in words)
            data += f'{offset:08d} 00 {POS[part]} {len(words):02x} {listed} 000 | a gloss; "and an example"  \n'
            for word in words:
                places[word.partition("(")[0].lower()].append(offset)
        index = LICENCE
        for word, offsets in sorted(places.items()):
            listed = " ".join(f"{offset:08d}" for offset in offsets)
            index += f"{word} {POS[part]} {len(offsets)} 2 @ ~ {len(offsets)} 1 {listed}  \n"
        (folder / f"data.{part}").write_text(data)
        (folder / f"index.{part}").write_text(index)
        (folder / f"{part}.exc").write_text(IRREGULAR[part] + "\n")
    return folder

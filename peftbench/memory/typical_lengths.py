"""Token lengths of the study's texts, used in predictions if no data is available. Numbers only.

Counted over the course's published files (CS224N default project, 2023) as runs read them: SST's 8,544 and STS's 6,040
training examples; for paraphrases the 20,212 labelled pairs of the dev file, since the training file of 141,498 was not
available: its longest pair is unknown. The tokeniser is BERT-base-uncased's WordPiece (the embedded encoder's, which
has the same vocabulary); special tokens are counted. A pair is counted as a whole, `[CLS] a [SEP] b [SEP]`, and each
of its texts separately.
"""

from __future__ import annotations

from collections.abc import Mapping

Lengths = tuple[int, ...]


def _counts(shortest: int, counts: str) -> Lengths:
    """Return each length repeated by its count; the n-th count is that of length `shortest + n`."""
    return tuple(length for length, count in enumerate(map(int, counts.split()), start=shortest) for _ in range(count))


_SST = _counts(
    4,
    "24 62 86 98 145 159 178 215 217 254 236 245 262 260 297 281 309 258 291 295 274 265 285 239 279 255 237 "
    "208 193 206 197 171 179 154 133 104 109 108 88 91 99 58 61 59 50 37 25 30 31 30 21 20 21 10 9 9 6 6 1 7 "
    "1 1 1 0 0 1 0 1 0 0 0 0 0 0 1 0 1",
)
_PARAPHRASE = _counts(
    11,
    "7 33 74 147 225 309 453 572 789 811 1034 967 1045 940 1044 941 926 833 757 645 663 557 514 441 463 428 "
    "378 325 332 277 216 224 203 180 206 156 182 164 143 139 115 117 110 92 89 79 75 72 62 57 52 34 44 44 37 "
    "26 42 18 23 16 23 17 26 12 16 11 8 7 13 8 7 10 10 12 4 7 7 4 5 1 6 4 3 4 3 2 2 4 3 1 3 0 3 2 3 3 0 0 1 1 "
    "1 2 1 0 0 0 1 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1",
)
_PARAPHRASE_TEXTS = _counts(
    3,
    "3 1 2 131 583 1375 2319 3314 3956 3949 3788 3235 2640 2159 1770 1574 1371 1156 931 744 671 598 509 420 "
    "381 318 299 280 231 240 222 185 172 130 90 82 81 64 62 46 42 32 27 32 24 20 14 14 6 8 9 8 9 4 9 5 3 8 3 "
    "6 1 7 6 6 4 2 9 2 5 2 3 0 0 1 3 1 0 0 1 0 0 1 2 1 0 0 0 0 1 0 0 0 1",
)
_STS = _counts(
    9,
    "1 1 10 13 73 83 188 286 436 356 397 365 335 311 285 238 239 169 143 135 101 117 92 86 92 86 66 54 57 54 "
    "49 56 51 60 51 48 48 47 44 43 46 26 26 38 33 28 38 26 21 30 46 32 25 24 17 22 26 13 17 10 14 20 15 16 12 "
    "11 4 6 3 4 3 4 3 3 2 1 0 2 2 1 0 0 0 1 0 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1",
)
_STS_TEXTS = _counts(
    5,
    "7 50 414 849 1513 1392 1168 1068 828 645 490 411 320 300 234 219 221 207 164 176 149 148 139 98 107 101 "
    "91 87 83 74 64 77 42 39 23 16 15 12 12 7 6 3 2 1 1 0 1 1 1 0 1 1 0 0 1 0 0 0 0 0 0 0 0 0 0 1",
)

WHOLE: Mapping[str, Lengths] = {"sst": _SST, "paraphrase": _PARAPHRASE, "sts": _STS}
"""Tokens per example of a task, ascending."""

TEXTS: Mapping[str, Lengths] = {"paraphrase": _PARAPHRASE_TEXTS, "sts": _STS_TEXTS}
"""Tokens per text of a pair task, first and second texts together, ascending."""

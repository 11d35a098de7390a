"""A cache as `datasets` leaves it after a download, with rows of our own: the hub's data sets without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets.arrow_writer import ArrowWriter

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Rows = Sequence[Mapping[str, Any]]


def fill(
    cache: Path,
    path: str,
    config: str,
    splits: Mapping[str, Rows],
    features: datasets.Features,
    commit: str = COMMIT,
) -> None:
    """Write the splits of a data set's configuration into a cache, as read from a commit."""
    namespace, _, name = path.partition("/")
    folder = cache / f"{namespace}___{name}" / config / "0.0.0" / commit
    folder.mkdir(parents=True)
    infos = datasets.SplitDict(dataset_name=name)
    for split, rows in splits.items():
        with ArrowWriter(path=str(folder / f"{name}-{split}.arrow"), features=features) as writer:
            for row in rows:
                writer.write(dict(row))
            count, size = writer.finalize()
        infos.add(datasets.SplitInfo(split, num_bytes=size, num_examples=count))
    info = datasets.DatasetInfo(features=features, splits=infos, dataset_name=name, config_name=config, version="0.0.0")
    info.builder_name = "parquet"
    info.write_to_directory(str(folder))


# The columns of a data set are those that its card states; the rows are not from it.

_TEXT, _ID = datasets.Value("string"), datasets.Value("int32")


def _classes(*names: str) -> datasets.ClassLabel:
    return datasets.ClassLabel(names=list(names))


GLUE: dict[str, tuple[tuple[str, ...], Any]] = {
    "cola": (("sentence",), _classes("unacceptable", "acceptable")),
    "sst2": (("sentence",), _classes("negative", "positive")),
    "mrpc": (("sentence1", "sentence2"), _classes("not_equivalent", "equivalent")),
    "stsb": (("sentence1", "sentence2"), datasets.Value("float32")),
    "qqp": (("question1", "question2"), _classes("not_duplicate", "duplicate")),
    "mnli": (("premise", "hypothesis"), _classes("entailment", "neutral", "contradiction")),
    "qnli": (("question", "sentence"), _classes("entailment", "not_entailment")),
    "rte": (("sentence1", "sentence2"), _classes("entailment", "not_entailment")),
    "wnli": (("sentence1", "sentence2"), _classes("not_entailment", "entailment")),
}
GLUE_PATH, BANKING_PATH = "nyu-mll/glue", "legacy-datasets/banking77"
CONLL_PATH, EMOTIONS_PATH = "lhoestq/conll2003", "google-research-datasets/go_emotions"
CONLL_TAGS = ("O", *(f"{begin}-{kind}" for kind in ("PER", "ORG", "LOC", "MISC") for begin in "BI"))


def fill_glue(cache: Path, commit: str = COMMIT, each: int = 6, tasks: Sequence[str] = tuple(GLUE)) -> None:
    """Write tasks of GLUE: `each` rows of every label in train and dev, and a test split without labels."""
    for task in tasks:
        texts, label = GLUE[task]
        labels: list[Any] = list(range(label.num_classes)) if hasattr(label, "names") else [0.0, 2.5, 5.0]
        features = datasets.Features({**dict.fromkeys(texts, _TEXT), "label": label, "idx": _ID})
        matched = ["_matched", "_mismatched"] if task == "mnli" else [""]
        splits = {
            "train": _rows(texts, labels * each, "train", idx=True),
            **{f"validation{kind}": _rows(texts, labels * each, f"dev{kind}", idx=True) for kind in matched},
            **{f"test{kind}": _rows(texts, [type(labels[0])(-1)] * 4, "test", idx=True) for kind in matched},
        }
        fill(cache, GLUE_PATH, task, splits, features, commit)


def fill_banking(cache: Path, names: Sequence[str], train: int = 2, test: int = 4) -> None:
    """Write Banking77: so many rows of each intent, sorted by intent as the published files are."""
    features = datasets.Features({"text": _TEXT, "label": _classes(*names)})
    splits = {
        split: _rows(("text",), [label for label in range(len(names)) for _ in range(each)], split)
        for split, each in (("train", train), ("test", test))
    }
    fill(cache, BANKING_PATH, "default", splits, features)


def fill_conll(cache: Path, rows: Mapping[str, Rows], named: bool = True) -> None:
    """Write CoNLL-2003: splits of rows with `tokens` and numbers in `ner_tags`, which have names or are bare.

    Its other two columns of classes have some of their names.
    """
    classes = {"pos_tags": _classes("NN", "NNP", "VBD"), "chunk_tags": _classes("O", "B-NP", "I-NP")}
    tags = _classes(*CONLL_TAGS) if named else datasets.Value("int64")
    columns = {"id": _TEXT, "tokens": datasets.List(_TEXT)}
    features = datasets.Features(
        {**columns, **{name: datasets.List(each) for name, each in (*classes.items(), ("ner_tags", tags))}}
    )
    splits = {
        split: [
            {"id": str(number), **dict.fromkeys(classes, [0] * len(row["tokens"])), **row}
            for number, row in enumerate(own)
        ]
        for split, own in rows.items()
    }
    fill(cache, CONLL_PATH, "default", splits, features)


def fill_emotions(cache: Path, names: Sequence[str], labels: Mapping[str, Sequence[Sequence[int]]]) -> None:
    """Write GoEmotions, simplified: splits of comments with these lists of emotions."""
    features = datasets.Features({"text": _TEXT, "labels": datasets.List(_classes(*names)), "id": _TEXT})
    splits = {
        split: [
            {"text": f"comment {number} of {split}", "labels": list(each), "id": f"{split[:2]}{number:05}"}
            for number, each in enumerate(own)
        ]
        for split, own in labels.items()
    }
    fill(cache, EMOTIONS_PATH, "simplified", splits, features)


def _rows(texts: Sequence[str], labels: Sequence[Any], split: str, idx: bool = False) -> list[dict[str, Any]]:
    return [
        {
            **{text: f"{text} {number} of {split} is of kind {label}" for text in texts},
            "label": label,
            **({"idx": number} if idx else {}),
        }
        for number, label in enumerate(labels)
    ]

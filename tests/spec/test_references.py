"""Names in presets, workloads and sweeps are checked when the file is read, even if no run would use them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from peftbench.errors import UsageError
from peftbench.spec import read_recipe, resolve, shipped
from peftbench.spec.keys import UnknownKey, schema_node
from peftbench.spec.resolve import changed
from peftbench.spec.sweep import read_sweep

WORKLOAD = """
[encoder]
name = "all-MiniLM-L6-v2"
[tasks.sst.source]
type = "quickstart"
[tasks.sts.source]
type = "quickstart"
"""
PRESET = '[method]\nname = "dora"\nrank = 2\n[train]\nlr = 0.1\n'
SWEEP = 'presets = ["full", "lora-r12"]\n'


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file, read it as its kind, and return the error message, which must name the file."""

    def told(kind: str, text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, "utf-8")
        with pytest.raises(UsageError) as caught:
            read_sweep(str(path)) if kind == "sweep" else read_recipe(kind, str(path))  # type: ignore[arg-type]
        assert f"{kind} file {path}" in caught.value.message
        return f"{caught.value.message}\n{caught.value.hint or ''}"

    return told


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("preset", f"pin = ['train.lrr']\n{PRESET}", ["'pin'", "unknown key 'train.lrr'; did you mean 'lr'", "epochs"]),
        ("preset", f"pin = ['trian.lr']\n{PRESET}", ["unknown key 'trian'; did you mean 'train'", "head"]),
        ("preset", f"pin = ['train.lr', 'head.widht']\n{PRESET}", ["unknown key 'head.widht'; did you mean 'width'"]),
        ("preset", f"pin = ['train']\n{PRESET}", ["'train' is a table", "lr"]),
        ("preset", f"pin = ['train.lr.x']\n{PRESET}", ["unknown key 'train.lr.x'"]),
        ("preset", f"pin = ['method.rnak']\n{PRESET}", ["unknown key 'method.rnak'; did you mean 'rank'", "norm_axis"]),
        ("preset", f"pin = ['head.tasks.sst.drop']\n{PRESET}", ["unknown key 'head.tasks.sst.drop'", "dropout"]),
        ("preset", "[method]\nname = 'dorra'\n", ["method.name: unknown method 'dorra'; did you mean 'dora'", "lora"]),
        ("workload", f"{WORKLOAD}[adjust.lroa.train]\nlr = 1\n", ["unknown method 'lroa'; did you mean 'lora'"]),
        ("workload", f"{WORKLOAD}[adjust.ia3.train]\nlrr = 1\n", ["adjust.ia3", "'train.lrr'; did you mean 'lr'"]),
        ("workload", f"{WORKLOAD}[adjust.ia3.head]\ndropuot = 1\n", ["'head.dropuot'; did you mean 'dropout'"]),
        ("workload", f"{WORKLOAD}[adjust.ia3.head.tasks.sts2]\ndropout = 0.1\n", ["'head.tasks.sts2'; did you mean"]),
        ("workload", f"{WORKLOAD}[head.tasks.stss]\ndropout = 0.1\n", ["no task 'stss'; did you mean 'sts'", "sst"]),
        (
            "sweep",
            "presets = ['full', 'lora-r21']\n",
            ["unknown preset 'lora-r21'; did you mean 'lora-r12'", "dora-r4"],
        ),
        ("sweep", "presets = ['full', './none.toml']\n", ["none.toml' does not exist"]),
        ("sweep", f"workload = 'quikstart'\n{SWEEP}", ["unknown workload 'quikstart'; did you mean 'quickstart'"]),
        ("sweep", f"{SWEEP}[set]\n'train.epoch' = 2\n", ["unknown key 'train.epoch'; did you mean 'epochs'"]),
        ("sweep", f"{SWEEP}[grid]\n'head.drop' = [0.1]\n", ["unknown key 'head.drop'; did you mean 'dropout'"]),
        ("sweep", f"{SWEEP}[grid]\n'precison' = ['fp32']\n", ["unknown key 'precison'; did you mean 'precision'"]),
    ],
)
def test_a_name_that_refers_to_nothing_is_told_with_file_key_and_what_is_allowed(
    kind: str, text: str, said: list[str], refusal: Callable[[str, str], str]
) -> None:
    told = refusal(kind, text)
    assert [part for part in said if part not in told] == []


def test_a_preset_of_a_sweep_that_every_condition_skips_is_checked_too(refusal: Callable[[str, str], str]) -> None:
    assert "'dora-r21'" in refusal("sweep", "presets = ['full', 'dora-r21']\n[[skip]]\npreset = 'dora-r21'\n")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("preset", f"pin = ['train.lr', 'head.dropout', 'head.tasks.sst.dropout', 'method.rank']\n{PRESET}"),
        ("preset", "pin = ['method.config.r']\n[method]\nname = 'peft'\npeft_type = 'LOHA'\n"),
        (
            "workload",
            f"{WORKLOAD}[adjust.lora.head.tasks.sst]\ndropout = 0.1\n[adjust.ia3.train]\nbetas = [0.1, 0.2]\n",
        ),
        ("workload", f"{WORKLOAD}[head.tasks.sts]\ndropout = 0.1\n"),
    ],
)
def test_names_that_refer_to_something_are_taken(kind: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    assert read_recipe(kind, str(tmp_path / "mine.toml")).name == "mine"  # type: ignore[arg-type]


def test_every_shipped_file_refers_to_what_is_there() -> None:
    for kind in ("preset", "workload"):
        assert all(read_recipe(kind, name) for name in shipped(kind))  # type: ignore[arg-type]
    assert all(read_sweep(name) for name in shipped("sweep"))


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[augment]\nmethod = "eda"\ntasks = ["sst", "stss"]\n', "`augment.tasks`"),
        ("[head.tasks.stss]\ndropout = 0.1\n", "`head.tasks`"),
    ],
)
def test_a_task_that_a_preset_names_is_held_to_the_workloads(table: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PRESET + table, "utf-8")
    with pytest.raises(UsageError) as caught:
        resolve(str(path))
    assert caught.value.message == (
        f"{key} names 'stss', and the workload's tasks are sst, paraphrase, sts; did you mean 'sts'? "
        f"(preset mine, {path})"
    )


class TestNone:
    """`--set key=none` sets an optional key to None."""

    @pytest.mark.parametrize(
        ("preset", "before", "key"),
        [
            ("full", ["train.max_steps=3"], "train.max_steps"),
            ("full", ["train.clip_norm=0.5"], "train.clip_norm"),
            ("full", ["train.patience=1"], "train.patience"),
            ("full", ["encoder.revision=main"], "encoder.revision"),
            ("full", ["tasks.sst.source.label_noise=0.1"], "tasks.sst.source.label_noise"),
            ("lora-r12", ["method.layers=1-2"], "method.layers"),
            ("full", ["head.kind=mlp", "head.width=8"], "head.width"),
        ],
    )
    def test_it_gives_the_spec_that_never_had_it(self, preset: str, before: list[str], key: str) -> None:
        plain = resolve(preset, overrides=before[:-1]).spec
        with_it = resolve(preset, overrides=before).spec
        without = resolve(preset, overrides=[*before, f"{key}=none"])
        assert with_it.hash() != plain.hash() == without.spec.hash()
        assert without.origins[key] == "--set"

    def test_a_value_of_the_preset_is_taken_away_too(self) -> None:
        assert resolve("last-layer").spec.encoder.dropout == 0.0
        assert resolve("last-layer", overrides=["encoder.dropout= none "]).spec.encoder.dropout is None

    def test_a_whole_optional_table_is(self) -> None:
        without = resolve("dora-r12-augmented", overrides=["augment=none"])
        assert without.spec.augment is None
        assert without.spec.hash() == resolve("dora-r12").spec.hash()
        again = resolve("dora-r12-augmented", overrides=["augment=none", "augment.method=eda"]).spec
        assert again.augment is not None and again.augment.tasks == ("sst", "sts")

    def test_of_a_stored_spec_too(self) -> None:
        stored = resolve("lora-r12", overrides=["train.max_steps=3", "method.layers=0"])
        found = changed(stored.spec.canonical_json(), stored.origins, ["train.max_steps=none", "method.layers=none"])
        assert found.spec.hash() == resolve("lora-r12").spec.hash()

    def test_in_quotes_it_is_a_text(self) -> None:
        assert resolve("full", overrides=['encoder.revision="none"']).spec.encoder.revision == "none"
        assert resolve("full", overrides=["encoder.revision='none'"]).spec.encoder.revision == "none"

    def test_a_text_that_must_be_there_may_be_that_word(self) -> None:
        assert resolve("full", overrides=["encoder.name=none"]).spec.encoder.name == "none"

    @pytest.mark.parametrize("item", ["train.epochs=none", "train.lr=none", "head.kind=none", "train.max_step=none"])
    def test_what_must_have_a_value_is_refused_by_its_key(self, item: str) -> None:
        with pytest.raises(UsageError, match=item.partition("=")[0]):
            resolve("full", overrides=[item])


@pytest.mark.parametrize(
    ("key", "optional"),
    [
        ("train.lr", False),
        ("train.max_steps", True),
        ("head.tasks.sst.dropout", True),
        ("augment", True),
        ("augment.eda.n_aug", False),
        ("tasks.sst.source.separator", True),
    ],
)
def test_a_key_knows_whether_it_may_be_empty(key: str, optional: bool) -> None:
    assert schema_node(key).optional is optional


def test_a_part_that_is_no_key_is_named() -> None:
    with pytest.raises(UnknownKey, match=r"'augment\.edda'; did you mean 'eda'"):
        schema_node("augment.edda.n_aug")

"""The shipped presets and workloads: complete for the study's Table 1, and resolvable in every combination."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peftbench.errors import UsageError
from peftbench.spec import read_recipe, resolve, shipped

PRESETS, WORKLOADS = tuple(shipped("preset")), tuple(shipped("workload"))

STUDY = ("paper", "paper-mini", "paper-cfimdb", "paper-hub")
# Of GLUE: each task's metric, and the number of its classes (1: a score).
GLUE = {
    "cola": ("mcc", 2),
    "sst2": ("accuracy", 2),
    "mrpc": ("f1", 2),
    "stsb": ("pearson", 1),
    "qqp": ("f1", 2),
    "mnli": ("accuracy", 3),
    "qnli": ("accuracy", 2),
    "rte": ("accuracy", 2),
    "wnli": ("accuracy", 2),
}

# The rows of Table 1 of the study: method, rank and learning rate.
TABLE_1 = {
    "last-layer": ("last-layer", None, 1e-3),
    "last-layer-as-printed": ("last-layer", None, 1e-5),
    "full": ("full", None, 1e-5),
    "full-as-printed": ("full", None, 1e-3),
    "lora-r12": ("lora", 12, 1e-4),
    "dora-r1": ("dora", 1, 1e-4),
    "dora-r4": ("dora", 4, 1e-4),
    "dora-r12": ("dora", 12, 1e-4),
    "dora-r24": ("dora", 24, 1e-4),
    "dora-r128": ("dora", 128, 1e-4),
    "dora-r12-augmented": ("dora", 12, 1e-4),
}
ADAPTERS = [name for name, (_, _, lr) in TABLE_1.items() if lr == 1e-4]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(kind: str, name: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_recipe(kind, name)
    return caught.value


def test_the_workloads_are_shipped() -> None:
    hub = {"glue", *(f"glue-{task}" for task in GLUE), "banking77", "conll2003", "go-emotions"}
    assert {"quickstart", "quickstart-tasks", *STUDY, *hub} == set(WORKLOADS)


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "dora-r12-augmented"])
def test_every_preset_resolves_on_every_workload(preset: str, workload: str) -> None:
    spec = resolve(preset, workload).spec
    assert (spec.preset, spec.workload) == (preset, workload)
    assert spec.tasks


@pytest.mark.parametrize("workload", ["quickstart", *STUDY])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_studys_tasks_are_those_of_its_workloads(preset: str, workload: str) -> None:
    spec = resolve(preset, workload).spec
    more = ["cfimdb"] if workload == "paper-cfimdb" else []
    assert [task.name for task in spec.tasks] == ["sst", "paraphrase", "sts", *more]
    assert [task.headline for task in spec.tasks] == ["accuracy", "accuracy", "pearson", *(["accuracy"] * len(more))]
    assert [task.outputs for task in spec.tasks] == [5, 1, 1, *([1] * len(more))]


def test_glue_has_the_benchmarks_tasks_and_metrics_together_and_one_by_one() -> None:
    together = resolve("lora-r12", "glue").spec
    assert {task.name: (task.headline, len(task.labels or "-")) for task in together.tasks} == GLUE
    for task in together.tasks:
        alone = resolve("lora-r12", f"glue-{task.name}").spec
        assert alone.tasks == (task,)
        assert (alone.encoder, alone.split) == (together.encoder, together.split)


@pytest.mark.parametrize("workload", ["glue", *(f"glue-{task}" for task in GLUE), "banking77"])
def test_what_chooses_the_epoch_on_the_hub_is_not_what_is_reported(workload: str) -> None:
    spec = resolve("lora-r12", workload).spec
    assert (spec.split.dev_is, spec.split.select) == ("select", 0.5)
    assert {task.source.test for task in spec.tasks} == {None}, "the labels of GLUE's test splits are not published"
    as_published = resolve("lora-r12", workload, overrides=["split.select=none"]).spec
    assert not as_published.split.has_test


@pytest.mark.parametrize(("workload", "metric"), [("conll2003", "span_f1"), ("go-emotions", "macro_f1")])
def test_a_test_split_with_labels_on_the_hub_is_reported(workload: str, metric: str) -> None:
    spec = resolve("lora-r12", workload).spec
    (task,) = spec.tasks
    assert (spec.split.dev_is, spec.split.select, spec.split.has_test) == ("select", None, True)
    assert (task.headline, task.source.test) == (metric, "test")


def test_the_fourth_task_comes_last_and_is_not_augmented() -> None:
    """Its order is the order of training within an epoch."""
    spec = resolve("dora-r12-augmented", "paper-cfimdb").spec
    plain = resolve("dora-r12-augmented", "paper").spec
    assert spec.tasks[:3] == plain.tasks and spec.encoder == plain.encoder
    assert not spec.augments("cfimdb") and not spec.augments("paraphrase")


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1_of_the_study_has_its_presets(name: str) -> None:
    method, rank, lr = TABLE_1[name]
    spec = resolve(name, "paper").spec
    assert spec.method.name == method
    assert getattr(spec.method, "rank", None) == rank
    assert spec.train.lr == lr


def test_the_learning_rates_of_a_small_encoder_are_its_workloads_own() -> None:
    assert {resolve(name, "quickstart").spec.train.lr for name in ADAPTERS} == {2e-3}
    assert {resolve(name, "paper-mini").spec.train.lr for name in ADAPTERS} == {1e-3}


@pytest.mark.parametrize("name", ["lora-r12", "dora-r12"])
def test_adapters_on_every_linear_layer_differ_in_nothing_but_their_targets(name: str) -> None:
    few, every = (resolve(preset, "paper").spec for preset in (name, f"{name}-all"))
    assert every.method.targets == ("all-linear",)
    assert every.method.model_copy(update={"targets": few.method.targets}) == few.method
    assert every.train == few.train and every.encoder == few.encoder


@pytest.mark.parametrize("name", ["dora-r12-peft", "lora-r12-peft", "dora-r12-top6", "lora-r12-top6"])
def test_what_stands_beside_the_studys_adapters_has_their_rate(name: str) -> None:
    """So that a comparison isolates the feature of the preset."""
    assert resolve(name, "paper").spec.train.lr == 1e-4


def test_the_two_readings_of_doras_norm_differ_in_nothing_else() -> None:
    by_row, by_column = (resolve(name, "paper").spec for name in ("dora-r12", "dora-r12-by-column"))
    assert (by_row.method.norm_axis, by_column.method.norm_axis) == ("output", "input")
    assert by_column.method.model_copy(update={"norm_axis": "output"}) == by_row.method
    assert by_column.train == by_row.train and by_column.encoder == by_row.encoder


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_paper_workload_trains_as_the_study_did(name: str) -> None:
    spec = resolve(name, "paper").spec
    assert (spec.train.schedule, spec.method.alpha, spec.method.dropout) == ("constant", spec.method.rank, 0.0)
    assert (spec.train.epochs, spec.train.batch_size, spec.train.weight_decay) == (10, 8, 0.0)
    assert (spec.train.betas, spec.train.eps) == ((0.9, 0.999), 1e-6)
    assert spec.head.dropout == 0.2
    assert spec.method.targets == ("query", "key", "value")
    assert spec.encoder.pair_encoding == "joint"


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize(("name", "lr"), [("full-as-printed", 1e-3), ("last-layer-as-printed", 1e-5)])
def test_printed_learning_rates_stay_as_printed_on_every_workload(name: str, lr: float, workload: str) -> None:
    resolved = resolve(name, workload)
    assert resolved.spec.train.lr == lr
    assert resolved.origins["train.lr"] == f"preset {name}"


@pytest.mark.parametrize("kind", ["preset", "workload"])
def test_every_shipped_recipe_says_what_it_is(kind: str) -> None:
    for name in shipped(kind):
        recipe = read_recipe(kind, name)
        assert (recipe.kind, recipe.name) == (kind, name)
        assert len(recipe.description) > 10


def test_presets_are_listed_by_rank() -> None:
    ranks = [int(match[1]) for name in PRESETS if (match := re.fullmatch(r"dora-r(\d+)", name))]
    assert ranks == sorted(ranks)
    assert len(ranks) >= 5


@pytest.mark.parametrize(
    ("kind", "name", "near"), [("preset", "dora-r21", "dora-r"), ("workload", "quikstart", "quickstart")]
)
def test_an_unknown_name_suggests_the_nearest_and_lists_all(kind: str, name: str, near: str) -> None:
    error = refusal(kind, name)
    assert re.search(rf"unknown {kind} '{name}'; did you mean '{near}", error.message)
    assert all(known in error.hint for known in shipped(kind))


@pytest.mark.parametrize("name", ["./no-such.toml", "no-such.toml", "nowhere/preset", "~no-such-user-at-all/x.toml"])
def test_a_path_that_is_no_file_is_named(name: str) -> None:
    assert name in refusal("preset", name).message


def test_a_path_too_long_for_any_file_is_refused_too(tmp_path: Path) -> None:
    assert "preset file" in refusal("preset", f"{tmp_path}/{'x' * 300}.toml").message


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml" in refusal("preset", str(tmp_path / "folder.toml")).message


@pytest.mark.parametrize("text", ["[method", "lr = ", "a = 1\na = 2", "x = 0x", "[train]\nlr = 1e\n"])
def test_broken_toml_is_refused_with_file_and_line(tmp_path: Path, text: str) -> None:
    error = refusal("preset", write(tmp_path / "mine.toml", text))
    assert "mine.toml is not valid TOML" in error.message
    assert "line" in error.message or "end of document" in error.message


def test_a_recipe_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'description = "\xff"\n')
    assert "mine.toml is not valid TOML" in refusal("preset", str(tmp_path / "mine.toml")).message


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Notepad on Windows writes one."""
    path = write(tmp_path / "mine.toml", '\ufeff[method]\nname = "full"\n')
    assert read_recipe("preset", path).tables == {"method": {"name": "full"}}


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("preset", "[metod]\nname = 'lora'", "unknown key 'metod'; did you mean 'method'"),
        ("preset", "[encoder]\nname = 'x'", "'encoder.name' belongs in the workload"),
        ("workload", "[method]\nname = 'lora'", "unknown key 'method'"),
        ("workload", "[task.sst]\nlabel = 'x'", "unknown key 'task'; did you mean 'tasks'"),
        ("preset", "train = 3", "'train' must be a table, not 3"),
        ("preset", "description = 3", "'description' must be a string, not 3"),
        ("preset", "pin = 'train.lr'", "'pin' must be a list of dotted keys"),
        ("preset", "pin = [3]", "'pin' must be a list of dotted keys"),
        ("workload", "adjust = 3", "'adjust' must be a table"),
        ("workload", "[adjust]\nlora = 3", "'adjust.lora' must hold tables"),
        ("workload", "[adjust.lora]\nlr = 3", "'adjust.lora.lr' cannot be adjusted"),
        ("workload", "[adjust.lora.encoder]\nname = 'x'", "'adjust.lora.encoder' cannot be adjusted"),
    ],
)
def test_a_wrong_top_level_names_file_and_key(tmp_path: Path, kind: str, text: str, said: str) -> None:
    error = refusal(kind, write(tmp_path / "mine.toml", text))
    assert said in error.message
    assert str(tmp_path / "mine.toml") in error.message


def test_an_adjustment_for_a_method_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A typo there would silently train with another learning rate."""
    path = write(tmp_path / "mine.toml", "[adjust.lroa.train]\nlr = 1e-3\n" + WORKLOAD)
    with pytest.raises(UsageError, match=r"lroa.*lora"):
        resolve("lora-r12", path)


WORKLOAD = """
[encoder]
name = "all-MiniLM-L6-v2"
[tasks.sst.source]
type = "quickstart"
"""

"""Resolution of preset, workload and overrides into a spec: precedence, origins, hashes and error messages."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.errors import UsageError
from peftbench.methods.registry import method_info, registered
from peftbench.spec import RunSpec, flatten, resolve
from peftbench.spec.hashing import ADDED_KEYS, ADDED_METHOD_KEYS
from peftbench.spec.resolve import changed
from peftbench.spec.stored import hashes

OWN_TASK = """
[encoder]
name = "all-MiniLM-L6-v2"

[tasks.stars]
kind = "classes"
classes = 3
text = ["review"]
label = "stars"

[tasks.stars.source]
type = "files"
train = "train.csv"
dev = "dev.csv"
"""


@pytest.fixture
def own(tmp_path: Path):
    """Write a recipe file into the test's folder and return its path as a user would pass it."""

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def refusal(*arguments: object, **options: object) -> str:
    """Return the error message and hint."""
    with pytest.raises(UsageError) as caught:
        resolve(*arguments, **options)
    return f"{caught.value.message}\n{caught.value.hint or ''}"


class TestPrecedence:
    def test_every_layer_is_stronger_than_the_one_before(self, own) -> None:
        preset = own("mine.toml", '[method]\nname = "lora"\nrank = 2\n[train]\nlr = 0.1\n')
        task = '[encoder]\nname = "x"\n[tasks.sst.source]\ntype = "quickstart"\n'
        plain = own("plain.toml", task)
        setting = own("setting.toml", task + "[train]\nlr = 0.2\nbatch_size = 5\n")
        adjusting = own("adjusting.toml", task + "[train]\nlr = 0.2\n[adjust.lora.train]\nlr = 0.3\n")

        def lr(*arguments: object, **options: object) -> tuple[float, str]:
            resolved = resolve(*arguments, **options)
            return resolved.spec.train.lr, resolved.origins["train.lr"]

        assert lr(preset, plain) == (0.1, "preset mine")
        assert lr(preset, setting) == (0.2, "workload setting")
        assert lr(preset, adjusting) == (0.3, "workload adjusting, adjust.lora")
        assert lr(preset, adjusting, overrides=["train.lr=0.4"]) == (0.4, "--set")
        assert lr(preset, adjusting, overrides=["train.lr=0.4", "train.lr=0.5"]) == (0.5, "--set")

    def test_an_adjustment_is_for_its_own_method_only(self, own) -> None:
        task = '[encoder]\nname = "x"\n[tasks.sst.source]\ntype = "quickstart"\n'
        setting = own("setting.toml", task + "[adjust.dora.train]\nlr = 0.3\n")
        assert resolve("lora-r12", setting).origins["train.lr"] == "preset lora-r12"
        assert resolve("dora-r12", setting).spec.train.lr == 0.3

    def test_a_pinned_key_is_not_adjusted_but_can_be_set(self, own) -> None:
        preset = own(
            "mine.toml",
            'pin = ["train.lr"]\n[method]\nname = "lora"\nrank = 2\n[train]\nlr = 0.25\n',
        )
        assert resolve(preset).spec.train.lr == 0.25
        assert resolve(preset, overrides=["train.lr=0.5"]).spec.train.lr == 0.5

    def test_the_seed_option_is_the_strongest(self) -> None:
        assert resolve("full").spec.seed == 0
        assert resolve("full", overrides=["seed=4"]).spec.seed == 4
        resolved = resolve("full", overrides=["seed=4"], seed=7)
        assert (resolved.spec.seed, resolved.origins["seed"]) == (7, "--seed")

    def test_every_value_has_an_origin(self, tmp_path: Path) -> None:
        resolved = resolve("dora-r12", "paper", data=[str(tmp_path)], overrides=["train.epochs=2"], seed=1)
        values = dict(flatten(resolved.spec.model_dump(mode="json")))
        assert set(resolved.origins) == set(values) - {"preset", "workload"}
        assert resolved.origins["method.rank"] == "preset dora-r12"
        assert resolved.origins["method.alpha"] == "default"
        assert resolved.origins["head.dropout"] == "default"
        assert resolved.origins["encoder.pooling"] == "workload paper"
        assert resolved.origins["tasks.sst.classes"] == "task sst"
        assert resolved.origins["tasks.sts.source.root"] == "--data"
        assert resolved.origins["train.epochs"] == "--set"

    @pytest.mark.parametrize("rank", [1, 12, 128])
    def test_alpha_is_the_rank_unless_it_is_given(self, rank: int) -> None:
        assert resolve("dora-r12", overrides=[f"method.rank={rank}"]).spec.method.alpha == rank
        chosen = resolve("dora-r12", overrides=[f"method.rank={rank}", "method.alpha=16"]).spec
        assert chosen.method.alpha == 16


class TestOverrides:
    @pytest.mark.parametrize(
        ("item", "key", "value"),
        [
            ("train.epochs=2", "train.epochs", 2),
            ("train.epochs = 2", "train.epochs", 2),
            ("train.lr=1", "train.lr", 1.0),
            ("train.lr=3e-4", "train.lr", 3e-4),
            ("encoder.pooling=cls", "encoder.pooling", "cls"),
            ('encoder.pooling="cls"', "encoder.pooling", "cls"),
            ("encoder.revision=a=b#c", "encoder.revision", "a=b#c"),
            ('method.targets=["query"]', "method.targets", ["query"]),
            ("train.betas=[0.8, 0.9]", "train.betas", [0.8, 0.9]),
            ("tasks.sts.high=4", "tasks.sts.high", 4.0),
            ("tasks.sst.source.train=10", "tasks.sst.source.train", 10),
        ],
    )
    def test_a_value_is_toml_or_else_plain_text(self, item: str, key: str, value: object) -> None:
        spec = resolve("dora-r12", overrides=[item]).spec
        assert dict(flatten(spec.model_dump(mode="json")))[key] == value

    @pytest.mark.parametrize("item", ["train.epochs", "=2", "", ".=1", "train.=1", "train..lr=1", "  =1"])
    def test_what_is_no_key_and_value_is_refused(self, item: str) -> None:
        assert f"--set {item.strip()}" in refusal("full", overrides=[item])

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            ("train.epoch=2", ["'train.epoch'", "--set", "did you mean 'epochs'", "batch_size"]),
            ("trian.epochs=2", ["'trian'", "did you mean 'train'"]),
            ("method.rnak=2", ["'method.rnak'", "did you mean 'rank'"]),
            ("tasks.sst.lable=x", ["'tasks.sst.lable'", "did you mean 'label'"]),
            ("tasks.sst.source.trian=3", ["'tasks.sst.source.trian'", "did you mean 'train'"]),
            ("tasks.stss.label=x", ["tasks.stss", "'sts'"]),
            ("train=2", ["--set", "'train' is a table"]),
            ("tasks.sst=2", ["--set", "'tasks.sst' is a table"]),
            ("tasks.mine=2", ["tasks.mine", "--set"]),
            ("train.lr.x=2", ["--set", "'train.lr' is a value"]),
            ("train={epochs=2}", ["--set", "cannot set a whole table"]),
            ("preset=full", ["use --preset"]),
            ("workload=paper", ["use --workload"]),
            ("tasks.sst.name=other", ["tasks.sst.name"]),
            ("preset.x=1", ["preset"]),
            ("workload.x=1", ["workload"]),
        ],
    )
    def test_an_unknown_or_wrong_key_is_refused_and_the_nearest_named(self, item: str, said: list[str]) -> None:
        told = refusal("dora-r12", overrides=[item])
        assert all(part in told for part in said), told

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            ("train.epochs=0", ["'train.epochs' = 0 (--set)", "greater than or equal to 1"]),
            ("train.epochs=2.0", ["'train.epochs' = 2.0 (--set)", "integer"]),
            ("train.epochs=true", ["'train.epochs' = True (--set)", "integer"]),
            ("train.epochs=two", ["'train.epochs' = 'two' (--set)", "integer"]),
            ("train.lr=0", ["'train.lr' = 0 (--set)", "greater than 0"]),
            ("train.lr=nan", ["'train.lr' = nan (--set)"]),
            ("train.lr=inf", ["'train.lr' = inf (--set)"]),
            ('train.lr="0.1"', ["'train.lr' = '0.1' (--set)", "number"]),
            ("train.betas=[0.9, 1.0]", ["train.betas", "(--set)", "below 1"]),
            ("train.betas=[0.9]", ["train.betas", "(--set)"]),
            ('train.betas=["0.9", 0.999]', ["train.betas", "(--set)", "number"]),
            ("method.rank=0", ["'method.rank' = 0 (--set)", "greater than or equal to 1"]),
            ("method.rank=12.5", ["'method.rank' = 12.5 (--set)"]),
            ("method.rank=1" + "0" * 400, ["'method.rank'", "(--set)"]),
            ("method.alpha=0", ["'method.alpha' = 0 (--set)", "greater than 0"]),
            ("method.dropout=1.0", ["'method.dropout' = 1.0 (--set)", "less than 1"]),
            ("method.targets=[]", ["method.targets", "(--set)"]),
            ("method.targets=query", ["method.targets", "(--set)"]),
            ("method.norm_axis=both", ["'method.norm_axis' = 'both' (--set)", "'output' or 'input'"]),
            ("encoder.pooling=max", ["'encoder.pooling' = 'max' (--set)", "'pooler'", "'mean'"]),
            ("encoder.name=2024-01-01", ["encoder.name", "(--set)", "string"]),
            ("head.dropout=1", ["'head.dropout' = 1 (--set)", "less than 1"]),
            ("tasks.sst.kind=ranking", ["'tasks.sst.kind' = 'ranking' (--set)", "similarity"]),
            ("tasks.sst.classes=1", ["'tasks.sst.classes' = 1 (--set)"]),
            ("tasks.sts.low=5", ["tasks.sts", "must be below"]),
            ("tasks.sst.source.type=csv", ["tasks.sst.source", "csv", "files"]),
            ("seed=-1", ["'seed' = -1 (--set)"]),
            ("method.name=lroa", ["'lroa'", "did you mean 'lora'"]),
        ],
    )
    def test_a_wrong_value_is_refused_with_key_value_origin_and_what_is_allowed(
        self, item: str, said: list[str]
    ) -> None:
        told = refusal("dora-r12", overrides=[item])
        assert all(part in told for part in said), told

    def test_several_mistakes_are_told_at_once(self) -> None:
        told = refusal("dora-r12", overrides=["train.epochs=0", "method.rank=0", "encoder.poling=cls", "seed=-1"])
        for key in ("train.epochs", "method.rank", "encoder.poling", "seed"):
            assert f"'{key}'" in told
        assert len(told.strip().splitlines()) == 4

    keys = st.sampled_from(
        [
            "train.lr",
            "train.betas",
            "method.rank",
            "method.alpha",
            "method.name",
            "tasks.sst",
            "tasks.new",
            "tasks",
            "tasks.sst.source",
            "tasks.sst.text",
            "tasks.sst.source.type",
            "encoder",
            "seed",
            "a.b",
            "method",
            "eval",
        ]
    )
    values = st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["[]", "[1]", "{}", "nan", "-1", "1e400", "9" * 400, "true", "1979-05-27", '"\\uD800"', "[[1]]"]
        ),
    )

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(st.lists(st.tuples(keys, values), min_size=1, max_size=3))
    def test_no_override_whatever_breaks_more_than_the_spec(self, items: list[tuple[str, str]]) -> None:
        try:
            resolve("dora-r12", overrides=[f"{key}={value}" for key, value in items])
        except UsageError as error:
            assert error.message


class TestFilesOfTheUser:
    def test_a_wrong_value_in_a_file_names_the_file(self, own) -> None:
        preset = own("mine.toml", '[method]\nname = "lora"\nrank = "12"\n[train]\nlr = -1\n')
        told = refusal(preset, "paper")
        assert f"'method.rank' = '12' (preset mine, {preset})" in told
        assert f"'train.lr' = -1 (preset mine, {preset})" in told

    def test_an_unknown_key_in_a_file_names_the_file_and_the_nearest(self, own) -> None:
        workload = own("mine.toml", OWN_TASK.replace('label = "stars"', 'lable = "stars"'))
        told = refusal("full", workload)
        assert f"unknown key 'tasks.stars.lable' (workload mine, {workload}); did you mean 'label'?" in told
        assert "'tasks.stars.label' is required" in told

    def test_an_empty_table_of_an_unknown_name_is_refused_as_well(self, own) -> None:
        preset = own("mine.toml", '[method]\nname = "full"\n[train]\nlr = 0.1\n[train.schedule]\n')
        assert "train.schedule" in refusal(preset)

    def test_a_task_without_any_key_is_not_dropped_in_silence(self, own) -> None:
        assert "tasks.empty" in refusal("full", own("mine.toml", OWN_TASK + "\n[tasks.empty]\n"))

    @pytest.mark.parametrize(
        "text",
        ['[tasks.a]\nsource = "files"\n', "[tasks]\na = 5\n", "[tasks]\na = [1]\n", "[[tasks.a]]\nlabel = 'x'\n"],
    )
    def test_a_value_in_the_place_of_a_table_is_refused(self, own, tmp_path: Path, text: str) -> None:
        workload = own("mine.toml", '[encoder]\nname = "x"\n' + text)
        assert "tasks.a" in refusal("full", workload)
        assert refusal("full", workload, data=[str(tmp_path)])

    def test_a_preset_without_a_method_is_refused(self, own) -> None:
        assert "names no method" in refusal(own("mine.toml", "[train]\nlr = 0.1\n"))

    def test_a_preset_without_a_learning_rate_says_what_is_missing(self, own) -> None:
        assert "'train.lr' is required" in refusal(own("mine.toml", '[method]\nname = "full"\n'), "paper")

    def test_a_workload_without_tasks_or_encoder_says_what_is_missing(self, own) -> None:
        told = refusal("full", own("mine.toml", 'description = "nothing"\n'))
        assert "'tasks' is required" in told
        assert "'encoder" in told

    def test_a_task_of_ones_own(self, own, tmp_path: Path) -> None:
        preset = own("tiny-lora.toml", '[method]\nname = "lora"\nrank = 3\n[train]\nlr = 0.01\n')
        spec = resolve(preset, own("shop.toml", OWN_TASK), data=[str(tmp_path)]).spec
        (task,) = spec.tasks
        assert (spec.preset, spec.workload) == ("tiny-lora", "shop")
        assert (task.name, task.text, task.outputs, task.id, task.is_pair) == ("stars", ("review",), 3, "", False)
        assert spec.task("stars") is task
        assert spec.task("sst") is None

    @pytest.mark.parametrize("name", ["Stars", "9stars", "st ars", "s" * 40])
    def test_a_task_name_that_cannot_be_a_file_or_column_name_is_refused(self, own, name: str) -> None:
        workload = own("mine.toml", OWN_TASK.replace("tasks.stars", f'tasks."{name}"'))
        assert name in refusal("full", workload)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("classes = 3", ""), "needs `classes`"),
            (('kind = "classes"', 'kind = "binary"'), "`classes` has no meaning"),
            (('text = ["review"]', "text = []"), "tasks.stars.text"),
            (('text = ["review"]', 'text = ["a", "b", "c"]'), "tasks.stars.text"),
            (('text = ["review"]', 'text = "review"'), "tasks.stars.text"),
            (('train = "train.csv"', ""), "'tasks.stars.source.train' is required"),
            (('type = "files"', ""), "tasks.stars.source"),
        ],
    )
    def test_a_task_that_makes_no_sense_is_refused(self, own, change: tuple[str, str], said: str) -> None:
        assert said in refusal("full", own("mine.toml", OWN_TASK.replace(*change)))

    def test_a_known_task_can_be_made_binary(self, own) -> None:
        """`tasks.py`: a workload may change any value of a known task, as for SST-2."""
        text = '[encoder]\nname = "x"\n[tasks.sst]\nkind = "binary"\n[tasks.sst.source]\ntype = "quickstart"\n'
        (task,) = resolve("full", own("mine.toml", text)).spec.tasks
        assert (task.kind, task.outputs) == ("binary", 1)

    def test_the_order_of_the_tasks_is_the_workloads(self, own) -> None:
        both = [f'[tasks.{name}.source]\ntype = "quickstart"\n' for name in ("sts", "sst")]
        for order in (both, both[::-1]):
            spec = resolve("full", own("mine.toml", '[encoder]\nname = "x"\n' + "".join(order))).spec
            assert [task.name for task in spec.tasks] == [part[7:10] for part in order]

    def test_a_task_of_ones_own_keeps_its_place_before_a_known_one(self, own) -> None:
        known = '\n[tasks.sst.source]\ntype = "quickstart"\n'
        spec = resolve("full", own("mine.toml", OWN_TASK + known)).spec
        assert [task.name for task in spec.tasks] == ["stars", "sst"]


class TestData:
    def roots(self, *data: str, workload: str = "paper") -> list[str | None]:
        return [task.source.root for task in resolve("full", workload, data=data).spec.tasks]

    def test_a_folder_for_all_tasks(self, tmp_path: Path) -> None:
        assert self.roots() == [None, None, None]
        assert self.roots(str(tmp_path)) == [str(tmp_path)] * 3

    def test_a_folder_for_one_task(self, tmp_path: Path) -> None:
        assert self.roots(f"paraphrase={tmp_path}") == [None, str(tmp_path), None]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_the_folder_of_one_task_wins_over_that_of_all_in_either_order(self, tmp_path: Path, reverse: bool) -> None:
        (tmp_path / "own").mkdir()
        given = [str(tmp_path), f"sts={tmp_path / 'own'}"]
        assert self.roots(*(given[::-1] if reverse else given)) == [*[str(tmp_path)] * 2, str(tmp_path / "own")]

    def test_a_relative_folder_is_stored_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "with = sign").mkdir()
        monkeypatch.chdir(tmp_path)
        assert self.roots("with = sign") == [str(tmp_path / "with = sign")] * 3

    def test_a_mistyped_task_is_refused_and_the_nearest_named(self, tmp_path: Path) -> None:
        told = refusal("full", "paper", data=[f"paraphase={tmp_path}"])
        assert "no task 'paraphase'; did you mean 'paraphrase'?" in told
        assert "sst, paraphrase, sts" in told

    @pytest.mark.parametrize("item", ["{}/absent", "sst={}/absent", "{}/file", "~no-such-user-at-all/data"])
    def test_what_is_no_folder_is_refused(self, tmp_path: Path, item: str) -> None:
        (tmp_path / "file").write_text("")
        assert "is not a folder" in refusal("full", "paper", data=[item.format(tmp_path)])

    @pytest.mark.parametrize("item", ["", "sst="])
    def test_an_empty_folder_name_is_not_taken_for_the_current_folder(self, item: str) -> None:
        """`--data "$UNSET"`."""
        assert "--data" in refusal("full", "paper", data=[item])

    @pytest.mark.parametrize("item", ["{}", "sst={}"])
    @pytest.mark.parametrize("workload", ["quickstart", "paper-hub"])
    def test_a_workload_that_reads_no_files_is_refused(self, tmp_path: Path, workload: str, item: str) -> None:
        told = refusal("full", workload, data=[item.format(tmp_path)])
        assert f"workload {workload} reads no files" in told
        assert "--workload paper" in told


CHANGES = [
    *("method.rank=11", "method.alpha=3", "method.dropout=0.5", 'method.targets=["query"]', "method.norm_axis=input"),
    *("method.layers=1", "method.train_norms=true", "method.train_embeddings=true"),
    *("encoder.name=other", "encoder.revision=main", "encoder.pooling=cls", "encoder.pair_encoding=separate"),
    *("encoder.max_length=64", "encoder.token_types=false", "encoder.dropout=0.2", "head.dropout=0.3"),
    *(
        "train.epochs=9",
        "train.batch_size=4",
        "train.batching=bucketed",
        "train.cache_frozen_features=false",
        "runtime=transformers",
        "precision=bf16",
    ),
    *("train.lr=0.5", "train.betas=[0.8, 0.9]", "train.eps=1e-8"),
    *("train.schedule=linear", "train.warmup_ratio=0.1", "train.clip_norm=1", "train.accumulation_steps=2"),
    *("train.max_steps=5", "train.patience=2", "train.limit_examples=9", "train.gradient_checkpointing=true"),
    *("train.weight_decay=0.1", "eval.batch_size=3", "eval.train_examples=7", "seed=1"),
    *("eval.every=25%", "eval.dev_examples=9"),
    *(
        "tasks.sst.classes=4",
        "tasks.sst.label=other",
        'tasks.sst.text=["other"]',
        "tasks.sts.low=1",
        "tasks.sts.high=4",
    ),
    *("tasks.sst.id=other", "tasks.sst.source.train=7", "tasks.sst.source.dev=7", "tasks.sst.source.seed=7"),
    "tasks.sst.source.label_noise=0.1",
    *('tasks.sst.labels=["a", "b", "c", "d", "e"]', "tasks.sst.missing=refuse"),
]


AUGMENT_CHANGES = [
    *("method=eda", 'tasks=["sst"]', "seed=1"),
    *("eda.n_aug=4", "eda.alpha_replace=0.2", "eda.alpha_insert=0.2", "eda.alpha_swap=0.2", "eda.alpha_delete=0.2"),
    *("eda.style=letters", "backtranslate.model=other", "backtranslate.revision=main"),
    *("backtranslate.back_model=other", "backtranslate.back_revision=main", "backtranslate.family=nllb"),
    *("backtranslate.pivot=de", "backtranslate.language=fr", "backtranslate.precision=fp32"),
    *("backtranslate.beams=4", "backtranslate.max_new_tokens=9", "backtranslate.batch_size=1"),
]


class TestAugment:
    @pytest.mark.parametrize("change", AUGMENT_CHANGES)
    def test_the_hash_depends_on_every_value(self, change: str) -> None:
        plain = resolve("dora-r12-augmented").spec
        other = resolve("dora-r12-augmented", overrides=[f"augment.{change}"]).spec
        assert other.hash() != plain.hash() and other.group_hash() != plain.group_hash()

    def test_those_are_all_the_values_there_are(self) -> None:
        keys = {key for key, _ in flatten(resolve("dora-r12-augmented").spec.model_dump(mode="json"))}
        changed = {f"augment.{change.partition('=')[0]}" for change in AUGMENT_CHANGES}
        assert {key for key in keys if key.startswith("augment.")} == changed

    def test_a_spec_without_it_has_the_hash_that_it_had_before(self) -> None:
        spec = resolve("dora-r12").spec
        assert "augment" not in spec.determinants()
        stored = json.loads(spec.canonical_json())
        del stored["augment"]
        assert RunSpec.model_validate_json(json.dumps(stored)).hash() == spec.hash()

    def test_any_preset_takes_it_from_the_command_line_also_a_stored_one(self) -> None:
        resolved = resolve("full", overrides=["augment.method=eda", "augment.eda.n_aug=4"])
        assert resolved.spec.augment.eda.n_aug == 4 and resolved.origins["augment.eda.n_aug"] == "--set"
        plain = resolve("full")
        again = changed(plain.spec.canonical_json(), plain.origins, ["augment.method=eda"])
        assert again.spec.augment.method == "eda"

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("augment.method=edda", "'augment.method' = 'edda' (--set)"),
            ("augment.eda.naug=4", "unknown key 'augment.eda.naug' (--set); did you mean 'n_aug'"),
            ("augment.eda.n_aug=0", "'augment.eda.n_aug' = 0 (--set)"),
            ("augment.tasks=[]", "'augment.tasks'"),
            ('augment.tasks=["ssst"]', "names 'ssst', and the workload's tasks are sst, paraphrase, sts; did you mean"),
            ('augment.tasks=["cfimdb"]', "names 'cfimdb', and the workload's tasks are sst, paraphrase, sts"),
        ],
    )
    def test_mistakes_are_told(self, override: str, told: str) -> None:
        assert told in refusal("dora-r12-augmented", overrides=[override])

    def test_a_task_of_its_own_list_that_the_workload_has_not_is_passed_over(self, tmp_path: Path) -> None:
        text = '[encoder]\nname = "x"\n[tasks.sst.source]\ntype = "quickstart"\n'
        (tmp_path / "one.toml").write_text(text)
        spec = resolve("dora-r12-augmented", str(tmp_path / "one.toml")).spec
        assert spec.augments("sst") and not spec.augments("paraphrase")

    def test_the_test_file_is_a_label_and_no_determinant(self) -> None:
        plain = resolve("dora-r12", "paper").spec
        other = resolve("dora-r12", "paper", overrides=["tasks.sst.source.test=other.csv"]).spec
        assert other.hash() == plain.hash() and other.task("sst").source.test == "other.csv"


HEAD_CHANGES = [
    *("dropout=0.3", "kind=linear", "layers=2", "width=64", "bias=false"),
    *("tasks.sst.dropout=0.3", "tasks.sst.kind=linear", "tasks.sst.layers=2", "tasks.sst.width=64"),
    "tasks.sst.bias=false",
]


class TestHead:
    @pytest.mark.parametrize("change", HEAD_CHANGES)
    def test_the_hash_depends_on_every_value(self, change: str) -> None:
        base = ["head.kind=mlp"]
        plain, other = (resolve("full", overrides=[*base, *more]).spec for more in ([], [f"head.{change}"]))
        assert other.hash() != plain.hash()
        assert RunSpec.model_validate_json(other.canonical_json()) == other

    def test_those_are_all_the_values_there_are(self) -> None:
        spec = resolve("full", overrides=["head.tasks.sst.dropout=0.3"]).spec
        keys = {
            key.removeprefix("head.") for key, _ in flatten(spec.model_dump(mode="json")) if key.startswith("head.")
        }
        assert keys == {change.partition("=")[0] for change in HEAD_CHANGES}

    def test_a_bias_that_is_not_stated_is_not_hashed(self) -> None:
        spec = resolve("full", overrides=["head.tasks.sst.dropout=0.3"]).spec
        hashed = spec.determinants()["head"]
        assert "bias" not in hashed and hashed["tasks"]["sst"].keys() == {"dropout", "kind", "layers", "width"}

    def test_a_task_has_its_own_where_it_says_so(self) -> None:
        overrides = ["head.kind=mlp", "head.layers=2", "head.dropout=0.1", "head.tasks.sst.kind=linear"]
        head = resolve("full", overrides=[*overrides, "head.tasks.sts.dropout=0.5"]).spec.head
        assert (head.of("sst").kind, head.of("sst").dropout) == ("linear", 0.1)
        assert (head.of("sts").kind, head.of("sts").layers, head.of("sts").dropout) == ("mlp", 2, 0.5)
        assert head.of("paraphrase").dropout == 0.1

    @pytest.mark.parametrize(
        ("overrides", "told"),
        [
            (["head.layers=2"], "a linear head has no hidden layers"),
            (["head.width=2"], "a linear head has no hidden layers"),
            (["head.tasks.sst.width=2"], "the head of task sst is linear"),
            (
                ["head.kind=mlp", "head.tasks.sst.kind=linear", "head.tasks.sst.layers=2"],
                "the head of task sst is linear",
            ),
            (
                ["head.tasks.ssst.dropout=0.2"],
                "names 'ssst', and the workload's tasks are sst, paraphrase, sts; did you",
            ),
            (["head.tasks.sst.droput=0.2"], "unknown key 'head.tasks.sst.droput' (--set); did you mean 'dropout'"),
            (["head.kind=conv"], "'head.kind' = 'conv' (--set)"),
            (["head.tasks.sst.dropout=1"], "'head.tasks.sst.dropout' = 1 (--set)"),
        ],
    )
    def test_mistakes_are_told(self, overrides: list[str], told: str) -> None:
        assert told in refusal("full", overrides=overrides)


class TestIdentity:
    @pytest.mark.parametrize("workload", ["quickstart", "paper", "glue", "paper-mini"])
    @pytest.mark.parametrize("preset", ["full", "last-layer", "lora-r12", "dora-r12"])
    def test_a_spec_reads_back_from_its_json_unchanged(self, preset: str, workload: str) -> None:
        spec = resolve(preset, workload, seed=3).spec
        again = RunSpec.model_validate_json(spec.canonical_json())
        assert again == spec
        assert again.canonical_json() == spec.canonical_json()
        assert (again.hash(), again.group_hash()) == (spec.hash(), spec.group_hash())
        assert type(again.method) is type(spec.method)

    @pytest.mark.parametrize("change", CHANGES)
    def test_the_hash_depends_on_every_value(self, change: str) -> None:
        plain, other = resolve("dora-r12").spec, resolve("dora-r12", overrides=[change]).spec
        assert other.hash() != plain.hash()
        assert (other.group_hash() == plain.group_hash()) is change.startswith("seed=")

    def test_those_are_all_the_values_there_are(self) -> None:
        """A new key must be added to CHANGES, so that its effect on the hash is tested."""
        fixed = {
            "preset",
            "workload",
            "augment",
            *("split.dev_is", "split.select", "tasks.sst.source.test"),  # hashed together: tests/training/test_held_out
            *("split.folds", "split.fold"),  # tests/training/test_folds
            "encoder.stride",  # not with the joint pairs of this workload: tests/training/test_windows
            *("quantization.double_quant", "quantization.compute_dtype"),  # tests/methods/test_quantized
            "quantization.library",  # tests/methods/test_weight_only
            *("tasks.sst.loss", "tasks.sst.metric"),  # tests/training/test_objective and test_metrics
            "tasks.sst.sample_weight",  # tests/training/test_sample_weights
            "tasks.sst.threshold",  # of other kinds: tests/training/test_threshold
            *("head.kind", "head.layers", "head.width", "head.tasks", "head.bias"),
            *("method.name", "method.train_pooler"),  # the pooler: tests/methods/test_task_weights
            "method.rank_pattern",  # tests/methods/test_rank_pattern
            "tasks.sst.name",
            *("tasks.sst.kind", "tasks.sst.group"),
            "tasks.sst.source.type",
        }
        keys = {key for key, _ in flatten(resolve("dora-r12").spec.model_dump(mode="json"))}
        keys = {key for key in keys if not key.startswith(("tasks.paraphrase", "tasks.sts"))} - fixed
        changed = {change.partition("=")[0].replace("tasks.sts.", "tasks.sst.") for change in CHANGES}
        assert keys == changed

    def test_a_spec_from_before_a_key_keeps_its_hash(self) -> None:
        """A missing key in its JSON means the default: the same run and group."""
        spec = resolve("dora-r12").spec
        tree = json.loads(spec.canonical_json())
        for key in (
            *("schedule", "warmup_ratio", "clip_norm", "accumulation_steps", "max_steps", "patience"),
            *("limit_examples", "gradient_checkpointing"),
        ):
            del tree["train"][key]
        for key in ("kind", "layers", "width", "tasks", "bias"):
            del tree["head"][key]
        del tree["augment"], tree["split"], tree["quantization"], tree["encoder"]["stride"]
        del tree["eval"]["every"], tree["eval"]["dev_examples"]
        for key in ADDED_METHOD_KEYS:
            del tree["method"][key]
        for task in tree["tasks"]:
            for key in ("labels", "missing", "group", "loss", "metric", "sample_weight", "threshold"):
                del task[key]
            del task["source"]["test"]
        old = RunSpec.model_validate_json(json.dumps(tree))
        assert old == spec
        tree["train"]["prefix_cache"] = tree["train"].pop("cache_frozen_features")  # hashed under its former name
        determinants = {key: value for key, value in tree.items() if key not in ("preset", "workload")}
        text = json.dumps(determinants, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert old.hash() == hashlib.sha256(text.encode()).hexdigest()

    @pytest.mark.parametrize(
        "wrong",
        [
            *("schedule=step", "warmup_ratio=1", "warmup_ratio=-0.1", "clip_norm=0", "accumulation_steps=0"),
            *("max_steps=0", "patience=0", "limit_examples=0", "gradient_checkpointing=2", "warmup_ratio=nan"),
        ],
    )
    def test_training_options_out_of_range_are_refused(self, wrong: str) -> None:
        with pytest.raises(UsageError, match=f"train.{wrong.partition('=')[0]}"):
            resolve("dora-r12", overrides=[f"train.{wrong}"])

    def test_a_metric_and_a_loss_that_it_would_have_anyway_do_not_count(self) -> None:
        plain = resolve("dora-r12").spec
        stated = resolve("dora-r12", overrides=["tasks.sst.metric=accuracy", "tasks.sst.loss.label_smoothing=0.0"]).spec
        assert stated.tasks[0].loss is not None
        assert (stated.hash(), stated.group_hash()) == (plain.hash(), plain.group_hash())
        other = resolve("dora-r12", overrides=["tasks.sst.metric=mcc"]).spec
        assert other.hash() != plain.hash()

    def test_the_first_version_with_test_splits_hashed_less_and_more(self) -> None:
        """It left out the test file that a run scores, and hashed a metric that is the default."""
        overrides = ["split.dev_is=select", "tasks.sst.metric=accuracy"]
        overrides += [f"tasks.{task}.source.test=test.csv" for task in ("sst", "paraphrase", "sts")]
        spec = resolve("dora-r12", "paper", overrides=overrides).spec
        other = resolve("dora-r12", "paper", overrides=[*overrides, "tasks.sst.source.test=other.csv"]).spec
        assert spec.hash() != other.hash()
        tree = spec.determinants()
        for task in tree["tasks"]:
            del task["source"]["test"]
        tree["tasks"][0]["metric"] = "accuracy"
        text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == hashes(spec)[1][0] == hashes(other)[1][0]

    def test_a_spec_of_files_from_before_quoting_keeps_its_hash(self) -> None:
        spec = resolve("dora-r12", "paper").spec
        tree = json.loads(spec.canonical_json())
        for task in tree["tasks"]:
            for key in ("labels", "missing", "group", "loss", "metric", "sample_weight", "threshold"):
                del task[key]
            del task["source"]["quoting"]
        old = RunSpec.model_validate_json(json.dumps(tree))
        assert old == spec
        for task in tree["tasks"]:
            del task["source"]["root"], task["source"]["test"]
        for part, keys in ADDED_KEYS.items():
            for key in keys:
                del tree[part][key]
        for key in ADDED_METHOD_KEYS:
            del tree["method"][key]
        tree["train"]["prefix_cache"] = tree["train"].pop("cache_frozen_features")
        left_out = ("preset", "workload", "augment", "split", "quantization")
        determinants = {key: tree[key] for key in tree if key not in left_out}
        text = json.dumps(determinants, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert old.hash() == spec.hash() == hashlib.sha256(text.encode()).hexdigest()
        other = resolve("dora-r12", "paper", overrides=["tasks.sst.source.quoting=none"]).spec
        assert other.hash() != spec.hash()

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ('tasks.sst.labels=["a", "b"]', "2 names for 5 classes"),
            ('tasks.sst.labels=["a", "b", "c", "d", "a"]', "must be different"),
            ('tasks.sst.labels=["a", "b", "c", "d", " e"]', "without white space"),
            ('tasks.sts.labels=["a", "b"]', "has no meaning for a task of kind 'similarity'"),
            ("tasks.sst.missing=drop", "tasks.sst.missing"),
        ],
    )
    def test_labels_and_missing_are_checked(self, change: str, reason: str) -> None:
        with pytest.raises(UsageError) as caught:
            resolve("dora-r12", overrides=[change])
        assert reason in str(caught.value.message)

    def test_names_are_labels(self, own) -> None:
        text = '[method]\nname = "dora"\nrank = 12\n[train]\nlr = 1e-4\n'
        same = resolve(own("renamed.toml", text), "paper").spec
        assert same.hash() == resolve("dora-r12", "paper").spec.hash()

    def test_the_folder_of_the_data_is_a_label(self, tmp_path: Path) -> None:
        moved = resolve("full", "paper", data=[str(tmp_path)]).spec
        assert moved.hash() == resolve("full", "paper").spec.hash()
        assert moved.canonical_json() != resolve("full", "paper").spec.canonical_json()

    def test_the_names_of_the_files_are_not(self) -> None:
        other = resolve("full", "paper", overrides=["tasks.sst.source.train=other.csv"]).spec
        assert other.hash() != resolve("full", "paper").spec.hash()

    def test_a_whole_number_written_as_one_is_the_same_value(self) -> None:
        hashes = {resolve("dora-r12", overrides=[f"method.alpha={a}"]).spec.hash() for a in ("12", "12.0", "1.2e1")}
        assert hashes == {resolve("dora-r12").spec.hash()}

    def test_the_order_of_the_tasks_matters(self, own) -> None:
        parts = [f'[tasks.{name}.source]\ntype = "quickstart"\n' for name in ("sst", "sts")]
        head = '[encoder]\nname = "x"\n'
        one, other = (resolve("full", own("mine.toml", head + "".join(order))).spec for order in (parts, parts[::-1]))
        assert one.hash() != other.hash()

    @pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
    def test_a_group_is_all_seeds(self, seed: int) -> None:
        assert resolve("full", seed=seed).spec.group_hash() == resolve("full", seed=17).spec.group_hash()

    def test_a_spec_is_frozen(self) -> None:
        spec = resolve("full").spec
        with pytest.raises(ValueError, match="frozen"):
            spec.train.epochs = 3


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Install a distribution that declares one method plug-in, for the duration of a test."""

    def install(value: str, source: str) -> None:
        (tmp_path / "their_methods.py").write_text(source)
        info = tmp_path / "their_methods-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-methods\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[peftbench.methods]\ntheirs = {value}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        registered.cache_clear()

    yield install
    registered.cache_clear()
    sys.modules.pop("their_methods", None)


PLUG_IN = """
from pydantic import Field
from peftbench.methods.options import MethodOptions
from peftbench.methods.registry import MethodInfo

class Options(MethodOptions):
    width: int = Field(4, ge=1)

class Bottleneck:
    pass

info = MethodInfo("{name}", "a bottleneck", Options, "their_methods:Bottleneck", independent_tasks=True)
"""


class TestPlugIns:
    def preset(self, own) -> str:
        return own("mine.toml", '[method]\nname = "bottleneck"\nwidth = 8\n[train]\nlr = 0.01\n')

    def test_a_plug_in_joins_through_its_entry_point(self, own, plug_in) -> None:
        plug_in("their_methods:info", PLUG_IN.format(name="bottleneck"))
        spec = resolve(self.preset(own)).spec
        assert (spec.method.name, spec.method.width) == ("bottleneck", 8)
        assert RunSpec.model_validate_json(spec.canonical_json()) == spec
        assert method_info("bottleneck").load().__name__ == "Bottleneck"
        assert "bottleneck" in registered()

    def test_its_options_are_checked_like_ours(self, own, plug_in) -> None:
        plug_in("their_methods:info", PLUG_IN.format(name="bottleneck"))
        assert "'method.width' = 0 (--set)" in refusal(self.preset(own), overrides=["method.width=0"])
        assert "did you mean 'width'" in refusal(self.preset(own), overrides=["method.widht=1"])

    @pytest.mark.parametrize(
        ("value", "source", "said"),
        [
            ("their_methods:info", "raise RuntimeError('their mistake')", "cannot be imported: their mistake"),
            ("their_methods:absent", "", "cannot be imported"),
            ("no_such_module_anywhere:info", "", "cannot be imported"),
            ("their_methods:info", "info = 3", "is not a MethodInfo"),
            ("their_methods:info", PLUG_IN.format(name="lora"), "uses the name 'lora', which is already taken"),
        ],
    )
    def test_a_bad_one_is_named_and_leaves_the_built_in_methods_alone(
        self, own, plug_in, value: str, source: str, said: str
    ) -> None:
        plug_in(value, source)
        assert said in refusal(self.preset(own))
        assert resolve("dora-r12").spec.method.name == "dora"

    def test_without_it_its_name_is_unknown(self, own) -> None:
        told = refusal(self.preset(own))
        assert "unknown method 'bottleneck'" in told
        assert "last-layer, full, lora, dora" in told

"""Sweeps: file parsing and checks, every combination once, and a balanced order of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.errors import UsageError
from peftbench.spec import resolve, shipped
from peftbench.spec.sweep import SweepFile, SweepPlan, interleaved, parse_seeds, plan, read_sweep

Write = Callable[[str], str]

TWO = 'presets = ["last-layer", "lora-r12"]\n'
RANKS = TWO + '[grid]\n"method.rank" = [4, 8, 12]\n"train.lr" = [1e-4, 5e-4]\n'


@pytest.fixture
def own(tmp_path: Path) -> Write:
    """Write a sweep file into the test's folder and return its path as a user would pass it."""

    def write(text: str, name: str = "mine.toml") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def refusal(name: str, **options: object) -> str:
    """Return the error message and hint for an invalid sweep."""
    with pytest.raises(UsageError) as caught:
        plan(read_sweep(name), **options)
    return f"{caught.value.message}\n{caught.value.hint or ''}"


def labels(planned: SweepPlan, seed: int = 0) -> list[str]:
    return [run.label for run in planned.runs if run.seed == seed]


class TestShipped:
    @pytest.mark.parametrize("workload", [None, "paper", "paper-hub"])
    @pytest.mark.parametrize("name", shipped("sweep"))
    def test_every_sweep_says_what_it_is_and_makes_a_plan(self, name: str, workload: str | None) -> None:
        sweep = read_sweep(name)
        assert (sweep.name, sweep.path) == (name, shipped("sweep")[name])
        assert len(sweep.description) > 10
        planned = plan(sweep, workload=workload)
        assert planned.runs and not planned.repeated
        assert planned.workload == (workload or "quickstart")

    def test_the_study_has_ten_rows_and_three_seeds(self) -> None:
        planned = plan(read_sweep("study"))
        assert labels(planned) == [
            "last-layer", "last-layer-dropout", "full", "lora-r12",
            "dora-r1", "dora-r4", "dora-r12", "dora-r24", "dora-r128",
            "dora-r12-augmented",
        ]  # fmt: skip
        assert (len(planned.runs), planned.seeds, planned.left_out) == (30, (0, 1, 2), ())
        assert len({run.resolved.spec.group_hash() for run in planned.runs}) == 10

    def test_figure_2_has_the_ranks_from_1_to_128(self) -> None:
        ranks = [run.resolved.spec.method.rank for run in plan(read_sweep("figure2"), seeds=[0]).runs]
        assert ranks == [1, 4, 12, 24, 128]

    def test_the_learning_rate_search_is_the_same_for_each_method(self) -> None:
        runs = plan(read_sweep("lr")).runs
        found = {preset: [run for run in runs if run.resolved.spec.preset == preset] for preset in ("full", "dora-r12")}
        assert {preset: len(mine) for preset, mine in found.items()} == {"full": 4, "dora-r12": 4}

    def test_dropout_leaves_the_adapters_own_out_where_there_is_no_adapter(self) -> None:
        planned = plan(read_sweep("dropout"), seeds=[0])
        assert len(labels(planned)) == 4 + 8 + 8
        assert labels(planned)[0] == "full head.dropout=0.0 encoder.dropout=0.0"


class TestValues:
    def test_a_run_is_what_run_with_the_same_values_would_be(self, own: Write) -> None:
        sweep = read_sweep(own('presets = ["lora-r12"]\n[set]\ntrain.epochs = 2\n[grid]\n"method.rank" = [4]\n'))
        (run,) = plan(sweep, seeds=[7], overrides=["train.batch_size=16"]).runs
        same = resolve("lora-r12", overrides=["train.epochs=2", "method.rank=4", "train.batch_size=16"], seed=7).spec
        assert run.resolved.spec == same

    def test_origins_say_which_value_the_sweep_set(self, own: Write) -> None:
        text = 'presets = ["lora-r12"]\n[set]\ntrain.epochs = 2\nhead.dropout = 0.1\n[grid]\n"method.rank" = [4, 8]\n'
        run = plan(read_sweep(own(text)), overrides=["head.dropout=0.3"]).runs[0]
        origins = run.resolved.origins
        assert (origins["train.epochs"], origins["method.rank"]) == ("sweep mine", "sweep mine, grid")
        assert (origins["head.dropout"], run.resolved.spec.head.dropout) == ("--set", 0.3)
        assert (origins["seed"], origins["train.batch_size"]) == ("sweep mine", "default")
        assert plan(read_sweep(own(text)), seeds=[5]).runs[0].resolved.origins["seed"] == "--seeds"

    def test_tables_and_dotted_keys_are_the_same(self, own: Write) -> None:
        nested = own(TWO + "[set.train]\nepochs = 2\n[grid.train]\nlr = [1e-4]\n", "a.toml")
        dotted = own(TWO + '[set]\n"train.epochs" = 2\n[grid]\ntrain.lr = [1e-4]\n', "b.toml")
        assert read_sweep(nested).settings == read_sweep(dotted).settings == {"train.epochs": 2}
        assert read_sweep(nested).grid == read_sweep(dotted).grid == {"train.lr": (1e-4,)}

    def test_the_workload_is_the_options_then_the_files_then_quickstart(self, own: Write) -> None:
        assert plan(read_sweep(own(TWO))).workload == "quickstart"
        sweep = read_sweep(own('workload = "glue"\n' + TWO))
        assert plan(sweep).workload == "glue"
        assert plan(sweep, workload="paper").workload == "paper"

    def test_a_path_in_a_sweep_starts_at_its_file(self, own: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        own('[method]\nname = "lora"\nrank = 3\n[train]\nlr = 0.5\n', "small.toml")
        sweep = own('presets = ["./small.toml"]\n')
        monkeypatch.chdir("/")
        (run,) = plan(read_sweep(sweep)).runs
        assert (run.label, run.resolved.spec.method.rank) == ("small", 3)

    def test_a_label_has_only_what_varies_and_tells_like_named_keys_apart(self, own: Write) -> None:
        text = 'presets = ["lora-r12"]\n[grid]\n"train.lr" = [1e-4]\n"head.dropout" = [0.1, 0.2]\n'
        assert labels(plan(read_sweep(own(text)))) == ["lora-r12 dropout=0.1", "lora-r12 dropout=0.2"]
        both = text + '"method.dropout" = [0.0, 0.1]\n"method.targets" = [["query"], ["query", "value"]]\n'
        found = labels(plan(read_sweep(own(both))))
        assert found[0] == "lora-r12 head.dropout=0.1 method.dropout=0.0 targets=query"
        assert found[-1] == "lora-r12 head.dropout=0.2 method.dropout=0.1 targets=query+value"

    def test_two_files_of_one_name_are_told_apart(self, own: Write, tmp_path: Path) -> None:
        recipe = '[method]\nname = "lora"\nrank = 3\n[train]\nlr = 0.5\n'
        for folder, text in (("a", recipe), ("b", recipe.replace("3", "4"))):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "x.toml").write_text(text)
        assert labels(plan(read_sweep(own('presets = ["a/x.toml", "b/x.toml"]\n')))) == ["a/x.toml", "b/x.toml"]


class TestSeeds:
    @pytest.mark.parametrize(
        ("text", "seeds"), [("3", (0, 1, 2)), ("1", (0,)), ("0,4,7", (0, 4, 7)), (" 9 , 2", (9, 2))]
    )
    def test_a_number_or_a_list(self, text: str, seeds: tuple[int, ...]) -> None:
        assert parse_seeds(text) == seeds

    @pytest.mark.parametrize(
        "text", ["", "0", "-1", "x", "1.5", "3,3", "1,", "1001", "9" * 30, "1,99999999999999999999"]
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="--seeds"):
            parse_seeds(text)

    @pytest.mark.parametrize(("line", "seeds"), [("", (0,)), ("seeds = 2\n", (0, 1)), ("seeds = [5, 3]\n", (5, 3))])
    def test_of_the_file(self, own: Write, line: str, seeds: tuple[int, ...]) -> None:
        assert read_sweep(own(line + TWO)).seeds == seeds

    @pytest.mark.parametrize("value", ["0", "-1", '"3"', "true", "1.5", "[]", "[1, 1]", "[true]", "[-1]", "[0.5]"])
    def test_wrong_ones_of_the_file(self, own: Write, value: str) -> None:
        assert "mine.toml" in refusal(own(f"seeds = {value}\n{TWO}"))


class TestSkip:
    def test_a_condition_leaves_out_what_every_line_of_it_applies_to(self, own: Write) -> None:
        text = 'presets = ["lora-r12", "dora-r12"]\nseeds = 2\n[grid]\nmethod.rank = [4, 8]\ntrain.lr = [1e-4, 5e-4]\n'
        first = '[[skip]]\npreset = "dora-r12"\n"method.rank" = 8\n"train.lr" = [1e-4]\n'
        second = "[[skip]]\nseed = 1\nmethod.rank = 4\n"
        planned = plan(read_sweep(own(text + first + second)))
        assert [(one.label, one.seed, one.skip) for one in planned.left_out] == [
            ("dora-r12 rank=8 lr=0.0001", 0, 1),
            ("lora-r12 rank=4 lr=0.0001", 1, 2),
            ("lora-r12 rank=4 lr=0.0005", 1, 2),
            ("dora-r12 rank=4 lr=0.0001", 1, 2),
            ("dora-r12 rank=4 lr=0.0005", 1, 2),
            ("dora-r12 rank=8 lr=0.0001", 1, 1),
        ]
        assert len(planned.runs) == 16 - 6

    def test_a_key_that_a_method_lacks_is_told_with_the_way_out(self, own: Write) -> None:
        said = refusal(own(RANKS))
        assert "unknown key 'method.rank' (sweep mine, grid, " in said
        assert "in 6 of 12 rows: last-layer rank=4 lr=0.0001; " in said
        assert '[[skip]] with preset = ["last-layer"]; with "method.rank" = [8, 12] as well, they run once' in said

    def test_left_out_altogether_it_is_no_mistake(self, own: Write) -> None:
        planned = plan(read_sweep(own(RANKS + '[[skip]]\npreset = "last-layer"\n')))
        assert len(planned.runs) == len(planned.left_out) == 6

    def test_left_with_one_value_it_runs_without_the_key(self, own: Write) -> None:
        planned = plan(read_sweep(own(RANKS + '[[skip]]\npreset = "last-layer"\n"method.rank" = [8, 12]\n')))
        assert labels(planned)[:3] == ["last-layer lr=0.0001", "last-layer lr=0.0005", "lora-r12 rank=4 lr=0.0001"]
        assert planned.runs[0].values == {"train.lr": 1e-4}
        assert planned.runs[0].resolved.spec == resolve("last-layer", overrides=["train.lr=1e-4"], seed=0).spec

    def test_left_with_two_values_it_is_a_mistake_still(self, own: Write) -> None:
        said = refusal(own(RANKS + '[[skip]]\npreset = "last-layer"\n"method.rank" = 8\n'))
        assert "in 4 of 10 rows" in said

    def test_a_grid_of_one_value_is_no_condition(self, own: Write) -> None:
        said = refusal(own(TWO + "[grid]\n'method.rank' = [4]\n"))
        assert "in 1 of 2 rows: last-layer" in said and '[[skip]] with preset = ["last-layer"]\n' in f"{said}\n"

    def test_a_mistyped_key_is_not_waived(self, own: Write) -> None:
        text = RANKS.replace("method.rank", "method.rnk") + '[[skip]]\npreset = "last-layer"\n"method.rnk" = [8, 12]\n'
        assert "unknown key 'method.rnk'" in refusal(own(text)) and "did you mean 'rank'" in refusal(own(text))

    def test_a_list_that_is_a_value_of_the_grid_is_that_value(self, own: Write) -> None:
        text = 'presets = ["lora-r12"]\n[grid]\n"method.targets" = [["query"], ["query", "value"], ["key"]]\n[[skip]]\n'
        one = plan(read_sweep(own(text + '"method.targets" = ["query"]\n')))
        assert labels(one) == ["lora-r12 targets=query+value", "lora-r12 targets=key"]
        two = plan(read_sweep(own(text + '"method.targets" = [["query"], ["key"]]\n')))
        assert labels(two) == ["lora-r12 targets=query+value"]

    def test_true_is_not_1(self, own: Write) -> None:
        key = '"train.cache_frozen_features"'
        text = f'presets = ["full"]\n[grid]\n{key} = [true, false]\n[[skip]]\n{key} = 1\n'
        assert "the sweep has no such value" in refusal(own(text))

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("[[skip]]\n", "[[skip]] 1 is empty"),
            ("[skip]\npreset = 'full'\n", "in double brackets"),
            ("[[skip]]\npreset = 'lora-r13'\n", "did you mean 'lora-r12'"),
            ("[[skip]]\npreset = 3\n", "the sweep has no such value"),
            ("[[skip]]\n'method.rank' = 9\n", "values of method.rank: 4, 8, 12"),
            ("[[skip]]\n'method.rank' = []\n'method.rnk' = 1\n", "did you mean 'method.rank'"),
            ("[[skip]]\n'train.epochs' = 2\n", "'train.epochs' is not a key of [grid]"),
            ("[[skip]]\nseed = 'x'\n", "'seed'"),
            ("[[skip]]\npreset = ['last-layer', 'lora-r12']\n", "exclude every run"),
        ],
    )
    def test_mistakes_in_conditions(self, own: Write, text: str, told: str) -> None:
        said = refusal(own(RANKS + text))
        assert told in said and "mine.toml" in said


class TestRepeats:
    def test_the_same_spec_twice_is_one_run_and_counted(self, own: Write) -> None:
        text = 'presets = ["dora-r4", "dora-r12"]\nseeds = 2\n[grid]\n"method.rank" = [4, 8]\n'
        planned = plan(read_sweep(own(text)))
        assert sorted(labels(planned)) == ["dora-r4 rank=4", "dora-r4 rank=8"]
        assert [(one.label, one.seed, one.same_as) for one in planned.repeated] == [
            ("dora-r12 rank=4", 0, "dora-r4 rank=4"),
            ("dora-r12 rank=8", 0, "dora-r4 rank=8"),
            ("dora-r12 rank=4", 1, "dora-r4 rank=4"),
            ("dora-r12 rank=8", 1, "dora-r4 rank=8"),
        ]

    def test_seeds_are_no_repeats(self, own: Write) -> None:
        assert len(plan(read_sweep(own(TWO)), seeds=range(5)).runs) == 10


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "'presets' is missing"),
            ("presets = []", "must be a list of names"),
            ("presets = 'full'", "'presets' = 'full'"),
            ("presets = [3]", "must be a list of names"),
            ("preset = ['full']", "unknown key 'preset'; did you mean 'presets'"),
            (TWO + "description = 3", "'description' must be a string"),
            (TWO + "workload = 3", "'workload' must be a string"),
            (TWO + "set = 3", "[set] must be a table"),
            (TWO + "grid = [3]", "[grid] must be a table"),
            (TWO + "[grid]\n'train.lr' = 3", "[grid] 'train.lr' = 3: must be a list of values"),
            (TWO + "[grid]\n'train.lr' = []", "must be a list of values"),
            (TWO + "[grid]\n'train.lr' = [{a = 1}]", "is not a number, string"),
            (TWO + "[set]\n'train.lr' = 2026-01-01", "is not a number, string"),
            (TWO + "[set]\n'train..lr' = 3", "is not a key of a spec"),
            (TWO + "[set]\n'' = 3", "is not a key of a spec"),
            (TWO + "[set]\nseed = 3", "use 'seeds'"),
            (TWO + "[grid]\npreset = ['full']", "use 'presets'"),
            (TWO + "[grid]\nworkload = ['paper']", "use 'workload'"),
            (TWO + "[set]\n'train.lr' = 3\n[set.train]\nlr = 4", "sets 'train.lr' twice"),
            (TWO + "[set]\n'train.lr' = 3\n[grid]\n'train.lr' = [4]", "is in [grid] and 'train.lr' in [set]"),
            (TWO + "[set]\n'train' = 3\n[grid]\n'train.lr' = [4]", "is in [grid] and 'train' in [set]"),
            ("presets = [", "is not valid TOML"),
        ],
    )
    def test_the_file_and_the_key_are_named(self, own: Write, text: str, told: str) -> None:
        said = refusal(own(text))
        assert told in said and "mine.toml" in said

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("[set]\n'train.epoch' = 2", "mine.toml: unknown key 'train.epoch'; did you mean 'epochs'"),
            ("[set]\n'train.epochs' = 0", "'train.epochs' = 0 (sweep mine, "),
            ("[set]\n'train' = 2", "mine.toml: 'train' is a table"),
            ("[set]\n'tasks.ssst.label' = 'x'", "'tasks.ssst.label': no task 'ssst'"),
            ("[grid]\n'tasks' = [3]", "'tasks' is a table"),
            ("[grid]\n'train.lr' = [0.0]", "'train.lr' = 0.0 (sweep mine, grid, "),
        ],
    )
    def test_what_no_spec_takes_is_told_as_for_a_run(self, own: Write, text: str, told: str) -> None:
        assert told in refusal(own(TWO + text))

    def test_all_wrong_combinations_are_told_at_once(self, own: Write) -> None:
        said = refusal(own(TWO + "[grid]\n'train.lr' = [0.0, 1e-3, 11.0]\n"))
        assert "'train.lr' = 0.0" in said and "'train.lr' = 11.0" in said
        assert "in 2 of 6 rows: last-layer lr=11.0; lora-r12 lr=11.0" in said

    def test_an_unknown_preset_and_sweep_are_told_with_the_nearest(self, own: Write) -> None:
        assert "unknown preset 'lora-r13'; did you mean 'lora-r12'" in refusal(own('presets = ["lora-r13"]\n'))
        with pytest.raises(UsageError, match="unknown sweep 'sudy'; did you mean 'study'"):
            read_sweep("sudy")
        with pytest.raises(UsageError, match=r"sweep file './no\.toml' does not exist"):
            read_sweep("./no.toml")

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("train.lr=1", "varies 'train.lr'"),
            ("method.rank = 3", "varies 'method.rank'"),
            ("method=3", "varies 'method.rank'"),
            ("seed=3", "use --seeds"),
            ("preset=full", "use --preset"),
            ("train.epoch=3", "did you mean 'epochs'"),
        ],
    )
    def test_a_set_that_the_sweep_decides(self, own: Write, override: str, told: str) -> None:
        text = RANKS.replace('"last-layer", ', "")
        assert told in refusal(own(text), overrides=[override])

    def test_too_many_runs_are_refused_before_any_is_made(self, own: Write) -> None:
        rates = ", ".join(f"{n}e-6" for n in range(1, 400))
        said = refusal(own(TWO + f"[grid]\n'train.lr' = [{rates}]\n'train.eps' = [{rates}]\n"), seeds=range(100))
        assert "31,840,200 combinations; a sweep may have at most 10,000" in said


VALUES = {"train.lr": (1e-4, 5e-4, 1e-3), "head.dropout": (0.0, 0.1, 0.2), "train.batch_size": (4, 8)}
PRESETS = ("last-layer", "full", "lora-r12", "dora-r12")


@st.composite
def sweeps(draw: st.DrawFn) -> SweepFile:
    def some(values: tuple, least: int = 1) -> tuple:
        return tuple(draw(st.lists(st.sampled_from(values), min_size=least, max_size=len(values), unique=True)))

    presets, seeds = some(PRESETS), some((0, 1, 2, 7))
    grid = {key: some(VALUES[key]) for key in some(tuple(VALUES), 0)}
    known = {"preset": presets, "seed": seeds, **grid}
    skips = [{key: some(known[key]) for key in some(tuple(known))} for _ in range(draw(st.integers(0, 3)))]
    return SweepFile("any", Path("any.toml"), "", None, presets, seeds, {"train.epochs": 1}, grid, tuple(skips))


class TestOrder:
    @pytest.mark.slow
    @settings(max_examples=60)
    @given(sweeps())
    def test_every_combination_once_and_every_seeds_block_has_each_row_once(self, sweep: SweepFile) -> None:
        wanted = [
            (seed, preset, values)
            for seed in sweep.seeds
            for preset in sweep.presets
            for values in itertools.product(*sweep.grid.values())
        ]

        def is_skipped(seed: int, preset: str, values: tuple) -> bool:
            facts = {"seed": seed, "preset": preset, **dict(zip(sweep.grid, values, strict=True))}
            return any(all(facts[key] in allowed for key, allowed in skip.items()) for skip in sweep.skips)

        left = [one for one in wanted if not is_skipped(*one)]
        if not left:
            with pytest.raises(UsageError, match="exclude every run"):
                plan(sweep)
            return
        planned = plan(sweep)
        found = [(run.seed, run.resolved.spec.preset, tuple(run.values.values())) for run in planned.runs]
        assert len(found) == len(left) and set(found) == set(left)
        assert len(planned.left_out) == len(wanted) - len(left) and not planned.repeated
        assert all(run.resolved.spec.seed == run.seed for run in planned.runs)
        blocks = [list(block) for _, block in itertools.groupby(found, key=lambda one: one[0])]
        in_file = [[one for one in left if one[0] == seed] for seed in sweep.seeds]
        assert [sorted(block) for block in blocks] == [sorted(block) for block in in_file if block]
        for place, seed in enumerate(sweep.seeds):
            mine = in_file[place]
            if mine:  # block i starts at row i
                first = next(one for one in found if one[0] == seed)
                assert first == mine[place % len(mine)]

    @given(st.lists(st.lists(st.integers(), max_size=5), max_size=5))
    def test_interleaving_loses_and_invents_nothing(self, blocks: list[list[int]]) -> None:
        assert sorted(interleaved(blocks)) == sorted(itertools.chain(*blocks))

    def test_each_row_comes_first_once(self) -> None:
        assert list(interleaved(["abc", "abc", "abc", "abc"])) == list("abcbcacababc")

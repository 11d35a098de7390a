"""Tables, TensorBoard events, destinations of exports, and the commands."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peftbench.cli.interchange import export, import_bundle
from peftbench.errors import MissingError, UsageError
from peftbench.interchange import tables, tensorboard
from peftbench.interchange.destinations import MARK, whole_file, whole_folder
from peftbench.spec import Resolved, resolve
from peftbench.store.reader import Reader
from tests.interchange.runs import record_of, stored_run
from tests.tiny import TASKS, tiny_overrides


@pytest.fixture(scope="module")
def resolved() -> Resolved:
    return resolve("lora-r12", overrides=tiny_overrides(Path("/nowhere")))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, resolved: Resolved) -> Path:
    path = tmp_path_factory.mktemp("tables") / "runs.db"
    stored_run(path, resolved)
    return path


def exported(database: Path, out: Path, what: Any, **options: Any) -> Path:
    options = {"best": "average", "weights": True, "force": False, **options}
    export("forged-1", out, what, db=database, **options)
    return out


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_holds_every_row_and_leaves_out_what_is_not_there(database: Path, tmp_path: Path) -> None:
    out = exported(database, tmp_path / "out", "csv")
    assert {path.stem for path in out.glob("*.csv")} == {
        *(
            "runs",
            "epochs",
            "scores",
            "task_bests",
            "predictions",
            "losses",
            "interim_scores",
            "phases",
            "samples",
            "events",
        )
    }
    scores = read(out / "scores.csv")
    assert len(scores) == 2 * 3 * 2
    assert [row["value"] for row in scores if row["task"] == "sst" and row["split"] == "dev"] == ["0.25", "0.5"]
    assert {row["power_w"] for row in read(out / "phases.csv")} == {""}  # missing values are empty, not 0
    assert len(read(out / "predictions.csv")) == 3 * 4


def test_csv_runs_no_formula_and_keeps_numbers(tmp_path: Path) -> None:
    rows = [
        {"example_id": "=1+1", "label": -1.5, "text": 'a "b",\n=c'},
        {"example_id": "@x", "label": 0.0, "text": "-"},
    ]
    assert tables.write_csv({"predictions": rows, "losses": []}, tmp_path) == {"predictions": 2}
    found = read(tmp_path / "predictions.csv")
    assert [row["example_id"] for row in found] == ["'=1+1", "'@x"]
    assert [row["label"] for row in found] == ["-1.5", "0.0"]
    assert found[0]["text"] == 'a "b",\n=c'


def test_json_is_what_show_prints_and_the_long_tables(database: Path, tmp_path: Path) -> None:
    found = json.loads(exported(database, tmp_path / "run.json", "json").read_text())
    assert (found["name"], found["state"], found["spec"]["preset"]) == ("forged-1", "finished", "lora-r12")
    assert len(found["predictions"]) == 3 * 4 and found["predictions"][0].keys() >= {
        "example_id",
        "label",
        "prediction",
    }
    assert [row["loss"] for row in found["losses"]] == [0.7, 0.7]
    assert [row["rss_mib"] for row in found["samples"]] == [101.5, 102.5]


def test_the_curves_of_a_run(database: Path) -> None:
    with Reader(database) as reader:
        run_id = reader.find("forged-1").id
    losses = [
        {"step": 3, "epoch": 1, "task": "sst", "steps": 3, "loss": 0.7, "metric": 0.5, "lr": None, "grad_norm": 2.0}
    ]
    meters = dict.fromkeys(tensorboard._METERS)
    samples = [{**meters, "at_s": 100.0, "power_w": 50.0}, {**meters, "at_s": 107.2, "power_w": None, "rss_mib": 9.0}]
    found = {
        kind: list(points) for kind, points in tensorboard.curves(record_of(database, run_id), losses, samples).items()
    }
    dev = {(point.tag, point.step): point.value for point in found["dev"]}
    assert dev["sst/accuracy", 2] == 0.5 and dev["sts/pearson", 1] == 0.25 and dev["all tasks/dev avg", 2] == 0.5
    assert {point.tag for point in found["train"]} == {
        f"{t}/{m}" for t in TASKS for m in ("loss", "accuracy", "pearson")
    } - {*("sst/pearson", "paraphrase/pearson", "sts/accuracy")}
    assert [(p.tag, p.step, p.value) for p in found["steps"]] == [
        ("sst/training loss", 3, 0.7),
        ("sst/training metric", 3, 0.5),
        ("sst/gradient norm", 3, 2.0),
    ]
    assert [(p.tag, p.step, p.value) for p in found["meters"]] == [
        ("meters/power_w", 0, 50.0),
        ("meters/rss_mib", 7, 9.0),
    ]
    assert found["dev"][0].wall_time == 1767225600.0  # 2026-01-01, the end of epoch 1


def test_tensorboard_itself_reads_the_events(database: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = exported(database, tmp_path / "out", "tensorboard")
    assert {path.parent.name for path in out.rglob("events.*")} == {"dev", "train", "steps", "meters"}
    dev = EventAccumulator(str(out / "dev"))
    dev.Reload()
    assert [(point.step, point.value) for point in dev.Scalars("sst/accuracy")] == [(1, 0.25), (2, 0.5)]
    steps = EventAccumulator(str(out / "steps"))
    steps.Reload()
    assert [point.step for point in steps.Scalars("sst/training loss")] == [3, 6]


def test_without_tensorboard_the_error_says_what_to_install(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(MissingError) as caught:
        exported(database, tmp_path / "out", "tensorboard")
    assert caught.value.hint == "pip install 'peftbench[tensorboard]'"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["csv", "json", "bundle"])
def test_nothing_is_overwritten_without_force(what: str, database: Path, tmp_path: Path) -> None:
    out = exported(database, tmp_path / "out", what)
    with pytest.raises(UsageError, match=r"earlier export|already exists") as caught:
        exported(database, tmp_path / "out", what)
    assert "--force" in (caught.value.hint or "")
    exported(database, out, what, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_export_is_not_replaced_even_with_force(database: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for out in (tmp_path / "mine", tmp_path / "link"):
        for what in ("csv", "json", "peft"):
            with pytest.raises(UsageError, match="already exists"):
                exported(database, out, what, force=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    (tmp_path / "none").mkdir()
    exported(database, tmp_path / "none", "csv")  # an empty folder may be replaced


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fails(file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(MissingError, match="No space left"):
        whole_file(tmp_path / "x.json", False, fails)
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "x", False, {}) as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with whole_folder(tmp_path / "x", False, {"format": "csv"}) as folder:
        (folder / "one").write_text("1")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "x", True, {}):
        raise RuntimeError
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted(["one", MARK])


def test_a_bundle_goes_from_one_database_to_another(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(database, tmp_path / "run.zip", "bundle")
    said = capsys.readouterr().out
    assert "weights: epoch-2.safetensors (0.0 MiB)" in said
    assert "weights: epoch-2-sts.safetensors no longer exists" in said
    import_bundle(out, db=tmp_path / "other.db")
    assert capsys.readouterr().out.startswith("imported: forged-1 (")
    import_bundle(out, db=tmp_path / "other.db")
    assert capsys.readouterr().out.startswith("already imported: forged-1 (")
    light = exported(database, tmp_path / "light.zip", "bundle", weights=False)
    assert light.stat().st_size < out.stat().st_size
    import_bundle(light, db=tmp_path / "third.db")
    assert "weights: none" in capsys.readouterr().out


@pytest.mark.slow
def test_tables_and_bundles_load_nothing_heavy(database: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from peftbench.cli.interchange import export, import_bundle
here = Path({str(tmp_path)!r})
for what in ("csv", "json", "bundle"):
    export("forged-1", here / what, what, best="average", weights=True, force=False, db=Path({str(database)!r}))
import_bundle(here / "bundle", db=here / "other.db")
print("LOADED", *(name for name in ("torch", "transformers", "peft", "datasets", "scipy") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("LOADED")[1].split() == []


@pytest.mark.slow
def test_errors_have_their_exit_codes(database: Path, tmp_path: Path) -> None:
    def code(*arguments: object) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "peftbench", *map(str, arguments), "--db", database], capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr
        return done.returncode

    (tmp_path / "bad.zip").write_bytes(b"PK")
    assert code("import", tmp_path / "none.zip") == 3
    assert code("import", tmp_path / "bad.zip") == 3
    assert code("export", "nobody", tmp_path / "out", "--format", "csv") == 3
    assert code("export", "forged-1", tmp_path / "out", "--format", "docx") == 2
    assert code("export", "forged-1", tmp_path, "--format", "json") == 2

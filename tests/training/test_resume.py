"""A run stopped or killed at any point resumes bit-identically: weights, scores, losses, predictions, bests."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from peftbench.errors import Interrupted, StorageError
from peftbench.jobs import execute as jobs_execute
from peftbench.jobs.execute import KEPT_SAFE, execute
from peftbench.spec import Resolved, RunSpec
from peftbench.store.rows import EpochResult, RunSettings
from peftbench.training import checkpoint, loop, stepper
from peftbench.training import progress as pace
from peftbench.training.files import checkpoint_number, remove_checkpoints
from peftbench.training.resume import state_of
from tests.marks import soaked_but
from tests.recorders import Crash, Kept

EVERYTHING = (
    *("train.epochs=4", "train.batch_size=4", "train.schedule=cosine", "train.warmup_ratio=0.2"),
    *("train.accumulation_steps=2", "train.clip_norm=0.5", "train.patience=2", "train.max_steps=8"),
    *("train.batching=bucketed", "encoder.dropout=0.1", "eval.every=2", "eval.dev_examples=5"),
)
pytestmark = pytest.mark.usefixtures("no_prediction")

METHODS = {
    "last-layer": ("encoder.dropout=0",),  # with its prefix cached
    "full": (),
    "lora-r12": ("method.dropout=0.1", "train.gradient_checkpointing=true"),
    "lora-r12-top6": ('method.layers="1"', "encoder.dropout=0"),
    "dora-r12": ("precision=autocast",),
    "loraplus-r12": ("runtime=transformers",),
    "delta-lora-r12": ("method.start=3",),
    "adalora-r12": ("method.every=2",),
    "pissa-r12": (),
    "boft-b8": (),
    "bitfit": (),
    "houlsby-m48": ("train.gradient_checkpointing=true",),
    "pfeiffer-m48": (),
}


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Progress is reported at every step, regardless of the time."""
    monkeypatch.setattr(pace, "PROGRESS_EVERY_S", -1.0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The final state of every trainer that finished."""
    found: list[dict[str, Any]] = []
    plain = jobs_execute._measured_memory

    def seen(memory: Any, trainer: loop.Trainer, recorder: Any) -> Any:
        found.append(state_of(trainer))
        return plain(memory, trainer, recorder)

    monkeypatch.setattr(jobs_execute, "_measured_memory", seen)
    return found


@dataclass(frozen=True)
class Whole:
    """What a run comes to that nothing interrupts."""

    reason: str | None
    rows: dict[tuple[Any, ...], Any]
    end: dict[str, Any]
    left: dict[str, bytes]


Uninterrupted = Callable[[RunSpec], Whole]


@pytest.fixture(scope="module")
def _whole_runs() -> dict[str, Whole]:
    return {}


@pytest.fixture
def uninterrupted(_whole_runs: dict[str, Whole], ends: list[dict[str, Any]], tmp_path: Path) -> Uninterrupted:
    """Return a function that runs a spec without interruption, each spec once."""

    def run(spec: RunSpec) -> Whole:
        if spec.hash() not in _whole_runs:
            kept = Kept()
            reason = execute(spec, kept, tmp_path / "whole")
            _whole_runs[spec.hash()] = Whole(reason, kept.rows, ends.pop(), left_by(tmp_path / "whole"))
        return _whole_runs[spec.hash()]

    return run


def same(one: Any, other: Any) -> bool:
    """Tell whether two states are bit-identical."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def left_by(folder: Path) -> dict[str, bytes]:
    """Return all results of a run, after its worker deleted its checkpoints."""
    remove_checkpoints(folder)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_in_parts(
    spec: RunSpec, folder: Path, kept: Kept, next_end: Callable[[Kept], None], settings: RunSettings = KEPT_SAFE
) -> tuple[str | None, int]:
    """Run to the end, resuming after each stop or crash; return the reason of its end, and the number of sessions."""
    for parts in range(1, 60):
        kept.stop_at = kept.die_at = float("inf")
        next_end(kept)
        torch.manual_seed(parts)  # the state of another process
        random.seed(parts)
        try:
            return execute(spec, kept, folder, settings=settings), parts
        except (Interrupted, Crash):
            continue
    raise AssertionError("it never ends")


def assert_same_run(
    whole: Whole, spec: RunSpec, folder: Path, ends: list[dict[str, Any]], next_end: Callable[[Kept], None], **more: Any
) -> tuple[Kept, int]:
    parts = Kept()
    reason, count = run_in_parts(spec, folder, parts, next_end, **more)
    assert reason == whole.reason
    assert whole.rows == parts.rows
    assert whole.left == left_by(folder)
    (end,) = ends
    for key in ("weights", "stepper", "method", "best", "position"):
        assert same(whole.end[key], end[key]), key
    return parts, count


@pytest.mark.slow
@pytest.mark.parametrize("method", soaked_but(("lora-r12", "adalora-r12"), METHODS))
def test_stopped_at_any_progress(
    method: str, tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]], uninterrupted: Uninterrupted
) -> None:
    spec = tiny(method, [*EVERYTHING, *METHODS[method]]).spec
    places = random.Random(f"stop {method}")

    def stop(kept: Kept) -> None:
        kept.stop_at = places.choice((1, 5, 9, 15))

    kept, count = assert_same_run(uninterrupted(spec), spec, tmp_path / "parts", ends, stop)
    assert count > 3
    assert sum(note.startswith("resume: from epoch") for note in kept.notes) >= count - 2
    assert all("bits may differ" not in note for note in kept.notes)


@pytest.mark.slow
@pytest.mark.parametrize("method", soaked_but(("full",), ("full", "lora-r12", "delta-lora-r12", "adalora-r12")))
def test_dead_at_any_point_or_stopped(
    method: str, tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]], uninterrupted: Uninterrupted
) -> None:
    """A crash leaves the last checkpoint; taken at about every step, it is not always at the end of an epoch."""
    spec = tiny(method, [*EVERYTHING, *METHODS[method]]).spec
    places = random.Random(f"die {method}")

    def die(kept: Kept) -> None:
        kept.die_at = places.randint(3, 25)
        kept.stop_at = places.choice((4, 8, float("inf")))

    often = RunSettings(checkpoint_minutes=2e-4)
    _, count = assert_same_run(uninterrupted(spec), spec, tmp_path / "parts", ends, die, settings=often)
    assert count > 2


@pytest.mark.slow
def test_dead_in_the_middle_of_a_step(
    tiny: Callable[..., Resolved],
    tmp_path: Path,
    ends: list[dict[str, Any]],
    uninterrupted: Uninterrupted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = tiny("full", EVERYTHING).spec
    whole = uninterrupted(spec)
    plain, left = stepper.Stepper._update, [float("inf")]

    def torn(self: stepper.Stepper, norm: bool) -> tuple[bool, Tensor | None]:
        done = plain(self, norm)
        left[0] -= 1
        if left[0] <= 0:
            raise Crash
        return done

    monkeypatch.setattr(stepper.Stepper, "_update", torn)
    ends_at = iter((5, 8, 11, float("inf")))
    kept = Kept()
    _, count = run_in_parts(spec, tmp_path / "parts", kept, lambda kept: left.__setitem__(0, next(ends_at)))
    assert count == 4
    assert whole.rows == kept.rows
    assert same(whole.end["weights"], ends[-1]["weights"])


@pytest.mark.slow
def test_the_store_s_plain_defaults_too(
    tiny: Callable[..., Resolved],
    stopped: Stopped,
    tmp_path: Path,
    ends: list[dict[str, Any]],
    uninterrupted: Uninterrupted,
) -> None:
    spec = tiny("dora-r12", ["train.epochs=3"]).spec
    places = iter((4, 6, 2, 9, float("inf")))

    def stop(kept: Kept) -> None:
        kept.stop_at = next(places)

    _, count = assert_same_run(uninterrupted(spec), spec, tmp_path / "parts", ends, stop)
    assert count == 5


Stopped = Callable[[RunSpec, Path, int], Kept]


@pytest.fixture(scope="module")
def _stops(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RunSpec, int], tuple[Path, Kept]]:
    """Return a function that stops a new run once for each spec and number of calls of `progress`."""
    known: dict[tuple[str, int], tuple[Path, Kept]] = {}

    def stop(spec: RunSpec, after: int) -> tuple[Path, Kept]:
        key = (spec.hash(), after)
        if key not in known:
            folder, kept = tmp_path_factory.mktemp("stopped"), Kept(stop_at=after)
            with pytest.raises(Interrupted):
                execute(spec, kept, folder)
            known[key] = (folder, kept)
        return known[key]

    return stop


@pytest.fixture
def stopped(_stops: Callable[[RunSpec, int], tuple[Path, Kept]]) -> Stopped:
    """Return a function that stops a run, or one of a folder again: its files and what was told are the test's own."""

    def stop(spec: RunSpec, folder: Path, after: int) -> Kept:
        if not folder.exists() or not any(folder.iterdir()):
            known, kept = _stops(spec, after)
            shutil.copytree(known, folder, dirs_exist_ok=True)
            return copy.deepcopy(kept)
        kept = Kept(stop_at=after)
        with pytest.raises(Interrupted):
            execute(spec, kept, folder)
        return kept

    return stop


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("checkpoint-*"))


class TestSnapshots:
    @pytest.mark.slow
    def test_two_are_kept_until_the_end_is_written_down(
        self, tiny: Callable[..., Resolved], stopped: Stopped, tmp_path: Path
    ) -> None:
        spec = tiny("lora-r12", ["train.epochs=4"]).spec
        stopped(spec, tmp_path, 38)
        assert len(names(tmp_path)) == 2
        execute(spec, Kept(), tmp_path)
        assert len(names(tmp_path)) == 2, "the store does not say yet that the run is over"
        assert {Path(name).suffix for name in left_by(tmp_path)} == {".safetensors"}

    def test_the_resumed_epoch_is_reported(
        self, tiny: Callable[..., Resolved], stopped: Stopped, tmp_path: Path
    ) -> None:
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, 5)
        told = stopped(spec, tmp_path, 6)
        assert "resume: from epoch 1, paraphrase, step 2 (checkpoint-1)" in told.notes
        told = stopped(spec, tmp_path, 1)
        assert "resume: from epoch 1, evaluation (checkpoint-2)" in told.notes

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("harm", "told"),
        [
            (lambda content: content[:-10], "bytes instead of"),
            pytest.param(lambda content: content[:200], "bytes instead of", marks=pytest.mark.soak),
            (lambda content: content[:-10] + b"x" * 10, "SHA-256"),
            (lambda content: b"something else\n", "not a checkpoint"),
            pytest.param(lambda content: b"", "not a checkpoint", marks=pytest.mark.soak),
            (lambda content: content.replace(b"snapshot 2 ", b"snapshot 9 ", 1), "version 9"),
            (lambda content: content[:21] + b"0" * 64 + content[85:], "another spec"),
        ],
    )
    def test_an_unusable_checkpoint_falls_back_to_the_previous_one(
        self,
        harm: Callable[[bytes], bytes],
        told: str,
        tiny: Callable[..., Resolved],
        stopped: Stopped,
        tmp_path: Path,
        ends: list[dict[str, Any]],
        uninterrupted: Uninterrupted,
    ) -> None:
        spec = tiny("lora-r12").spec
        whole = uninterrupted(spec)
        folder = tmp_path / "parts"
        kept = stopped(spec, folder, 5)
        kept.stop_at = 2
        with pytest.raises(Interrupted):
            execute(spec, kept, folder)
        assert names(folder) == ["checkpoint-1.ckpt", "checkpoint-2.ckpt"]
        newest = folder / "checkpoint-2.ckpt"
        newest.write_bytes(harm(newest.read_bytes()))
        kept.stop_at = float("inf")
        execute(spec, kept, folder)
        assert any(note.startswith("resume: checkpoint-2.ckpt is not used") and told in note for note in kept.notes)
        assert "resume: from epoch 1, paraphrase, step 2 (checkpoint-1)" in kept.notes
        assert whole.rows == kept.rows and same(whole.end["weights"], ends[-1]["weights"])

    @pytest.mark.slow
    def test_without_a_usable_checkpoint_it_restarts_with_a_note(
        self,
        tiny: Callable[..., Resolved],
        stopped: Stopped,
        tmp_path: Path,
        ends: list[dict[str, Any]],
        uninterrupted: Uninterrupted,
    ) -> None:
        spec, other = tiny("lora-r12").spec, tiny("lora-r12", seed=7).spec
        whole = uninterrupted(spec)
        stopped(other, tmp_path / "parts", 20)
        kept = Kept()
        execute(spec, kept, tmp_path / "parts")
        assert "resume: from the beginning: no checkpoint can be used" in kept.notes
        assert sum("belongs to another spec" in note for note in kept.notes) == 2
        assert whole.rows == kept.rows and same(whole.end["weights"], ends[-1]["weights"])

    @pytest.mark.slow
    def test_a_checkpoint_of_other_data_or_weights_is_not_used(
        self, tiny: Callable[..., Resolved], stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, 5)
        plain = loop.Trainer.__init__
        monkeypatch.setattr(
            loop.Trainer, "__init__", lambda self, *args, **more: plain(self, *args, **{**more, "inputs": "others"})
        )
        kept = Kept()
        execute(spec, kept, tmp_path)
        assert any("from the beginning" in note and "have changed since" in note for note in kept.notes)
        assert kept.rows["trained", 1] == 9

    @pytest.mark.slow
    def test_a_checkpoint_of_another_run_is_not_used(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        spec = tiny("last-layer").spec
        with pytest.raises(Interrupted):
            execute(spec, Kept(stop_at=5), tmp_path, run_id="aaaaaaaa")
        kept = Kept()
        execute(spec, kept, tmp_path, run_id="bbbbbbbb")
        assert any("belongs to another run (aaaaaaaa)" in note for note in kept.notes)
        assert "resume: from the beginning: no checkpoint can be used" in kept.notes

    @pytest.mark.parametrize("run_id", ["aaaaaaaa", None])
    def test_its_own_checkpoint_is_used(
        self, tiny: Callable[..., Resolved], tmp_path: Path, run_id: str | None
    ) -> None:
        spec = tiny("last-layer").spec
        with pytest.raises(Interrupted):
            execute(spec, Kept(stop_at=5), tmp_path, run_id="aaaaaaaa")
        kept = Kept()
        execute(spec, kept, tmp_path, run_id=run_id)
        assert any(note.startswith("resume: from epoch 1") for note in kept.notes)

    @pytest.mark.slow
    def test_a_checkpoint_of_an_earlier_version_is_used(
        self,
        tiny: Callable[..., Resolved],
        stopped: Stopped,
        tmp_path: Path,
        ends: list[dict[str, Any]],
        uninterrupted: Uninterrupted,
    ) -> None:
        """Version 1 had another file name, and contained neither its run nor the hashes of the best weights."""
        spec = tiny("lora-r12").spec
        whole = uninterrupted(spec)
        folder = tmp_path / "parts"
        kept = stopped(spec, folder, 25)
        assert list(folder.glob("epoch-*.safetensors")), "it was stopped too early"
        for path in folder.glob("checkpoint-*.ckpt"):
            state = checkpoint._read(path, spec.hash())
            del state["files"]
            for phase in state["phases"]:
                phase["session"] = phase.pop("attempt")
            torch.save(state, payload := io.BytesIO())
            content = payload.getvalue()
            head = f"peftbench-snapshot 1 {spec.hash()} {len(content):020d} {hashlib.sha256(content).hexdigest()}\n"
            path.with_name(f"snapshot-{checkpoint_number(path)}.ckpt").write_bytes(head.encode() + content)
            path.unlink()
        kept.stop_at = float("inf")
        execute(spec, kept, folder, run_id="aaaaaaaa")
        assert any(note.startswith("resume: from epoch 2") for note in kept.notes), kept.notes
        assert whole.rows == kept.rows and same(whole.end["weights"], ends[-1]["weights"])
        assert not [name for name in left_by(folder) if name.endswith(".ckpt")], "both names are removed"

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("harm", "told"),
        [
            (lambda path: path.unlink(), "it does not exist"),
            (lambda path: path.write_bytes(path.read_bytes()[:10]), "it has 10 bytes instead of"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "SHA-256"),
        ],
    )
    def test_changed_best_weights_are_trained_again(
        self,
        harm: Callable[[Path], object],
        told: str,
        tiny: Callable[..., Resolved],
        stopped: Stopped,
        tmp_path: Path,
        ends: list[dict[str, Any]],
        uninterrupted: Uninterrupted,
    ) -> None:
        spec = tiny("lora-r12").spec
        whole = uninterrupted(spec)
        folder = tmp_path / "parts"
        kept = stopped(spec, folder, 25)
        harmed = sorted(folder.glob("epoch-1*.safetensors"))
        assert harmed, "it was stopped too early"
        for path in harmed:
            harm(path)
        kept.stop_at = float("inf")
        execute(spec, kept, folder)
        assert any("the best weights epoch-1" in note and told in note for note in kept.notes), kept.notes
        assert whole.rows == kept.rows and same(whole.end["weights"], ends[-1]["weights"])
        assert whole.left == left_by(folder)

    @pytest.mark.slow
    @pytest.mark.parametrize("content", [None, b"0123456789"])
    def test_a_run_whose_best_weights_are_gone_is_not_finished(
        self, tiny: Callable[..., Resolved], tmp_path: Path, content: bytes | None
    ) -> None:
        spec = tiny("last-layer").spec

        class Harmed(Kept):
            def epoch(self, result: EpochResult) -> None:
                super().epoch(result)
                for path in tmp_path.glob("epoch-*.safetensors") if result.epoch.epoch == 2 else ():
                    path.unlink()
                    if content is not None:
                        path.write_bytes(content)

        with pytest.raises(StorageError, match=r"the best weights .*epoch-.* are gone or not as they were written"):
            execute(spec, Harmed(), tmp_path)
        execute(spec, kept := Kept(), tmp_path)
        assert "resume: from the beginning: no checkpoint can be used" in kept.notes
        assert all(path.stat().st_size > 100 for path in tmp_path.glob("epoch-*.safetensors"))

    @pytest.mark.slow
    def test_a_database_behind_its_checkpoint_restarts(
        self, tiny: Callable[..., Resolved], stopped: Stopped, tmp_path: Path
    ) -> None:
        """A backup was restored: epochs that only the checkpoint contains would be missing."""
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, 25)
        kept = Kept()
        execute(spec, kept, tmp_path, epochs_stored=0)
        assert any("the database has 0 of the 1 epochs before it" in note for note in kept.notes), kept.notes
        assert kept.rows["trained", 1] == 9

    @pytest.mark.slow
    def test_a_failed_checkpoint_is_reported_once_and_training_continues(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "write_whole", full)
        kept = Kept()
        execute(tiny("lora-r12", ["train.epochs=3"]).spec, kept, tmp_path)
        assert sum("cannot be written" in note and "No space left" in note for note in kept.notes) == 1
        assert len([key for key in kept.rows if key[0] == "epoch"]) == 3

    @pytest.mark.slow
    def test_a_disk_that_fills_while_torch_writes_is_an_os_error_and_leaves_the_old_one(
        self, tiny: Callable[..., Resolved], stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, 5)
        before = files(tmp_path)
        assert any(name.endswith(".ckpt") for name in before)
        plain = checkpoint._Payload

        class Filling:
            def __init__(self, file: Any) -> None:
                self.file, self.left = file, 3

            def write(self, part: bytes) -> int:
                self.left -= 1
                if self.left < 0:
                    raise OSError(28, "No space left on device")
                return self.file.write(part)

        monkeypatch.setattr(checkpoint, "_Payload", lambda file: plain(Filling(file)))
        kept = stopped(spec, tmp_path, 2)
        assert any("No space left" in note for note in kept.notes)
        assert files(tmp_path) == before

    def test_what_a_killed_process_left_half_written_is_removed(
        self, tiny: Callable[..., Resolved], tmp_path: Path
    ) -> None:
        for name in ("checkpoint-4.ckpt.abc1.tmp", "epoch-2.safetensors.abc1.tmp"):
            (tmp_path / name).write_bytes(b"half")
        execute(tiny("last-layer").spec, Kept(), tmp_path)
        assert not list(tmp_path.glob("*.tmp"))

    @pytest.mark.slow
    def test_best_weights_of_an_older_checkpoint_are_kept(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        averages = iter((0.1, 0.2, 0.3, 0.4))
        monkeypatch.setattr("peftbench.training.scoring.average_of", lambda values: next(averages))
        kept = Kept()
        ended = kept.epoch

        def dead_after_two(result: EpochResult) -> None:
            if result.epoch.epoch == 3:
                raise Crash
            ended(result)

        monkeypatch.setattr(kept, "epoch", dead_after_two)
        with pytest.raises(Crash):
            execute(tiny("full", ["train.epochs=4"]).spec, kept, tmp_path)
        states = [
            checkpoint._read(path, tiny("full", ["train.epochs=4"]).spec.hash()) for path in tmp_path.glob("*.ckpt")
        ]
        assert {state["best"]["epoch"] for state in states} == {1, 2}
        for state in states:
            assert (tmp_path / f"epoch-{state['best']['epoch']}.safetensors").is_file()

    def test_reading_one_runs_no_code(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return (print, ("it ran",))

        checkpoint.write_whole(
            tmp_path / "checkpoint-1.ckpt", lambda file: checkpoint._dump({"x": Evil()}, "0" * 64, file)
        )
        told: list[str] = []
        found = checkpoint.Checkpoints(tmp_path, "0" * 64, lambda kind, message: told.append(message), 5).newest()
        assert found is None
        assert "torch cannot read it" in told[0]


class TestProcesses:
    @pytest.mark.slow
    def test_as_many_threads_as_it_was_begun_with(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        spec = tiny("lora-r12").spec
        torch.set_num_threads(2)
        with pytest.raises(Interrupted):
            execute(spec, Kept(stop_at=1), tmp_path)
        torch.set_num_threads(1)
        kept = Kept(stop_at=1)
        with pytest.raises(Interrupted):
            execute(spec, kept, tmp_path)
        assert torch.get_num_threads() == 2
        assert any("with 2 threads, as it was begun, instead of 1" in note for note in kept.notes)
        assert kept.facts["conditions"]["threads"] == 2

    @pytest.mark.slow
    def test_every_process_warms_up(self, tiny: Callable[..., Resolved], stopped: Stopped, tmp_path: Path) -> None:
        spec = tiny("lora-r12", ["tasks.sst.source.train=240"]).spec
        stopped(spec, tmp_path, 14)
        kept = Kept()
        execute(spec, kept, tmp_path)
        first = [
            (p.phase, p.task, p.steps) for p in kept.seen_phases if p.epoch == 1 and p.phase in ("warmup", "train")
        ]
        assert first[:4] == [("warmup", "sst", 10), ("train", "sst", 4), ("warmup", "sst", 10), ("train", "sst", 6)]
        assert kept.rows["trained", 1] == 30 + 3 + 3

    @pytest.mark.slow
    def test_a_checkpoint_in_time_closes_one_train_phase_and_opens_another(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "WARMUP_STEPS", 0)
        kept = Kept()
        execute(tiny("lora-r12").spec, kept, tmp_path, settings=RunSettings(checkpoint_minutes=0))
        inside = [p.phase for p in kept.seen_phases if p.epoch == 1 and p.task in (None, "sst") and p.split != "dev"]
        assert inside[:6] == ["train", "checkpoint"] * 3
        assert kept.rows["trained", 1] == 9

    @pytest.mark.slow
    def test_joules_go_on_from_those_of_the_process_before(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftbench.meters.window import Window

        monkeypatch.setattr(Window, "energy_so_far_j", lambda self: 100.0)
        spec = tiny("lora-r12").spec
        with pytest.raises(Interrupted):
            execute(spec, Kept(stop_at=5), tmp_path)
        kept = Kept()
        execute(spec, kept, tmp_path)
        epochs = [p.usage.energy_so_far_j for p in kept.seen_phases if p.epoch == 2]
        assert set(epochs) == {200.0}

    @pytest.mark.slow
    def test_joules_that_were_not_known_before_are_not_known_after(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftbench.meters.window import Window

        spec = tiny("lora-r12").spec
        monkeypatch.setattr(Window, "energy_so_far_j", lambda self: "no_driver")
        with pytest.raises(Interrupted):
            execute(spec, Kept(stop_at=5), tmp_path)
        monkeypatch.setattr(Window, "energy_so_far_j", lambda self: 100.0)
        kept = Kept()
        execute(spec, kept, tmp_path)
        last = [p.usage for p in kept.seen_phases if p.epoch == 2][-1]
        assert last.energy_so_far_j is None and last.missing["energy_so_far_j"] == "lost"

    def test_a_stop_that_was_asked_for_is_heard_at_the_next_step(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However rarely progress is reported."""
        monkeypatch.setattr(pace, "PROGRESS_EVERY_S", 1e9)

        class Asked(Kept):
            calls = 0

            def asked(self) -> bool:
                self.calls += 1
                return self.calls >= 5

        kept = Asked()
        kept.stop_at = 2  # the first progress is reported at once, the next because of the stop request
        spec = tiny("lora-r12", ["tasks.sst.source.train=240"]).spec
        with pytest.raises(Interrupted):
            execute(spec, kept, tmp_path)
        state = checkpoint._read(tmp_path / "checkpoint-1.ckpt", spec.hash())
        assert state["position"] == (1, 0, 6)

    @pytest.mark.slow
    def test_a_process_without_a_step_says_that_it_measured_no_memory(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("lora-r12").spec

        def dies(*_: object) -> None:
            raise Crash

        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(jobs_execute, "_measured_memory", dies)
            execute(spec, Kept(), tmp_path)
        kept = Kept()
        execute(spec, kept, tmp_path)
        assert any(note.startswith("resume: from the end of epoch 2") for note in kept.notes)
        assert kept.facts["memory_measured"] is None
        assert "resume: memory is not measured: this process took no training step" in kept.notes


KILLED = """
import sys
from pathlib import Path
from peftbench.spec.model import RunSpec
from peftbench.store.rows import EpochResult, RunSettings
from peftbench.jobs.execute import execute
from tests.recorders import Kept
spec = RunSpec.model_validate_json(Path(sys.argv[1]).read_text())
execute(spec, Kept(), Path(sys.argv[2]), settings=RunSettings(checkpoint_minutes=0))
"""


@pytest.mark.soak
def test_killed_without_a_word(tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]]) -> None:
    """Another process is killed while it writes checkpoints, and this one resumes."""
    spec = tiny("adalora-r12", ["train.epochs=40", "encoder.dropout=0.1"]).spec
    (tmp_path / "spec.json").write_text(spec.canonical_json())
    folder = tmp_path / "parts"
    folder.mkdir()
    script = [sys.executable, "-c", KILLED, str(tmp_path / "spec.json"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while process.poll() is None and not any(checkpoint_number(path) > 60 for path in folder.glob("checkpoint-*")):
            time.sleep(0.01)
        process.kill()
        output = process.communicate()[0].decode()
    assert process.returncode == -signal.SIGKILL, output
    kept, whole = Kept(), Kept()
    execute(spec, kept, folder)  # with as many threads as the killed process
    assert any(note.startswith("resume: from epoch") for note in kept.notes), kept.notes
    execute(spec, whole, tmp_path / "whole")
    assert all(whole.rows[key] == row for key, row in kept.rows.items())
    assert left_by(tmp_path / "whole") == left_by(folder)
    for key in ("weights", "stepper", "method", "best"):
        assert same(ends[0][key], ends[1][key]), key

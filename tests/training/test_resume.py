"""A run that is stopped or dies anywhere goes on to the same bits: weights, scores, losses, predictions, bests."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from peftbench.errors import Interrupted
from peftbench.spec import Resolved, RunSpec
from peftbench.store.rows import Progress, RunSettings
from peftbench.training import loop, pace, snapshot, stepper
from peftbench.training.execute import KEPT_SAFE, execute
from peftbench.training.files import remove_snapshots
from tests.training.test_training import Memory

EVERYTHING = (
    *("train.epochs=4", "train.batch_size=4", "train.schedule=cosine", "train.warmup_ratio=0.2"),
    *("train.accumulation_steps=2", "train.clip_norm=0.5", "train.patience=2", "train.max_steps=8"),
    *("train.batching=bucketed", "encoder.dropout=0.1"),
)
METHODS = {
    "last-layer": ("encoder.dropout=0",),  # with its prefix kept
    "full": (),
    "lora-r12": ("method.dropout=0.1", "train.gradient_checkpointing=true"),
    "lora-r12-top6": ('method.layers="1"', "encoder.dropout=0"),
    "dora-r12": ("precision=autocast",),
    "loraplus-r12": ("runtime=transformers",),
    "delta-lora-r12": ("method.start=3",),
    "adalora-r12": ("method.every=2",),
    "pissa-r12": (),
    "boft-b8": (),
}


def soaked(method: str, *quick: str) -> object:
    """Leave a method to `make soak`, unless it is one of the quick ones."""
    return method if method in quick else pytest.param(method, marks=pytest.mark.soak)


class Crash(BaseException):
    """A death that nobody can put in order."""


@dataclass
class Kept(Memory):
    """What a store keeps of a run that was told in several parts: the last word on each thing.

    `stop_at` counts the calls of `progress` until the run is asked to stop, `die_at` all calls until it dies.
    """

    rows: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    stop_at: float = float("inf")
    die_at: float = float("inf")
    inside: bool = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def _called(self) -> None:
        self.die_at -= self.inside
        if self.die_at <= 0:
            raise Crash

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        self._called()
        self.stop_at -= self.inside
        if self.stop_at <= 0:
            raise Interrupted("asked to stop")

    def losses(self, epoch: int, task: str, points: Sequence[tuple[int, int, float]]) -> None:
        self._called()
        self.rows["losses", epoch, task] = list(points)
        self._called()

    def epoch(self, epoch, scores, phases, *, best_epoch, task_bests, predictions) -> None:
        self._called()
        self.rows["epoch", epoch.epoch] = (epoch.dev_avg, epoch.leaderboard, epoch.reason)
        for score in scores:
            self.rows["score", score.epoch, score.task, score.split] = score
        for row in predictions:
            self.rows["prediction", row.epoch, row.task, row.example_id] = row
        self.rows["best"] = (best_epoch, sorted(task_bests, key=lambda best: best.task))
        self.rows["trained", epoch.epoch] = sum(p.steps for p in phases if p.phase in ("warmup", "train"))
        self.seen_phases += phases
        self._called()


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Progress is told at every step, whatever the time."""
    monkeypatch.setattr(pace, "PROGRESS_EVERY_S", -1.0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The state of every trainer that came to its end."""
    found: list[dict[str, Any]] = []
    plain = loop.Trainer.measured_memory

    def seen(self: loop.Trainer) -> Any:
        found.append(self.state())
        return plain(self)

    monkeypatch.setattr(loop.Trainer, "measured_memory", seen)
    return found


def same(one: Any, other: Any) -> bool:
    """Tell whether two states are equal to the bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def left_by(folder: Path) -> dict[str, bytes]:
    """Return all that a run leaves, once its worker has deleted what it could go on from."""
    remove_snapshots(folder)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_in_parts(
    spec: RunSpec, folder: Path, kept: Kept, next_end: Callable[[Kept], None], settings: RunSettings = KEPT_SAFE
) -> tuple[str | None, int]:
    """Run until it ends, after each stop or death anew; return why it ended, and in how many parts."""
    for parts in range(1, 60):
        kept.stop_at = kept.die_at = float("inf")
        next_end(kept)
        torch.manual_seed(parts)  # what another process has
        random.seed(parts)
        try:
            return execute(spec, kept, folder, settings=settings), parts
        except (Interrupted, Crash):
            continue
    raise AssertionError("it never ends")


def assert_same_run(
    spec: RunSpec, tmp_path: Path, ends: list[dict[str, Any]], next_end: Callable[[Kept], None], **more: Any
) -> tuple[Kept, int]:
    whole, parts = Kept(), Kept()
    reason = execute(spec, whole, tmp_path / "whole")
    found, count = run_in_parts(spec, tmp_path / "parts", parts, next_end, **more)
    assert found == reason
    assert whole.rows == parts.rows
    assert left_by(tmp_path / "whole") == left_by(tmp_path / "parts")
    for key in ("weights", "stepper", "method", "best", "position"):
        assert same(ends[0][key], ends[1][key]), key
    return parts, count


@pytest.mark.parametrize("method", [soaked(method, "lora-r12", "adalora-r12") for method in METHODS])
def test_stopped_at_any_progress(
    method: str, tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]]
) -> None:
    spec = tiny(method, [*EVERYTHING, *METHODS[method]]).spec
    places = random.Random(f"stop {method}")

    def stop(kept: Kept) -> None:
        kept.stop_at = places.choice((1, 2, 5, 9, 15))

    kept, count = assert_same_run(spec, tmp_path, ends, stop)
    assert count > 3
    assert sum(note.startswith("resume: from epoch") for note in kept.notes) >= count - 2
    assert all("bits may differ" not in note for note in kept.notes)


@pytest.mark.parametrize(
    "method", [soaked(method, "full") for method in ("full", "lora-r12", "delta-lora-r12", "adalora-r12")]
)
def test_dead_at_any_point_or_stopped(
    method: str, tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]]
) -> None:
    """A death leaves what the last snapshot has; with one after every step or so, not always that of an epoch."""
    spec = tiny(method, [*EVERYTHING, *METHODS[method]]).spec
    places = random.Random(f"die {method}")

    def die(kept: Kept) -> None:
        kept.die_at = places.randint(3, 25)
        kept.stop_at = places.choice((4, 8, float("inf")))

    _, count = assert_same_run(spec, tmp_path, ends, die, settings=RunSettings(checkpoint_minutes=2e-4))
    assert count > 2


def test_dead_in_the_middle_of_a_step(
    tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny("full", EVERYTHING).spec
    plain, left = stepper.Stepper._update, [float("inf")]

    def torn(self: stepper.Stepper) -> bool:
        plain(self)
        left[0] -= 1
        if left[0] <= 0:
            raise Crash
        return True

    monkeypatch.setattr(stepper.Stepper, "_update", torn)
    ends_at = iter((5, 8, 11, float("inf")))
    whole = Kept()
    execute(spec, whole, tmp_path / "whole")
    kept = Kept()
    _, count = run_in_parts(spec, tmp_path / "parts", kept, lambda kept: left.__setitem__(0, next(ends_at)))
    assert count == 4
    assert whole.rows == kept.rows
    assert same(ends[0]["weights"], ends[1]["weights"])


def test_the_store_s_plain_defaults_too(
    tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]]
) -> None:
    spec = tiny("dora-r12", ["train.epochs=3"]).spec
    places = iter((4, 6, 2, 9, float("inf")))
    _, count = assert_same_run(spec, tmp_path, ends, lambda kept: setattr(kept, "stop_at", next(places)))
    assert count == 5


def stopped(spec: RunSpec, folder: Path, after: int) -> Kept:
    kept = Kept(stop_at=after)
    with pytest.raises(Interrupted):
        execute(spec, kept, folder)
    return kept


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("snapshot-*"))


class TestSnapshots:
    def test_two_are_kept_until_the_end_is_written_down(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        spec = tiny("lora-r12", ["train.epochs=4"]).spec
        stopped(spec, tmp_path, after=38)
        assert len(names(tmp_path)) == 2
        execute(spec, Kept(), tmp_path)
        assert len(names(tmp_path)) == 2, "the store does not say yet that the run is over"
        assert {Path(name).suffix for name in left_by(tmp_path)} == {".safetensors"}

    def test_where_it_goes_on_is_told(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, after=5)
        told = stopped(spec, tmp_path, after=6)
        assert "resume: from epoch 1, paraphrase, step 2 (snapshot-1)" in told.notes
        told = stopped(spec, tmp_path, after=1)
        assert "resume: from epoch 1, evaluation (snapshot-2)" in told.notes

    @pytest.mark.parametrize(
        ("harm", "told"),
        [
            (lambda content: content[:-10], "bytes instead of"),
            (lambda content: content[:200], "bytes instead of"),
            (lambda content: content[:-10] + b"x" * 10, "SHA-256"),
            (lambda content: b"something else\n", "no snapshot"),
            (lambda content: b"", "no snapshot"),
            (lambda content: content.replace(b"snapshot 1 ", b"snapshot 9 ", 1), "version 9"),
            (lambda content: content[:21] + b"0" * 64 + content[85:], "another spec"),
        ],
    )
    def test_one_that_cannot_be_used_gives_way_to_the_one_before(
        self,
        harm: Callable[[bytes], bytes],
        told: str,
        tiny: Callable[..., Resolved],
        tmp_path: Path,
        ends: list[dict[str, Any]],
    ) -> None:
        spec = tiny("lora-r12").spec
        whole = Kept()
        execute(spec, whole, tmp_path / "whole")
        folder = tmp_path / "parts"
        kept = stopped(spec, folder, after=5)
        kept.stop_at = 2
        with pytest.raises(Interrupted):
            execute(spec, kept, folder)
        assert names(folder) == ["snapshot-1.ckpt", "snapshot-2.ckpt"]
        newest = folder / "snapshot-2.ckpt"
        newest.write_bytes(harm(newest.read_bytes()))
        kept.stop_at = float("inf")
        execute(spec, kept, folder)
        assert any(note.startswith("resume: snapshot-2.ckpt is not used") and told in note for note in kept.notes)
        assert "resume: from epoch 1, paraphrase, step 2 (snapshot-1)" in kept.notes
        assert whole.rows == kept.rows and same(ends[0]["weights"], ends[1]["weights"])

    def test_with_none_that_can_be_used_it_begins_again_and_says_so(
        self, tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]]
    ) -> None:
        spec, other = tiny("lora-r12").spec, tiny("lora-r12", seed=7).spec
        whole = Kept()
        execute(spec, whole, tmp_path / "whole")
        stopped(other, tmp_path / "parts", after=20)
        kept = Kept()
        execute(spec, kept, tmp_path / "parts")
        assert "resume: from the beginning: no snapshot can be used" in kept.notes
        assert sum("belongs to another spec" in note for note in kept.notes) == 2
        assert whole.rows == kept.rows and same(ends[0]["weights"], ends[1]["weights"])

    def test_other_data_or_weights_of_the_same_name_are_not_gone_on_with(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, after=5)
        plain = loop.Trainer.__init__
        monkeypatch.setattr(
            loop.Trainer, "__init__", lambda self, *args, **more: plain(self, *args, **{**more, "inputs": "others"})
        )
        kept = Kept()
        execute(spec, kept, tmp_path)
        assert any("from the beginning" in note and "have changed since" in note for note in kept.notes)
        assert kept.rows["trained", 1] == 9

    def test_one_that_cannot_be_written_is_told_once_and_training_goes_on(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(snapshot, "write_whole", full)
        kept = Kept()
        execute(tiny("lora-r12", ["train.epochs=3"]).spec, kept, tmp_path)
        assert sum("cannot be written" in note and "No space left" in note for note in kept.notes) == 1
        assert len([key for key in kept.rows if key[0] == "epoch"]) == 3

    def test_a_disk_that_fills_while_torch_writes_is_an_os_error_and_leaves_the_old_one(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, after=5)
        before = files(tmp_path)
        assert any(name.endswith(".ckpt") for name in before)
        plain = snapshot._Payload

        class Filling:
            def __init__(self, file: Any) -> None:
                self.file, self.left = file, 3

            def write(self, part: bytes) -> int:
                self.left -= 1
                if self.left < 0:
                    raise OSError(28, "No space left on device")
                return self.file.write(part)

        monkeypatch.setattr(snapshot, "_Payload", lambda file: plain(Filling(file)))
        kept = stopped(spec, tmp_path, after=2)
        assert any("No space left" in note for note in kept.notes)
        assert files(tmp_path) == before

    def test_what_a_killed_process_left_half_written_is_removed(
        self, tiny: Callable[..., Resolved], tmp_path: Path
    ) -> None:
        for name in ("snapshot-4.ckpt.abc1.tmp", "epoch-2.safetensors.abc1.tmp"):
            (tmp_path / name).write_bytes(b"half")
        execute(tiny("last-layer").spec, Kept(), tmp_path)
        assert not list(tmp_path.glob("*.tmp"))

    def test_best_weights_that_an_older_snapshot_speaks_of_are_still_there(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        averages = iter((0.1, 0.2, 0.3, 0.4))
        monkeypatch.setattr("peftbench.training.scoring.dev_average", lambda values: next(averages))
        kept = Kept()
        ended = kept.epoch

        def dead_after_two(epoch: Any, *rows: Any, **more: Any) -> None:
            if epoch.epoch == 3:
                raise Crash
            ended(epoch, *rows, **more)

        monkeypatch.setattr(kept, "epoch", dead_after_two)
        with pytest.raises(Crash):
            execute(tiny("full", ["train.epochs=4"]).spec, kept, tmp_path)
        states = [
            snapshot._read(path, tiny("full", ["train.epochs=4"]).spec.hash()) for path in tmp_path.glob("*.ckpt")
        ]
        assert {state["best"]["epoch"] for state in states} == {1, 2}
        for state in states:
            assert (tmp_path / f"epoch-{state['best']['epoch']}.safetensors").is_file()

    def test_reading_one_runs_no_code(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return (print, ("it ran",))

        snapshot.write_whole(tmp_path / "snapshot-1.ckpt", lambda file: snapshot._dump({"x": Evil()}, "0" * 64, file))
        told: list[str] = []
        found = snapshot.Snapshots(tmp_path, "0" * 64, lambda kind, message: told.append(message), 5).newest()
        assert found is None
        assert "torch cannot read it" in told[0]


class TestProcesses:
    def test_as_many_threads_as_it_was_begun_with(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        spec = tiny("lora-r12").spec
        torch.set_num_threads(2)
        stopped(spec, tmp_path, after=5)
        torch.set_num_threads(1)
        kept = Kept()
        execute(spec, kept, tmp_path)
        assert torch.get_num_threads() == 2
        assert any("with 2 threads, as it was begun, instead of 1" in note for note in kept.notes)
        assert kept.facts["conditions"]["threads"] == 2

    def test_every_process_warms_up(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        spec = tiny("lora-r12", ["tasks.sst.source.train=240"]).spec
        stopped(spec, tmp_path, after=14)
        kept = Kept()
        execute(spec, kept, tmp_path)
        first = [
            (p.phase, p.task, p.steps) for p in kept.seen_phases if p.epoch == 1 and p.phase in ("warmup", "train")
        ]
        assert first[:4] == [("warmup", "sst", 10), ("train", "sst", 4), ("warmup", "sst", 10), ("train", "sst", 6)]
        assert kept.rows["trained", 1] == 30 + 3 + 3

    def test_a_snapshot_in_time_closes_one_train_phase_and_opens_another(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "WARMUP_STEPS", 0)
        kept = Kept()
        execute(tiny("lora-r12").spec, kept, tmp_path, settings=RunSettings(checkpoint_minutes=0))
        inside = [p.phase for p in kept.seen_phases if p.epoch == 1 and p.task in (None, "sst") and p.split != "dev"]
        assert inside[:6] == ["train", "checkpoint"] * 3
        assert kept.rows["trained", 1] == 9

    def test_joules_go_on_from_those_of_the_process_before(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftbench.meters.window import Window

        monkeypatch.setattr(Window, "energy_so_far_j", lambda self: 100.0)
        spec = tiny("lora-r12").spec
        stopped(spec, tmp_path, after=5)
        kept = Kept()
        execute(spec, kept, tmp_path)
        epochs = [p.usage.energy_so_far_j for p in kept.seen_phases if p.epoch == 2]
        assert set(epochs) == {200.0}

    def test_joules_that_were_not_known_before_are_not_known_after(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftbench.meters.window import Window

        spec = tiny("lora-r12").spec
        monkeypatch.setattr(Window, "energy_so_far_j", lambda self: "no_driver")
        stopped(spec, tmp_path, after=5)
        monkeypatch.setattr(Window, "energy_so_far_j", lambda self: 100.0)
        kept = Kept()
        execute(spec, kept, tmp_path)
        last = [p.usage for p in kept.seen_phases if p.epoch == 2][-1]
        assert last.energy_so_far_j is None and last.missing["energy_so_far_j"] == "lost"

    def test_a_stop_that_was_asked_for_is_heard_at_the_next_step(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However seldom progress is told."""
        monkeypatch.setattr(pace, "PROGRESS_EVERY_S", 1e9)

        class Asked(Kept):
            calls = 0

            def asked(self) -> bool:
                self.calls += 1
                return self.calls >= 5

        kept = Asked()
        kept.stop_at = 2  # the first progress is told at once, the next for the stop
        spec = tiny("lora-r12", ["tasks.sst.source.train=240"]).spec
        with pytest.raises(Interrupted):
            execute(spec, kept, tmp_path)
        state = snapshot._read(tmp_path / "snapshot-1.ckpt", spec.hash())
        assert state["position"] == (1, 0, 6)

    def test_a_process_without_a_step_says_that_it_measured_no_memory(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("lora-r12").spec

        def dies(self: loop.Trainer) -> None:
            raise Crash

        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(loop.Trainer, "measured_memory", dies)
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
from peftbench.store.rows import RunSettings
from peftbench.training.files import remove_snapshots
from peftbench.training.execute import execute
from tests.training.test_resume import Kept
spec = RunSpec.model_validate_json(Path(sys.argv[1]).read_text())
execute(spec, Kept(), Path(sys.argv[2]), settings=RunSettings(checkpoint_minutes=0))
"""


@pytest.mark.soak
def test_killed_without_a_word(tiny: Callable[..., Resolved], tmp_path: Path, ends: list[dict[str, Any]]) -> None:
    """Another process, SIGKILL while it writes one snapshot after another, and this one to go on."""
    spec = tiny("adalora-r12", ["train.epochs=40", "encoder.dropout=0.1"]).spec
    (tmp_path / "spec.json").write_text(spec.canonical_json())
    folder = tmp_path / "parts"
    folder.mkdir()
    script = [sys.executable, "-c", KILLED, str(tmp_path / "spec.json"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while process.poll() is None and not any(snapshot._number(path) > 60 for path in folder.glob("snapshot-*")):
            time.sleep(0.01)
        process.kill()
        output = process.communicate()[0].decode()
    assert process.returncode == -signal.SIGKILL, output
    kept, whole = Kept(), Kept()
    execute(spec, kept, folder)  # with the threads of the one that was killed
    assert any(note.startswith("resume: from epoch") for note in kept.notes), kept.notes
    execute(spec, whole, tmp_path / "whole")
    assert all(whole.rows[key] == row for key, row in kept.rows.items())
    assert left_by(tmp_path / "whole") == left_by(folder)
    for key in ("weights", "stepper", "method", "best"):
        assert same(ends[0][key], ends[1][key]), key

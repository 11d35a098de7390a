"""Training: bit-reproducible, every epoch scored, the best weights kept and loadable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from peftbench.data.batches import Batch
from peftbench.data.load import load_split
from peftbench.errors import Interrupted, MissingError, TrainingError
from peftbench.jobs.execute import execute
from peftbench.spec import Resolved
from peftbench.training import loop, stepper
from peftbench.training.evaluation import train_sample
from peftbench.training.files import remove_checkpoints
from peftbench.training.inputs import UNRECORDED
from peftbench.training.predictor import predict
from peftbench.training.weights import weights_path
from tests.recorders import Memory, train

pytestmark = pytest.mark.usefixtures("no_prediction")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["last-layer", "full", "lora-r12", "dora-r12"])
def test_the_same_spec_and_seed_give_the_same_bits(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    first = train(tiny(preset).spec, tmp_path / "a")
    torch.manual_seed(99)
    second = train(tiny(preset).spec, tmp_path / "b")
    assert first.figures() == second.figures()
    assert first.predictions == second.predictions
    assert first.loss_points == second.loss_points
    best = [weights_path(tmp_path / side, first.best_epoch).read_bytes() for side in "ab"]
    assert best[0] == best[1]


@pytest.mark.slow
def test_another_seed_gives_other_figures(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    one, two = (train(tiny("lora-r12", seed=seed).spec, tmp_path / str(seed)) for seed in (1, 2))
    assert one.loss_points != two.loss_points
    assert one.facts["data_hash"] == two.facts["data_hash"]


def test_every_epoch_has_train_and_dev_scores_of_every_task(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("lora-r12", ["train.epochs=3"]).spec, tmp_path)
    assert [epoch.epoch for epoch in memory.epochs] == [1, 2, 3]
    places = [(score.epoch, score.task, score.split) for score in memory.scores]
    assert places == [(e, t, s) for e in (1, 2, 3) for t in ("sst", "paraphrase", "sts") for s in ("train", "dev")]
    for epoch in memory.epochs:
        dev = [score.value for score in memory.scores if score.epoch == epoch.epoch and score.split == "dev"]
        if epoch.dev_avg is not None:
            assert epoch.dev_avg == pytest.approx(sum(dev) / 3)
            assert epoch.leaderboard == pytest.approx((dev[0] + dev[1] + (dev[2] + 1) / 2) / 3)
    best = max(memory.epochs, key=lambda e: -1 if e.dev_avg is None else e.dev_avg)
    assert memory.best_epoch == best.epoch


@pytest.mark.slow
def test_the_scores_are_those_of_the_stored_predictions(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("full").spec
    memory = train(spec, tmp_path)
    for task in spec.tasks:
        kept = [p for p in memory.predictions if p.task == task.name and p.epoch == memory.best_epoch]
        examples = load_split(task, "dev").examples
        assert [p.example_id for p in kept] == [e.id for e in examples]
        assert [p.label for p in kept] == pytest.approx([e.label for e in examples])
        score = next(s for s in memory.scores if (s.epoch, s.task, s.split) == (memory.best_epoch, task.name, "dev"))
        if task.headline == "accuracy":
            assert score.value == pytest.approx(np.mean([p.prediction == p.label for p in kept]))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["last-layer", "full", "lora-r12", "dora-r12"])
def test_a_saved_run_predicts_what_it_predicted(preset: str, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny(preset).spec
    memory = train(spec, tmp_path)
    for task in spec.tasks:
        texts = [example.texts for example in load_split(task, "dev").examples]
        found = predict(spec, task, texts, tmp_path, memory.best_epoch, own=False, recorded=UNRECORDED)
        kept = [p for p in memory.predictions if p.task == task.name and p.epoch == memory.best_epoch]
        assert [row.prediction for row in found] == [p.prediction for p in kept]
        own = {best.task: best.epoch for best in memory.task_bests}
        if task.name in own:
            found = predict(spec, task, texts, tmp_path, own[task.name], own=True, recorded=UNRECORDED)
            kept = [p for p in memory.predictions if p.task == task.name and p.epoch == own[task.name]]
            assert [row.prediction for row in found] == [p.prediction for p in kept]


@pytest.mark.slow
def test_only_methods_with_separate_tasks_have_a_best_epoch_for_each(
    tiny: Callable[..., Resolved], tmp_path: Path
) -> None:
    assert train(tiny("full").spec, tmp_path / "full").task_bests == ()
    memory = train(tiny("lora-r12", ["train.epochs=3"]).spec, tmp_path / "lora")
    for best in memory.task_bests:
        values = [s.value for s in memory.scores if s.task == best.task and s.split == "dev" and s.value is not None]
        assert best.value == max(values)
        assert weights_path(tmp_path / "lora", best.epoch, best.task).is_file()


@pytest.mark.slow
def test_superseded_checkpoints_are_removed(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = train(tiny("lora-r12", ["train.epochs=4"]).spec, tmp_path)
    kept = {weights_path(tmp_path, memory.best_epoch)}
    kept |= {weights_path(tmp_path, best.epoch, best.task) for best in memory.task_bests}
    remove_checkpoints(tmp_path)  # as a worker does at its end
    assert set(tmp_path.glob("*")) == kept


@pytest.mark.slow
def test_a_loss_that_is_not_finite_names_task_step_and_learning_rate(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stepper.loss_of

    def diverging(task, logits, labels):
        return plain(task, logits, labels) * (float("inf") if task.name == "sts" else 1)

    monkeypatch.setattr(stepper, "loss_of", diverging)
    with pytest.raises(TrainingError, match=r"the loss of task sts is (nan|inf) at step [789]") as error:
        train(tiny("full", ["train.lr=0.5"]).spec, tmp_path)
    assert "--set train.lr=0.05" in error.value.hint


@pytest.mark.slow
def test_weights_that_diverge_in_the_last_step_are_noticed_in_evaluation(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stepper.Stepper.step

    def poisoned(self: stepper.Stepper, *args: Any, **options: Any) -> stepper.StepResult:
        done = plain(self, *args, **options)
        self.model.heads["sts"][1].bias.data.fill_(float("nan"))
        return done._replace(loss=torch.zeros_like(done.loss))

    monkeypatch.setattr(stepper.Stepper, "step", poisoned)
    with pytest.raises(TrainingError, match="the train loss of task sts is nan after epoch 1"):
        train(tiny("lora-r12").spec, tmp_path)


@pytest.mark.slow
def test_a_stop_keeps_the_finished_epochs(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    memory = Memory(stop_after=1)
    with pytest.raises(Interrupted):
        execute(tiny("lora-r12", ["train.epochs=5"]).spec, memory, tmp_path)
    assert [epoch.epoch for epoch in memory.epochs] == [1]


def test_constant_predictions_have_no_correlation_and_the_epoch_says_why(
    tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: stepper.Stepper, task: object, batches: Sequence[Batch], *, norm: bool) -> stepper.StepResult:
        outputs = [torch.zeros(len(batch.labels), 5) for batch in batches]
        return stepper.StepResult(torch.tensor(1.0), outputs, 0.1, None)

    monkeypatch.setattr(stepper.Stepper, "step", nothing)
    spec = tiny("last-layer").spec
    from peftbench.model import MultitaskModel

    plain = MultitaskModel.switch_mode

    def silenced(self: MultitaskModel, task: str) -> None:
        plain(self, task)
        if task == "sts":
            self.heads[task][1].weight.data.zero_()

    monkeypatch.setattr(MultitaskModel, "switch_mode", silenced)
    memory = train(spec, tmp_path)
    sts = [score for score in memory.scores if score.task == "sts"]
    assert all(score.value is None and score.reason == "constant predictions" for score in sts)
    assert all(epoch.dev_avg is None and epoch.reason == "sts: constant predictions" for epoch in memory.epochs)
    assert memory.best_epoch == 1
    assert {best.task for best in memory.task_bests} == {"sst", "paraphrase"}


@pytest.mark.slow
def test_warmup_steps_are_trained_on_but_not_timed(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    sizes = ["tasks.sst.source.train=120"]
    memory = train(tiny("lora-r12", sizes).spec, tmp_path)
    warmup = [phase for phase in memory.seen_phases if phase.phase == "warmup"]
    assert [(phase.epoch, phase.task, phase.steps) for phase in warmup] == [(1, "sst", loop.WARMUP_STEPS)]
    steps = {(p.epoch, p.task): p.steps for p in memory.seen_phases if p.phase == "train"}
    assert steps[1, "sst"] == 15 - loop.WARMUP_STEPS
    assert steps[2, "sst"] == 15
    assert sum(points[1] for points in memory.loss_points) == 2 * (15 + 3 + 3)


def test_the_train_curve_is_scored_on_the_same_rows_in_every_run() -> None:
    assert train_sample("sst", 50, 10).tolist() == train_sample("sst", 50, 10).tolist()
    assert len(set(train_sample("sst", 50, 10).tolist())) == 10
    assert train_sample("sst", 5, 10).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_weights_that_are_damaged_or_of_another_spec_are_refused(tiny: Callable[..., Resolved], tmp_path: Path) -> None:
    spec = tiny("lora-r12", ["train.epochs=1"]).spec
    train(spec, tmp_path)
    task = spec.tasks[0]
    other = tiny("lora-r12", ["train.epochs=1"], seed=5).spec
    with pytest.raises(MissingError, match="belong to another spec"):
        predict(other, task, [("a",)], tmp_path, 1, own=False, recorded=UNRECORDED)
    path = weights_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(MissingError, match="damaged"):
        predict(spec, task, [("a",)], tmp_path, 1, own=False, recorded=UNRECORDED)
    path.unlink()
    with pytest.raises(MissingError, match="do not exist"):
        predict(spec, task, [("a",)], tmp_path, 1, own=False, recorded=UNRECORDED)

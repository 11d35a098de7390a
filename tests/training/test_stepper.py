"""One optimiser step: schedule, gradient accumulation, clipping and fp16 scaling, each against its definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from peftbench.data.batches import Batch
from peftbench.errors import TrainingError, UsageError
from peftbench.spec import Resolved
from peftbench.spec.model import RunSpec, TrainSpec
from peftbench.tasks import TaskSpec
from peftbench.training import stepper
from peftbench.training.plan import Plan
from peftbench.training.stepper import Stepper, lr_factor
from tests.marks import soaked_but
from tests.recorders import Memory, train
from tests.steppers import batches, stepping

pytestmark = pytest.mark.usefixtures("no_prediction")

CPU = torch.device("cpu")
THEIRS = {
    "constant": lambda optimizer, warmup, steps: get_constant_schedule_with_warmup(optimizer, warmup),
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
}


def step(of: Stepper, task: TaskSpec, parts: Sequence[Batch]) -> torch.Tensor:
    of.model.switch_mode(task.name)
    return of.step(task, parts).loss


def gradients(of: Stepper) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in of.model.trainable().items() if weight.grad is not None}


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], rtol: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=rtol, atol=1e-7, msg=name)


@pytest.mark.slow
@given(schedule=st.sampled_from(sorted(THEIRS)), steps=st.integers(1, 60), ratio=st.sampled_from([0.0, 0.1, 0.25, 0.9]))
def test_the_schedule_is_transformers(schedule: str, steps: int, ratio: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = THEIRS[schedule](optimizer, int(np.ceil(round(steps * ratio, 9))), steps)
    spec = TrainSpec(lr=1.0, schedule=schedule, warmup_ratio=ratio)
    for done in range(steps):
        assert lr_factor(spec, done, steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_each_group_keeps_its_own_rate_and_each_task_its_own_progress(tiny: Callable[..., Resolved]) -> None:
    spec = tiny("loraplus-r12", ["train.schedule=linear", "train.lr=0.001"]).spec
    found = stepping(spec, steps=4)
    seen = []
    for task in (0, 0, 1, 0):
        step(found, spec.tasks[task], batches(found, [[0, 1]]))
        seen.append([group["lr"] for group in found.optimizer.param_groups])
    assert seen == [pytest.approx([0.001 * part, 0.016 * part]) for part in (1.0, 0.75, 1.0, 0.5)]
    assert found.done == {"sst": 3, "paraphrase": 1, "sts": 0}
    assert found.rates() == "0.0005 and 0.008"


@pytest.mark.parametrize("preset", ["full", "lora-r12", "dora-r12", "adalora-r12"])
def test_batches_of_a_step_give_the_gradient_of_their_mean(preset: str, tiny: Callable[..., Resolved]) -> None:
    """With a shorter last batch, and the method's penalty (AdaLoRA's) added once."""
    spec = tiny(preset, ["encoder.dropout=0", "head.dropout=0", "train.clip_norm=1e9"]).spec
    task = spec.tasks[0]
    whole, parts = stepping(spec), stepping(spec)
    loss = step(whole, task, batches(whole, [range(8)]))
    other = step(parts, task, batches(parts, [[0, 1, 2], [3, 4, 5], [6, 7]]))
    assert float(other) == pytest.approx(float(loss), rel=1e-5)
    assert_close(gradients(parts), gradients(whole), rtol=1e-3)


def test_clipping_bounds_the_norm_of_all_gradients_together(tiny: Callable[..., Resolved]) -> None:
    spec = tiny("lora-r12", ["encoder.dropout=0", "head.dropout=0"]).spec
    free = stepping(spec)
    clipped = stepping(spec.model_copy(update={"train": spec.train.model_copy(update={"clip_norm": 0.01})}))
    for each in (free, clipped):
        step(each, spec.tasks[0], batches(each, [[0, 1, 2]]))
    norm = float(torch.cat([grad.flatten() for grad in gradients(free).values()]).norm())
    assert norm > 0.01
    assert_close(gradients(clipped), {name: grad * 0.01 / norm for name, grad in gradients(free).items()}, rtol=1e-3)


class TestFp16:
    def on_the_cpu(self, spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> Stepper:
        """A model in fp16 without a GPU: torch's autocast and scaler support the CPU, though peftbench refuses it."""
        monkeypatch.setattr("peftbench.model.on_cpu", lambda device: False)
        monkeypatch.setattr("peftbench.kernels.linear.onednn_bf16", lambda: False)
        return stepping(spec.model_copy(update={"precision": "fp16"}))

    def test_it_is_refused_on_the_cpu_with_what_to_do(self, tiny: Callable[..., Resolved], tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="'fp16' needs a GPU") as error:
            train(tiny("lora-r12", ["precision=fp16"]).spec, tmp_path)
        assert "precision=autocast" in error.value.hint

    @pytest.mark.parametrize("runtime", ["native", "transformers"])
    @pytest.mark.parametrize("preset", ["full", "lora-r12", "dora-r12"])
    def test_gradients_are_those_of_fp32_but_for_rounding(
        self, preset: str, runtime: str, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny(preset, ["encoder.dropout=0", "head.dropout=0", f"runtime={runtime}"]).spec
        whole = stepping(spec)
        step(whole, spec.tasks[0], batches(whole, [[0, 1, 2, 3]]))
        half = self.on_the_cpu(spec, monkeypatch)
        step(half, spec.tasks[0], batches(half, [[0, 1, 2, 3]]))
        wanted, found = gradients(whole), gradients(half)
        assert wanted.keys() == found.keys()
        for name, grad in wanted.items():
            if grad.abs().max() > 1e-4:
                assert float((found[name] - grad).norm() / grad.norm()) < 0.02, name

    def test_a_step_that_overflows_changes_nothing_and_halves_the_scale(
        self, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("delta-lora-r12", ["train.clip_norm=1"]).spec
        half = self.on_the_cpu(spec, monkeypatch)
        task, (batch,) = spec.tasks[0], batches(half, [[0, 1]])
        step(half, task, [batch])
        before = {name: weight.detach().clone() for name, weight in half.model.trainable().items()}
        scale, heard = half.scaler.get_scale(), half.model.method.steps["sst"]
        plain = stepper.loss_of
        monkeypatch.setattr(stepper, "loss_of", lambda *args: plain(*args) * 1e38)
        step(half, task, [batch])
        assert half.scaler.get_scale() == scale / 2
        assert all(torch.equal(weight, before[name]) for name, weight in half.model.trainable().items())
        assert half.model.method.steps["sst"] == heard == 1  # after_step was not called for it
        assert half.done["sst"] == 2  # the schedule advanced
        monkeypatch.setattr(stepper, "loss_of", plain)
        step(half, task, [batch])
        assert half.model.method.steps["sst"] == 2
        assert any(not torch.equal(weight, before[name]) for name, weight in half.model.trainable().items())

    def test_its_state_goes_on_where_it_was(
        self, tiny: Callable[..., Resolved], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tiny("lora-r12").spec
        half = self.on_the_cpu(spec, monkeypatch)
        half.scaler.set_growth_interval(2)
        for _ in range(3):
            step(half, spec.tasks[0], batches(half, [[0, 1]]))
        again = self.on_the_cpu(spec, monkeypatch)
        again.load_state(half.state())
        assert again.scaler.state_dict() == half.scaler.state_dict()
        assert again.scaler.get_scale() == 2 * 65536


class TestPlan:
    def of(self, **changes: object) -> Plan:
        train = TrainSpec(**{"lr": 1e-3, "epochs": 4, "batch_size": 4, **changes})
        return Plan.of(train, {"sst": 40, "sts": 9})

    def test_without_a_bound(self) -> None:
        plan = self.of()
        assert (plan.per_epoch, plan.epochs, plan.total) == ({"sst": 10, "sts": 3}, 4, 52)
        assert plan.shortened() is None

    def test_several_batches_make_a_step(self) -> None:
        assert self.of(accumulation_steps=3).per_epoch == {"sst": 4, "sts": 1}

    def test_each_task_stops_at_its_own_bound(self) -> None:
        plan = self.of(max_steps=5)
        assert [plan.steps("sst", epoch) for epoch in (1, 2)] == [5, 0]
        assert [plan.steps("sts", epoch) for epoch in (1, 2)] == [3, 2]
        assert (plan.epochs, plan.total, plan.total_of("sst")) == (2, 10, 5)
        assert plan.shortened() == "train.max_steps: every task has reached its 5 steps"

    def test_a_bound_that_is_not_reached_changes_nothing(self) -> None:
        assert self.of(max_steps=1000).total == self.of().total
        assert self.of(max_steps=1000).shortened() is None
        assert self.of(max_steps=12).shortened() is None  # sts needs all four epochs


class TestRuns:
    @pytest.mark.slow
    def test_a_bound_on_steps_ends_the_run_with_an_evaluation(
        self, tiny: Callable[..., Resolved], tmp_path: Path
    ) -> None:
        from peftbench.jobs.execute import execute

        memory = Memory()
        sizes = ["tasks.sst.source.train=80", "train.max_steps=5", "train.epochs=7"]
        reason = execute(tiny("lora-r12", sizes).spec, memory, tmp_path)
        assert reason == "train.max_steps: every task has reached its 5 steps"
        assert [epoch.epoch for epoch in memory.epochs] == [1, 2]
        assert sum(steps for _, steps, _ in memory.loss_points) == 15
        trained = {(p.epoch, p.task) for p in memory.seen_phases if p.phase in ("warmup", "train")}
        assert trained == {(1, "sst"), (1, "paraphrase"), (1, "sts"), (2, "paraphrase"), (2, "sts")}
        assert {(s.epoch, s.task) for s in memory.scores} >= {(2, "sst")}  # still scored

    @pytest.mark.slow
    def test_patience_ends_a_run_that_gets_no_better(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftbench.jobs.execute import execute

        memory, averages = Memory(), iter([0.3, 0.4, 0.4, 0.1, 0.9])
        monkeypatch.setattr("peftbench.training.scoring.average_of", lambda values: next(averages))
        reason = execute(tiny("last-layer", ["train.patience=2", "train.epochs=9"]).spec, memory, tmp_path)
        assert reason == "early stopping: no better dev average since epoch 2"
        assert [epoch.epoch for epoch in memory.epochs] == [1, 2, 3, 4]
        assert memory.best_epoch == 2

    @pytest.mark.slow
    def test_patience_in_the_last_epoch_gives_no_reason(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peftbench.jobs.execute import execute

        averages = iter([0.3, 0.2])
        monkeypatch.setattr("peftbench.training.scoring.average_of", lambda values: next(averages))
        spec = tiny("last-layer", ["train.patience=1", "train.epochs=2"]).spec
        assert execute(spec, Memory(), tmp_path) is None

    @pytest.mark.slow
    def test_a_part_of_the_training_examples_is_the_same_for_every_seed(
        self, tiny: Callable[..., Resolved], tmp_path: Path
    ) -> None:
        from peftbench.training.sampling import limited_rows

        rows = limited_rows("sst", 24, 10)
        assert len(set(rows)) == 10 and list(rows) == sorted(rows) and max(rows) < 24
        assert limited_rows("sst", 24, None).tolist() == limited_rows("sst", 24, 30).tolist() == list(range(24))
        memory = train(tiny("last-layer", ["train.limit_examples=10", "train.batch_size=4"]).spec, tmp_path)
        assert {(s.split, s.examples) for s in memory.scores} == {("train", 10), ("dev", 16)}
        assert "data: sst train: 10 of 24 examples (train.limit_examples)" in memory.notes
        assert sum(steps for _, steps, _ in memory.loss_points) == 2 * 3 * 3

    @pytest.mark.slow
    def test_several_batches_a_step_are_one_step_everywhere(
        self, tiny: Callable[..., Resolved], tmp_path: Path
    ) -> None:
        memory = train(tiny("lora-r12", ["train.accumulation_steps=2"]).spec, tmp_path)
        assert sum(steps for _, steps, _ in memory.loss_points) == 2 * 3 * 2
        phases = [p for p in memory.seen_phases if p.phase in ("warmup", "train")]
        assert sum(p.steps for p in phases) == 12
        assert sum(p.examples for p in phases) == 2 * 3 * 24

    @pytest.mark.slow
    def test_the_current_rate_is_named_when_the_loss_is_not_finite(
        self, tiny: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = stepper.loss_of
        monkeypatch.setattr(
            stepper, "loss_of", lambda task, *args: plain(task, *args) * (float("nan") if task.name == "sts" else 1)
        )
        spec = tiny("full", ["train.lr=0.6", "train.schedule=linear"]).spec
        with pytest.raises(TrainingError, match="the loss of task sts is nan at step 7") as error:
            train(spec, tmp_path)
        assert "the learning rate, 0.6 at that step" in error.value.hint
        assert "--set train.lr=0.06" in error.value.hint


POOLINGS = ("mean", "cls", "pooler")
ANEW = [
    *(("full", "native"), ("lora-r12", "native"), ("dora-r12", "native"), ("delta-lora-r12", "native")),
    *(("full", "transformers"), ("lora-r12", "transformers"), ("dora-r12", "peft"), ("lora-r12-top6", "native")),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "runtime", "pooling", "dropout"),
    soaked_but(
        [
            *((*column, "mean", 0.2) for column in ANEW),
            *(("full", "native", pooling, 0.0) for pooling in POOLINGS),
            *(("dora-r12", "peft", pooling, 0.2) for pooling in POOLINGS),
        ],
        [(*column, pooling, dropout) for column in ANEW for pooling in POOLINGS for dropout in (0.0, 0.2)],
    ),
)
def test_recomputed_layers_give_the_same_bits(
    preset: str, runtime: str, pooling: str, dropout: float, tiny: Callable[..., Resolved]
) -> None:
    changes = [f"encoder.dropout={dropout}", f"runtime={runtime}", f"encoder.pooling={pooling}"]
    changes += ["method.layers=1"] if preset.endswith("top6") else []
    found = []
    for on in ("false", "true"):
        spec = tiny(preset, [*changes, f"train.gradient_checkpointing={on}"]).spec
        each = stepping(spec)
        torch.manual_seed(3)
        losses = [step(each, task, batches(each, [[0, 1, 4], [3, 2]])) for task in spec.tasks]
        found.append((losses, gradients(each), {name: w.detach() for name, w in each.model.trainable().items()}))
    (losses, grads, weights), (other_losses, other_grads, other_weights) = found
    assert losses == other_losses
    assert grads.keys() == other_grads.keys() and len(grads) > 0
    assert all(torch.equal(grad, other_grads[name]) for name, grad in grads.items())
    assert all(torch.equal(weight, other_weights[name]) for name, weight in weights.items())

"""A trainer's state, as a checkpoint holds it, and a trainer that continues from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from peftbench.model import MultitaskModel
from peftbench.training.best import Best
from peftbench.training.checkpoint import (
    Checkpoint,
    Position,
    marks_from,
    marks_state,
    phases_from,
    phases_state,
    random_state,
    restore_random,
)

if TYPE_CHECKING:
    from peftbench.training.loop import Trainer


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Return all that the rest of the run depends on, in tensors and plain containers."""
    energy_j = trainer.meters.meter.energy_so_far_j()
    return {
        "inputs": trainer.inputs,
        "made_with": _environment(trainer.model),
        "threads": torch.get_num_threads(),
        "position": tuple(trainer.position),
        "weights": {name: weight.detach() for name, weight in trainer.model.saved().items()},
        "stepper": trainer.stepper.state(),
        "method": trainer.model.method.state(),
        "best": trainer.best.state(),
        "thresholds": trainer.scorer.thresholds,
        "files": marks_state(trainer.marks, {path.name for path in trainer.best.files(trainer.folder)}),
        "curve": trainer.curve.state(),
        "interim": None if trainer.interim.done_at is None else tuple(trainer.interim.done_at),
        "phases": phases_state(trainer.phases),
        "random": random_state(),
        "energy_j": energy_j if isinstance(energy_j, float) else None,
        "peak_mib": trainer.peak_mib,
    }


def resume(trainer: Trainer, checkpoint: Checkpoint | None) -> None:
    """Put a new trainer into a checkpoint's state; leave it at the start where that is of other data or weights."""
    if checkpoint is None:
        trainer.recorder.from_the_beginning()
        return
    name, state = checkpoint.name, checkpoint.state
    if (mismatch := _mismatch(trainer, state)) is not None:
        trainer.meters.meter.energy_before_j = 0.0
        trainer.recorder.note("resume", f"from the beginning: {name} cannot be used: {mismatch}")
        trainer.recorder.from_the_beginning()
        return
    for key, weight in trainer.model.saved().items():
        weight.data.copy_(state["weights"][key])
    trainer.stepper.load_state(state["stepper"])
    trainer.model.method.load_state(state["method"])
    trainer.best, trainer.marks = Best.from_state(state["best"]), marks_from(state)
    trainer.scorer.thresholds = state.get("thresholds", {})  # none in a checkpoint of an earlier version
    trainer.needed_files.append(trainer.best.files(trainer.folder))
    device = next(trainer.model.heads.parameters()).device
    trainer.curve.load_state(state["curve"] if "curve" in state else _curve_of_before(state), device)
    if state.get("interim") is not None:
        trainer.interim.done_at = Position(*state["interim"])
    trainer.phases = phases_from(state["phases"])
    trainer.position, trainer.peak_mib = Position(*state["position"]), state["peak_mib"]
    restore_random(state["random"])
    trainer.recorder.note("resume", f"from {_position_in_words(trainer)} ({name})")
    if (here := _environment(trainer.model)) != state["made_with"]:
        made_with = state["made_with"]
        trainer.recorder.note("resume", f"{name} was made with {made_with}, here is {here}: bits may differ")


def _curve_of_before(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of the training curve in a checkpoint of a version that had only that of the current task."""
    losses, epoch = state["losses"] or {"points": [], "sum": None, "steps": 0}, state["position"][0]
    points = [(step, epoch, losses["task"], steps, loss) for step, steps, loss in losses["points"]]
    return {"points": points, "sum": losses["sum"], "steps": losses["steps"], "of_task_only": True}


def _mismatch(trainer: Trainer, state: Mapping[str, Any]) -> str | None:
    """Return why a state is not of this trainer's data and model; None where it is."""
    if state["inputs"] != trainer.inputs:
        return "the data or the encoder's weights have changed since"
    ours, theirs = trainer.model.saved(), state["weights"]
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return "its weights are not this model's"
    return None


def _position_in_words(trainer: Trainer) -> str:
    epoch, task, step = trainer.position
    if trainer.is_over():
        return f"the end of epoch {epoch - 1}"
    if task == len(trainer.spec.tasks):
        return f"epoch {epoch}, evaluation"
    return f"epoch {epoch}, {trainer.spec.tasks[task].name}, step {step}"


def _environment(model: MultitaskModel) -> str:
    """Return what else the bits depend on, beside the number of threads."""
    return f"torch {torch.__version__} on {next(model.heads.parameters()).device.type}"

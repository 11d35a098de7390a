"""One run from its spec: data, encoder, model, training. What the worker calls."""

from __future__ import annotations

import math
import os
import traceback
from pathlib import Path
from typing import Any

import torch

from peftbench.encoder import find_encoder, load_encoder, load_tokenizer
from peftbench.errors import PeftbenchError, UsageError
from peftbench.meters.conditions import measured_under
from peftbench.meters.session import MeterSession
from peftbench.methods.registry import method_info
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.store.rows import MeterSettings, Progress, RunSettings, now
from peftbench.training.data import load_data
from peftbench.training.loop import Trainer
from peftbench.training.recorder import Recorder
from peftbench.training.snapshot import Snapshot, Snapshots

KEPT_SAFE = RunSettings()


def execute(
    spec: RunSpec,
    recorder: Recorder,
    folder: Path,
    meter_settings: MeterSettings | None = None,
    settings: RunSettings = KEPT_SAFE,
) -> str | None:
    """Load everything the spec names and train it, measured from beginning to end.

    Where the folder holds a snapshot of the same spec, the run goes on from there. Returns why it ended before the
    epochs that the spec asks for, or None. Snapshots stay until whoever called has written down that it ended
    (`files.remove_snapshots`).

    Args:
        spec: all that determines the run.
        recorder: is told what happens.
        folder: the run's own, for checkpoints and snapshots.
        meter_settings: how it is measured.
        settings: how often a snapshot is made.

    Raises:
        MissingError, DataError: encoder, data or a card that was named cannot be had or used.
        TrainingError, Interrupted: see `Trainer.run`.
    """
    device = choose_device()
    make_deterministic(device)
    snapshots = Snapshots(folder, spec.hash(), recorder.note, settings.checkpoint_minutes)
    found = snapshots.newest()
    if found is not None:
        _set_threads(found, recorder)
    with MeterSession(device, meter_settings or MeterSettings()) as meters:
        if found is not None:
            meters.meter.energy_before_j = found.state["energy_j"]
        recorder.describe(conditions=meters.facts())
        facts: dict[str, Any] = {}
        try:
            idle = meters.idle(lambda done, whole: _tell_idle(recorder, done, whole))
            if idle is not None:
                recorder.phases([idle])
            with meters.phase("load") as load:
                trainer = _load(spec, recorder, folder, device, meters, snapshots, found)
            del found  # it holds a copy of all that is trained
            recorder.phases([load.row])
            recorder.describe(conditions={}, memory_predicted=_predicted_memory(trainer, recorder))
            reason = trainer.run()
            facts["memory_measured"] = _measured_memory(trainer, recorder)
        finally:
            recorder.closing()
            whole, conditions = meters.close()
            recorder.ending(whole, meters.rows(), conditions, **facts)
    return reason


def _set_threads(found: Snapshot, recorder: Recorder) -> None:
    """Take as many threads as the run had: sums in another order have other last bits."""
    threads, here = found.state["threads"], torch.get_num_threads()
    if threads != here:
        torch.set_num_threads(threads)
        recorder.note("resume", f"with {threads} threads, as it was begun, instead of {here}: bits depend on them")


def _tell_idle(recorder: Recorder, done_s: float, whole_s: float) -> None:
    recorder.progress(Progress(0, "idle", None, int(done_s), math.ceil(whole_s), 0, 0, None, now()))


def _predicted_memory(trainer: Trainer, recorder: Recorder) -> dict[str, Any] | None:
    """Return the anatomy that a step should have; None, with a note, where it cannot be predicted."""
    try:
        with trainer.meters.phase("anatomy") as measured:
            found = trainer.memory.predicted()
    except PeftbenchError as error:
        recorder.note("memory", f"not predicted: {error.message}")
        return None
    except Exception as error:  # torch's tensors without values know not every operation; the run itself needs none
        traceback.print_exc()
        recorder.note("memory", f"not predicted: {type(error).__name__}: {error}")
        return None
    recorder.phases([measured.row])
    return found


def _measured_memory(trainer: Trainer, recorder: Recorder) -> dict[str, Any] | None:
    """Return the anatomy that a step had; None, with a note, where there is no room to measure it."""
    try:
        with trainer.meters.phase("anatomy") as measured:
            found = trainer.measured_memory()
    except Exception as error:  # all epochs are done and stored: this must not take them back
        traceback.print_exc()
        recorder.note("memory", f"not measured: {type(error).__name__}: {error}")
        return None
    if found is None:
        recorder.note("resume", "memory is not measured: this process took no training step")
        return None
    recorder.phases([measured.row])
    return found


def _load(
    spec: RunSpec,
    recorder: Recorder,
    folder: Path,
    device: torch.device,
    meters: MeterSession,
    snapshots: Snapshots,
    found: Snapshot | None,
) -> Trainer:
    """Return what trains the spec, with data and model loaded and described."""
    files = find_encoder(spec.encoder)
    tokenizer = load_tokenizer(files)
    data = load_data(spec, tokenizer, files, recorder)
    model = MultitaskModel(load_encoder(spec.encoder, files), spec).prepare(device)
    if spec.runtime == "native" and model.native is None:
        recorder.note("runtime", model.path)
    trainable = model.trainable()
    info = method_info(spec.method.name)
    per_task = {name for task in spec.tasks for name in model.trainable_of(task.name)}
    if info.independent_tasks and per_task != trainable.keys():
        raise UsageError(
            f"method '{info.name}' says that its tasks are independent, but trains weights of no task: "
            f"{', '.join(sorted(trainable.keys() - per_task)[:3])}",
            "a method's `mark` tells which weights are a task's own",
        )
    recorder.describe(
        data_hash=data.sha256,
        weights_total=sum(weight.numel() for weight in model.parameters()),
        weights_trainable=sum(weight.numel() for weight in trainable.values()),
        adapter_weights={
            task.name: sum(
                weight.numel()
                for name, weight in model.trainable_of(task.name).items()
                if not name.startswith("heads.")
            )
            for task in spec.tasks
        },
        conditions={
            **measured_under(device),
            "precision": spec.precision,
            "path": model.path,
            "encoder_sha256": files.weights_sha256,
            "data_sha256": data.own_rows,
        },
    )
    return Trainer(
        spec,
        model,
        data.tasks,
        independent_tasks=info.independent_tasks,
        batcher=model.batcher(tokenizer.pad_token_id or 0),
        recorder=recorder,
        meters=meters,
        folder=folder,
        inputs=f"{data.sha256} {files.weights_sha256} {files.tokenizer_sha256}",
        snapshots=snapshots,
        found=found,
    )


def choose_device() -> torch.device:
    """Return the GPU where torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_deterministic(device: torch.device) -> None:
    """Ask torch for the same bits every time; on a GPU, where some kernels cannot, it only warns (in the log)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")

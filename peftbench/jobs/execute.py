"""One run from its spec: data, encoder, model, training. What the worker calls."""

from __future__ import annotations

import math
import traceback
from pathlib import Path

import torch

from peftbench.encoder import (
    check_fits,
    find_encoder,
    load_tokenizer,
    load_with_facts,
    notes_of_decoder,
    padding_of,
    tokenizer_facts,
)
from peftbench.errors import PeftbenchError, UsageError
from peftbench.families import counted_in_layers
from peftbench.memory.step_memory import StepMemory
from peftbench.meters.conditions import measured_under
from peftbench.meters.session import MeterSession
from peftbench.methods.registry import method_info
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.spec.quantization import QUANTIZED
from peftbench.store.conditions import MemoryParts, RunFacts
from peftbench.store.rows import MeterSettings, Progress, RunSettings, now
from peftbench.training.checkpoint import Checkpoint, Checkpoints
from peftbench.training.data import load_data
from peftbench.training.device import choose_device, make_deterministic
from peftbench.training.inputs import CONFIG, DATA, ENCODER, TOKENIZER, UNRECORDED, RecordedInputs
from peftbench.training.loop import Trainer
from peftbench.training.recorder import Recorder

KEPT_SAFE = RunSettings()


def execute(
    spec: RunSpec,
    recorder: Recorder,
    folder: Path,
    meter_settings: MeterSettings | None = None,
    settings: RunSettings = KEPT_SAFE,
    recorded: RecordedInputs = UNRECORDED,
    run_id: str | None = None,
    epochs_stored: int | None = None,
) -> str | None:
    """Load everything the spec names and train it, measured from beginning to end.

    Where the folder holds a checkpoint of the same spec, the run resumes from it. Returns why fewer epochs were trained
    than the spec asks for, or None. Checkpoints stay until the caller has stored the end of the run
    (`files.remove_checkpoints`).

    Args:
        spec: all that determines the run.
        recorder: is told what happens.
        folder: the run's own, for weights and checkpoints.
        meter_settings: how it is measured.
        settings: how often a checkpoint is written.
        recorded: what an earlier worker of the run read.
        run_id: whose checkpoints are used; None: those of any run of the spec.
        epochs_stored: how many epochs of the run the recorder has; a checkpoint of later ones is not used. None: any.

    Raises:
        MissingError, DataError: encoder, data or a card that was named cannot be had or used.
        ChangedError: encoder or data are not those that the run began with.
        TrainingError, StorageError, Interrupted: see `Trainer.run`.
    """
    device = choose_device()
    make_deterministic(device)
    checkpoints = Checkpoints(folder, spec.hash(), recorder.note, settings.checkpoint_minutes, run_id, epochs_stored)
    checkpoint = checkpoints.newest()
    if checkpoint is not None:
        _set_threads(checkpoint, recorder)
    with MeterSession(device, meter_settings or MeterSettings()) as meters:
        if checkpoint is not None:
            meters.meter.energy_before_j = checkpoint.energy_j
        recorder.describe(conditions=meters.facts())
        facts: RunFacts = {}
        try:
            idle = meters.idle(lambda done, total: _tell_idle(recorder, done, total))
            if idle is not None:
                recorder.phases([idle])
            with meters.phase("load") as load:
                trainer = _load(spec, recorder, folder, device, meters, checkpoints, checkpoint, recorded)
            del checkpoint  # it holds a copy of all that is trained
            recorder.phases([load.row])
            memory = StepMemory(spec, trainer.model, {name: each.train for name, each in trainer.data.items()})
            recorder.describe(conditions={}, memory_predicted=_predicted_memory(memory, meters, recorder))
            reason = trainer.run()
            facts["memory_measured"] = _measured_memory(memory, trainer, recorder)
        finally:
            recorder.closing()
            run_phase, conditions = meters.close()
            recorder.ending(run_phase, meters.rows(), conditions, **facts)
    return reason


def _set_threads(checkpoint: Checkpoint, recorder: Recorder) -> None:
    """Take as many threads as the run had: sums in another order have other last bits."""
    threads, here = checkpoint.threads, torch.get_num_threads()
    if threads != here:
        torch.set_num_threads(threads)
        recorder.note("resume", f"with {threads} threads, as it was begun, instead of {here}: bits depend on them")


def _tell_idle(recorder: Recorder, done_s: float, whole_s: float) -> None:
    recorder.progress(Progress(0, "idle", None, int(done_s), math.ceil(whole_s), 0, 0, None, now()))


def _predicted_memory(memory: StepMemory, meters: MeterSession, recorder: Recorder) -> MemoryParts | None:
    """Return the anatomy that a step should have; None, with a note, where it cannot be predicted."""
    try:
        with meters.phase("anatomy") as measured:
            anatomy = memory.predicted()
    except PeftbenchError as error:
        recorder.note("memory", f"not predicted: {error.message}")
        return None
    except Exception as error:  # torch's tensors without values know not every operation; the run itself needs none
        traceback.print_exc()
        recorder.note("memory", f"not predicted: {type(error).__name__}: {error}")
        return None
    recorder.phases([measured.row])
    return anatomy


def _measured_memory(memory: StepMemory, trainer: Trainer, recorder: Recorder) -> MemoryParts | None:
    """Return the anatomy that a step had; None, with a note, where it cannot be measured.

    That is where there is no room, or where this process took no step: then there are no gradients.
    """
    try:
        with trainer.meters.phase("anatomy") as measured:
            anatomy = None
            if trainer.steps_here:
                anatomy = memory.measured(trainer.stepper.optimizer, trainer.batchers.frozen, trainer.peak_bytes)
    except Exception as error:  # all epochs are done and stored: this must not take them back
        traceback.print_exc()
        recorder.note("memory", f"not measured: {type(error).__name__}: {error}")
        return None
    if anatomy is None:
        recorder.note("resume", "memory is not measured: this process took no training step")
        return None
    recorder.phases([measured.row])
    return anatomy


def _load(
    spec: RunSpec,
    recorder: Recorder,
    folder: Path,
    device: torch.device,
    meters: MeterSession,
    checkpoints: Checkpoints,
    checkpoint: Checkpoint | None,
    recorded: RecordedInputs,
) -> Trainer:
    """Return what trains the spec, with data and model loaded and described."""
    files = find_encoder(spec.encoder)
    recorded.check_encoder(files)
    tokenizer = load_tokenizer(files)
    loaded = load_with_facts(spec.encoder, files)  # before the data: what does not fit is said before all is tokenised
    notes = check_fits(tokenizer, loaded.encoder, files, spec.encoder.pooling, causal=loaded.causal)
    if loaded.causal:
        joint = spec.encoder.pair_encoding == "joint" and any(task.is_pair for task in spec.tasks)
        notes += notes_of_decoder(
            tokenizer, joint_pairs=joint, tokens=any(task.kind == "tokens" for task in spec.tasks)
        )
    for message in notes:
        recorder.note("encoder", message)
    data = load_data(spec, tokenizer, files, recorder)
    for split, fingerprint in data.own_rows.items():
        recorded.check_data(split, fingerprint)
    for task, fingerprint in data.new_rows.items():
        recorded.check_new_rows(task, fingerprint)
    model = MultitaskModel(loaded.encoder, spec).prepare(device)
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
            **measured_under(device, spec.quantization.library if spec.precision in QUANTIZED else None),
            "precision": spec.precision,
            "path": model.path,
            "adapted": counted_in_layers(model.method.adapted),
            ENCODER: files.weights_sha256,
            CONFIG: files.config_sha256,
            TOKENIZER: files.tokenizer_sha256,
            DATA: data.own_rows,
            **data.facts,
            **loaded.facts(),
            "tokenizer": tokenizer_facts(tokenizer),
            "tokenised": {"splits": list(data.tokenised), "seconds": round(data.tokenise_s, 3)},
        },
    )
    return Trainer(
        spec,
        model,
        data.tasks,
        data.tests,
        independent_tasks=info.independent_tasks,
        batcher=model.batcher(padding_of(tokenizer)),
        recorder=recorder,
        meters=meters,
        folder=folder,
        inputs=f"{data.sha256} {files.weights_sha256} {files.tokenizer_sha256}",
        checkpoints=checkpoints,
        checkpoint=checkpoint,
    )

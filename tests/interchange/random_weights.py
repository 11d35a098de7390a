"""Runs whose trained weights are random: exports need no training to be compared."""

from __future__ import annotations

from pathlib import Path

import torch

from peftbench.encoder import find_encoder, load_encoder
from peftbench.interchange.trained import TrainedRun
from peftbench.model import MultitaskModel
from peftbench.spec.model import RunSpec
from peftbench.training.inputs import UNRECORDED, RecordedInputs
from peftbench.training.weights import save_weights, weights_path


def trained_run(spec: RunSpec, folder: Path, recorded: RecordedInputs = UNRECORDED) -> TrainedRun:
    """Write random weights, far from the initial ones, as a run's best checkpoint."""
    model = MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)
    rng = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, weight in model.saved().items():
            if name.endswith("moving"):
                weight.fill_(1.0)
            elif weight.is_floating_point() and "ranknum" not in name:
                weight.add_(0.2 * torch.randn(weight.shape, generator=rng))
    save_weights(model.saved(), weights_path(folder, 2), spec.hash())
    return TrainedRun(spec, folder, {task.name: 2 for task in spec.tasks}, own=False, recorded=recorded)

"""Kinds of failures, and the message of a run that ran out of memory."""

from __future__ import annotations

import errno

import pytest
import torch

from peftbench.errors import DataError, MissingError, StorageError, TrainingError, UsageError
from peftbench.jobs.failures import advice, kind_of, out_of_memory, reason_of
from peftbench.spec import resolve
from peftbench.store.rows import Progress, now


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("x"), "data"),
        (MissingError("x"), "missing"),
        (TrainingError("x"), "nan"),
        (UsageError("x"), "spec"),
        (StorageError("x"), "storage"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage"),
        (OSError(errno.EIO, "Input/output error"), "defect"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out-of-memory"),
        (RuntimeError("could not create a primitive"), "out-of-memory"),  # oneDNN's message
        (RuntimeError("could not create a primitive descriptor for a matmul primitive"), "defect"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out-of-memory"),
        (RuntimeError("std::bad_alloc"), "out-of-memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out-of-memory"),
        (RuntimeError("shapes differ"), "defect"),
        (DataError("a sentence about being out of memory"), "data"),
        (KeyError("x"), "defect"),
    ],
)
def test_kinds(error: BaseException, kind: str) -> None:
    assert kind_of(error) == kind


def test_torchs_out_of_memory_message_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert kind_of(caught.value) == "out-of-memory"


def test_out_of_memory_reports_place_prediction_and_advice() -> None:
    spec = resolve("lora-r12").spec
    predicted = {
        "weights": 90 * 2**20,
        "trainable": 2**20,
        "gradients": 2**20,
        "optimizer": 2 * 2**20,
        "activations": 300 * 2**20,
        "workspace": None,
        "total": 393 * 2**20,
    }
    progress = Progress(2, "train", "sst", 12, 40, 90, 400, 1.0, now())
    said = out_of_memory(RuntimeError("CUDA out of memory. Tried\nmore"), spec, progress, predicted)
    assert "at epoch 2, train of sst, step 12: CUDA out of memory. Tried" in said
    assert "393 MiB (activations 300, weights 90, optimizer 2, gradients 1)" in said
    assert "--set train.batch_size=4 --set train.accumulation_steps=2" in said
    assert "trainable" not in said
    assert "while it loaded: MemoryError" in out_of_memory(MemoryError(), spec, None, None)


def test_only_what_is_left_to_try_is_advised() -> None:
    least = [
        "train.batch_size=1",
        "train.gradient_checkpointing=true",
        "precision=autocast",
    ]
    assert advice(resolve("lora-r12", overrides=least).spec, None) == [
        "a smaller encoder, or shorter inputs: --set encoder.max_length=128"
    ]
    found = advice(resolve("full").spec, {"optimizer": 9, "activations": 1})
    assert found[-1].startswith("a method that trains fewer weights")


def test_every_advice_is_an_option_that_resolves() -> None:
    import re

    spec = resolve("lora-r12")
    for line in advice(spec.spec, None):
        overrides = re.findall(r"--set (\S+)", line)
        assert overrides
        resolve("lora-r12", overrides=overrides)


def test_a_reason_has_its_hint_and_no_control_characters() -> None:
    assert reason_of(DataError("bad row", "mend it")) == "bad row (mend it)"
    assert reason_of(ValueError("\x1b[31mred")) == "ValueError: red"

"""`peftbench estimate`: predict the memory of a run before it starts, without a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.cli.output import Json, print_json, show
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.memory.predict import StepPrediction
    from peftbench.spec import RunSpec
    from peftbench.study.memory import MemoryComparison


def estimate(
    preset: Annotated[
        list[str] | None,
        typer.Option(
            "--preset", "-p", metavar="NAME", help="A preset, or a .toml file. Repeat it for a table of several."
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option("--workload", "-w", metavar="NAME", help="A workload. Default: quickstart, with --all paper."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[TASK=]DIR", help="Folder of the workload's files; text lengths matter."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the spec, such as train.batch_size=32."),
    ] = None,
    device: Annotated[
        str,
        typer.Option("--device", metavar="DEVICE", help="The device to predict for: cuda (no GPU is needed) or cpu."),
    ] = "cuda",
    every: Annotated[bool, typer.Option("--all", help="All rows of the study, beside its published figures.")] = False,
    as_json: Json = False,
) -> None:
    """Predict the memory of a run by component: weights, gradients, optimiser state, activations.

    Example: peftbench estimate --preset dora-r12 --workload paper --data DIR --set train.batch_size=32
    """
    from peftbench.errors import UsageError
    from peftbench.spec import resolve

    if every == bool(preset):
        raise UsageError(
            "estimate takes a preset or --all" + (", not both" if every else ""),
            "such as: peftbench estimate --preset dora-r12",
        )
    where = _device(device)
    if preset:
        specs = [
            resolve(name, workload or "quickstart", data=data or (), overrides=overrides or ()).spec for name in preset
        ]
        if len(specs) == 1:
            _print_one(specs[0], where, as_json)
        else:
            _print_all(specs, where, as_json, with_study=None)
        return
    from peftbench.study.memory import ROWS, WORKLOAD

    specs = [resolve(row.preset, workload or WORKLOAD, data=data or (), overrides=overrides or ()).spec for row in ROWS]
    _print_all(
        specs, where, as_json, with_study=(workload or WORKLOAD) == WORKLOAD and not overrides and where == "cuda"
    )


def _device(name: str) -> Literal["cuda", "cpu"]:
    from peftbench.errors import UsageError, did_you_mean

    if name == "cpu":
        return "cpu"
    if name == "cuda":
        return "cuda"
    raise UsageError(f"--device {clean(name)}: no such device{did_you_mean(name, ('cuda', 'cpu'))}", "cuda or cpu")


def _print_one(spec: RunSpec, device: Literal["cuda", "cpu"], as_json: bool) -> None:
    from peftbench.memory.predict import predict
    from peftbench.report.memory import estimate_page

    prediction = predict(spec, device)
    if as_json:
        print_json(_prediction_json(spec, prediction))
    else:
        show(estimate_page(spec, prediction))


def _print_all(specs: list[RunSpec], device: Literal["cuda", "cpu"], as_json: bool, *, with_study: bool | None) -> None:
    """Print several predictions. `with_study`: True adds the study's figures, False a note why not, None neither."""
    from peftbench.memory.predict import predict
    from peftbench.report.memory import estimates_page
    from peftbench.study.memory_check import compare_with_study
    from peftbench.study.memory_page import study_page

    rows = [(spec, predict(spec, device)) for spec in specs]
    compared = compare_with_study() if with_study else []
    if as_json:
        print_json({"estimates": [_prediction_json(*row) for row in rows], "study": _study_json(compared)})
        return
    show(estimates_page(rows))
    if compared:
        show("", study_page(compared))
    elif with_study is not None:
        show("", "the study's figures apply to the unchanged paper workload on a GPU: peftbench estimate --all")


def _prediction_json(spec: RunSpec, prediction: StepPrediction) -> dict[str, Any]:
    from peftbench.spec.quantization import QUANTIZED

    return {
        "preset": spec.preset,
        "workload": spec.workload,
        "encoder": spec.encoder.name,
        "runtime": spec.runtime,
        "precision": spec.precision,
        "quantized_by": spec.quantization.library if spec.precision in QUANTIZED else None,
        "device": prediction.device,
        "batches": {
            task: {"examples": shape.examples, "tokens": shape.tokens, "tokens_padded": shape.padded}
            for task, shape in prediction.batches.items()
        },
        "adapted": list(prediction.adapted),
        "bytes": prediction.anatomy.as_dict(),
        "notes": list(prediction.notes),
    }


def _study_json(rows: list[MemoryComparison]) -> list[dict[str, Any]]:
    from peftbench.study.memory import differences

    return [
        {
            "preset": row.preset,
            "study_bytes": row.study,
            "as_study_bytes": row.as_study,
            "error": row.error,
            "native_bytes": row.native,
        }
        for row in (differences(rows) if rows else [])
    ]

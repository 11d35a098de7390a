"""`peftbench estimate`: how much memory a run needs, before it is run and without a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from peftbench.cli.output import Json, print_json, show
from peftbench.text import clean

if TYPE_CHECKING:
    from peftbench.anatomy.predict import Prediction
    from peftbench.anatomy.study import Compared
    from peftbench.spec import RunSpec


def estimate(
    preset: Annotated[
        list[str] | None,
        typer.Option("--preset", "-p", metavar="NAME", help="A preset, or a .toml file. Several make one table."),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option("--workload", "-w", metavar="NAME", help="A workload; else quickstart, with --all paper."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[TASK=]DIR", help="The folder of the workload's files: their lengths count."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the spec, such as train.batch_size=32."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="Whose way of computing: cuda (no GPU is needed) or cpu.")
    ] = "cuda",
    every: Annotated[bool, typer.Option("--all", help="All rows of the study, and its figures beside them.")] = False,
    as_json: Json = False,
) -> None:
    """Say how much memory a run needs, part by part, before it is run: weights, gradients, optimiser, activations.

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
        asked = [
            resolve(one, workload or "quickstart", data=data or (), overrides=overrides or ()).spec for one in preset
        ]
        if len(asked) == 1:
            _one(asked[0], where, as_json)
        else:
            _all(asked, where, as_json, with_study=None)
        return
    from peftbench.anatomy.study import ROWS, WORKLOAD

    specs = [resolve(row.preset, workload or WORKLOAD, data=data or (), overrides=overrides or ()).spec for row in ROWS]
    _all(specs, where, as_json, with_study=(workload or WORKLOAD) == WORKLOAD and not overrides and where == "cuda")


def _device(name: str) -> Literal["cuda", "cpu"]:
    from peftbench.errors import UsageError, did_you_mean

    if name == "cpu":
        return "cpu"
    if name == "cuda":
        return "cuda"
    raise UsageError(f"--device {clean(name)}: no such device{did_you_mean(name, ('cuda', 'cpu'))}", "cuda or cpu")


def _one(spec: RunSpec, device: Literal["cuda", "cpu"], as_json: bool) -> None:
    from peftbench.anatomy.predict import predict
    from peftbench.report.anatomy import estimate_page

    found = predict(spec, device)
    if as_json:
        print_json(_json(spec, found))
    else:
        show(estimate_page(spec, found))


def _all(specs: list[RunSpec], device: Literal["cuda", "cpu"], as_json: bool, *, with_study: bool | None) -> None:
    """Print several; with the study's figures, or why without them, or (None) without a word of it."""
    from peftbench.anatomy.as_study import compare_with_study
    from peftbench.anatomy.predict import predict
    from peftbench.report.anatomy import estimates_page, study_page

    rows = [(spec, predict(spec, device)) for spec in specs]
    compared = compare_with_study() if with_study else []
    if as_json:
        print_json({"estimates": [_json(*row) for row in rows], "study": _study_json(compared)})
        return
    show(estimates_page(rows))
    if compared:
        show("", study_page(compared))
    elif with_study is not None:
        show("", "the study's own figures are for the paper workload as it is, on a GPU: peftbench estimate --all")


def _json(spec: RunSpec, found: Prediction) -> dict[str, Any]:
    return {
        "preset": spec.preset,
        "workload": spec.workload,
        "encoder": spec.encoder.name,
        "runtime": spec.runtime,
        "precision": spec.precision,
        "device": found.device,
        "batches": {
            task: {"examples": shape.examples, "tokens": shape.tokens, "tokens_padded": shape.padded}
            for task, shape in found.batches.items()
        },
        "bytes": found.anatomy.as_dict(),
        "notes": list(found.notes),
    }


def _study_json(rows: list[Compared]) -> list[dict[str, Any]]:
    from peftbench.anatomy.study import differences

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

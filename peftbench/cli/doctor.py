"""`peftbench doctor`: check whether measurements on this machine are reliable."""

from __future__ import annotations

from typing import Annotated

import typer

from peftbench.cli.output import Database, Json, database, print_json, show


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Skip the checks that sample the GPUs for seconds.")] = False,
    meter_gpu: Annotated[
        str | None,
        typer.Option("--meter-gpu", metavar="CARD", help="Check only this GPU (index or UUID)."),
    ] = None,
    as_json: Json = False,
    db: Database = None,
) -> None:
    """Check GPUs, driver, permissions, sensors, disk, database and hub access. Exit code 1 if a check fails.

    Example: peftbench doctor
    """
    from dataclasses import asdict

    from peftbench.doctor import Options, counts, examine
    from peftbench.errors import EXIT_FAILED
    from peftbench.report import doctor

    findings = []
    for finding in examine(Options(database(db), gpu=meter_gpu, quick=quick)):
        findings.append(finding)
        if not as_json:
            show(doctor.line(finding))
    if as_json:
        print_json({"counts": counts(findings), "checks": [asdict(finding) for finding in findings]})
    else:
        show(doctor.summary(findings))
    if counts(findings)["fail"]:
        raise typer.Exit(EXIT_FAILED)

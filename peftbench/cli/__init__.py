"""The command line. Each command's body imports what it needs, so that `--help` stays instant."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from peftbench.cli import (
    augment,
    catalogue,
    compare,
    dashboard,
    doctor,
    estimate,
    interchange,
    jobs,
    pareto,
    plot,
    predict,
    report,
    reproduce,
    run,
    runs,
    submit,
    sweep,
    watch,
)
from peftbench.cli.dashboard import Theme
from peftbench.cli.output import Ascii, Database, print_error
from peftbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, PeftbenchError, UsageError

app = typer.Typer(
    name="peftbench",
    help="Which fine-tuning method, at which cost? Train variants of an encoder on sentence tasks and compare them.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
app.command("queue")(jobs.queue)
app.command("stop")(jobs.stop)
app.command("resume")(jobs.resume)
app.command("retry")(jobs.retry)
app.command("log")(jobs.log)
app.command("estimate")(estimate.estimate)
app.command("runs")(runs.list_runs)
app.command("show")(runs.show_run)
app.command("watch")(watch.watch)
app.command("compare")(compare.compare)
app.command("pareto")(pareto.pareto)
app.command("augment")(augment.augment)
app.command("plot")(plot.plot)
app.add_typer(report.app, name="report")
app.command("reproduce")(reproduce.reproduce)
app.command("predict")(predict.predict)
app.command("export")(interchange.export)
app.command("import")(interchange.import_bundle)
app.command("submit")(submit.submit)
app.command("delete")(runs.delete)
app.command("presets")(catalogue.presets)
app.command("workloads")(catalogue.workloads)
app.command("sweeps")(catalogue.sweeps)
app.command("methods")(catalogue.methods)
app.command("doctor")(doctor.doctor)
app.command("serve")(dashboard.serve)
app.command("replay")(dashboard.replay)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    theme: Theme = None,
    ascii_only: Ascii = False,
    db: Database = None,
) -> None:
    """Which fine-tuning method, at which cost? Train variants of an encoder on sentence tasks and compare them.

    Alone it opens the dashboard, in which runs are started, watched and compared.
    """
    if version:
        from peftbench.version import __version__

        print(f"peftbench {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        dashboard.dashboard(db, theme, ascii_only)
    elif db is not None or theme is not None or ascii_only:
        raise UsageError(
            f"options of the dashboard before the command '{context.invoked_subcommand}'",
            f"put --db behind it: peftbench {context.invoked_subcommand} --db FILE",
        )


def main() -> None:
    """Run the command line; a mistake of the user's ends in a message and an exit code, not in a traceback."""
    try:
        app()
    except PeftbenchError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)

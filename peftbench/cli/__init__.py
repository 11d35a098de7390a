"""The command line. Each command's body imports what it needs, and a command is built only where it is asked for.

Building one takes typer some milliseconds, and all of them a tenth of a second: `main` builds the one named first, and
all of them for `--help`, a word that is no command, or options before one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from peftbench.cli import dashboard, streams
from peftbench.cli.dashboard import ReadOnly, Theme
from peftbench.cli.output import Ascii, Database, print_error
from peftbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, PeftbenchError, UsageError
from peftbench.library_logs import quieten

# The help's panels in the order of a day's work: an example, and each command's module and function; a function `app`
# is a group of commands.
PANELS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "Run": (
        "peftbench run --preset lora-r12 --preset dora-r12 --headless",
        {
            "run": ("run", "run"),
            "sweep": ("sweep", "sweep"),
            "estimate": ("estimate", "estimate"),
            "queue": ("jobs", "queue"),
            "stop": ("jobs", "stop"),
            "resume": ("jobs", "resume"),
            "retry": ("jobs", "retry"),
        },
    ),
    "Watch": (
        "peftbench watch latest",
        {
            "runs": ("runs", "list_runs"),
            "show": ("runs", "show_run"),
            "watch": ("watch", "watch"),
            "log": ("jobs", "log"),
            "tag": ("tags", "tag"),
            "note": ("tags", "note"),
            "serve": ("dashboard", "serve"),
            "replay": ("dashboard", "replay"),
        },
    ),
    "Compare": (
        "peftbench compare lora-r12 dora-r12",
        {
            "compare": ("compare", "compare"),
            "pareto": ("pareto", "pareto"),
            "standings": ("standings", "standings"),
            "plot": ("plot", "plot"),
        },
    ),
    "Use": (
        "peftbench predict latest --task sst 'a fine film'",
        {
            "predict": ("predict", "predict"),
            "export": ("interchange", "export"),
            "import": ("interchange", "import_bundle"),
            "delete": ("runs", "delete"),
        },
    ),
    "Study": (
        "peftbench reproduce --workload quickstart --yes",
        {
            "reproduce": ("reproduce", "reproduce"),
            "report": ("report", "app"),
            "submit": ("submit", "submit"),
        },
    ),
    "Data and recipes": (
        "peftbench presets",
        {
            "presets": ("catalogue", "presets"),
            "methods": ("catalogue", "methods"),
            "rates": ("rates", "rates"),
            "workloads": ("catalogue", "workloads"),
            "sweeps": ("catalogue", "sweeps"),
            "augment": ("augment", "augment"),
        },
    ),
    "Machine": ("peftbench doctor", {"doctor": ("doctor", "doctor")}),
}
COMMANDS = {name: function for _, commands in PANELS.values() for name, function in commands.items()}


LONGEST_SENTENCE = 200  # of a command in the list of them


class Panels(TyperGroup):
    """The list of commands in the help, by panel, each with an example."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each panel as a section."""
        for title, (example, names) in PANELS.items():
            commands = [(name, command) for name in names if (command := self.get_command(ctx, name)) is not None]
            if not commands:
                continue
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(LONGEST_SENTENCE)) for name, command in commands])
                formatter.write_text(f"Example: {example}")


def build(names: Iterable[str], completion: bool = False) -> typer.Typer:
    """Return the command line with these commands; with completion, shells can ask it what may follow."""
    built = typer.Typer(
        name="peftbench",
        cls=Panels,
        help="Which fine-tuning method, at which cost? Train variants of an encoder on sentence tasks and compare "
        "them.",
        no_args_is_help=False,
        add_completion=completion,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    built.callback(invoke_without_command=True)(root)
    for name in names:
        module, function = COMMANDS[name]
        command = getattr(import_module(f"peftbench.cli.{module}"), function)
        if isinstance(command, typer.Typer):
            built.add_typer(command, name=name)
        else:
            built.command(name)(command)
    return built


@cache
def __getattr__(name: str) -> Any:
    """Give `app`, the command line with every command, to who asks for it."""
    if name == "app":
        return build(COMMANDS, completion=True)
    raise AttributeError(name)


def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    theme: Theme = None,
    ascii_only: Ascii = False,
    read_only: ReadOnly = False,
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
        dashboard.dashboard(db, theme, ascii_only, read_only)
    elif db is not None or theme is not None or ascii_only or read_only:
        raise UsageError(
            f"options of the dashboard before the command '{context.invoked_subcommand}'",
            f"put --db behind it: peftbench {context.invoked_subcommand} --db FILE",
        )


def main() -> None:
    """Run the command line; a mistake of the user's ends in a message and an exit code, not in a traceback."""
    streams.prepare()
    quieten()
    code = EXIT_OK
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        (build([asked]) if asked in COMMANDS else build(COMMANDS, completion=True))()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else EXIT_FAILED if ended.code else EXIT_OK
    except PeftbenchError as error:
        with suppress(OSError):
            print_error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except OSError as error:
        if not streams.is_of_output(error):
            raise
    sys.exit(streams.finish(code, next((word for word in sys.argv[1:] if not word.startswith("-")), None)))

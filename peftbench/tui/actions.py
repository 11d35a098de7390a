"""What can be done in the dashboard: one list for the keys, the footer, the command palette and the help."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do: its action, key and label, what it does, and the command that does the same without a screen."""

    name: str
    key: str
    label: str
    help: str
    twin: str = ""
    shown: bool = True  # in the footer, where it has room

    def binding(self) -> Binding:
        """Return it as a key of a screen."""
        return Binding(self.key, self.name, self.label, show=self.shown, id=f"do.{self.name}", tooltip=self.help)


ACTIONS = (
    Action("new_run", "n", "New run", "Choose what to train; it runs in the background", "peftbench run --detach"),
    Action("pin", "space", "Pin", "Draw the run's curves, or no more", "peftbench watch RUN"),
    Action("compare", "c", "Compare", "The pinned runs side by side, with a verdict", "peftbench compare RUN RUN"),
    Action("stop", "s", "Stop", "Stop the run at its next step; it can go on later", "peftbench stop RUN"),
    Action("resume", "r", "Resume", "Go on with a run that stopped, failed or was lost", "peftbench resume RUN"),
    Action("log", "l", "Log", "What the run's worker prints, as it comes", "peftbench log RUN -f"),
    Action(
        "filter", "slash", "Filter", "Only runs whose name, state, method or workload has these words", "peftbench runs"
    ),
    Action("task", "t", "Task", "Curves of the next task, or of the mean of all", "peftbench show RUN"),
    Action("axis", "x", "Axis", "Curves over epochs, steps, minutes or kilojoules", "peftbench show RUN --reach SCORE"),
    Action("maximise", "z", "Max", "The focused chart or table on the whole screen, and back"),
    Action(
        "export", "e", "Export", "Write the run into files: tables, PEFT adapters, a bundle", "peftbench export RUN OUT"
    ),
    Action("open", "enter", "Open", "Everything of the run", "peftbench show RUN", shown=False),
    Action("window", "w", "Window", "One, five or thirty minutes of the meters, or the whole run", shown=False),
    Action("order", "o", "Order", "The newest first, the best, the active, or by name", "peftbench runs", shown=False),
    Action("retry", "R", "Retry", "The run's spec once more from the start", "peftbench retry RUN", shown=False),
    Action(
        "delete",
        "d",
        "Delete",
        "The run's rows, log and weights, after a question",
        "peftbench delete RUN",
        shown=False,
    ),
    Action(
        "demo", "D", "Demo", "Queue last-layer, full, LoRA and DoRA on sentences of our own", "make demo", shown=False
    ),
    Action(
        "help", "question_mark", "Help", "The keys, the signs, and the commands that do the same", "peftbench --help"
    ),
    Action("quit", "q", "Quit", "Leave; the runs go on"),
)
BY_NAME = {action.name: action for action in ACTIONS}
OF_APP = ("help", "quit")
# Which keys the footer shows first where it has no room for all.
FIRST_SHOWN = (
    "new_run",
    "pin",
    "compare",
    "help",
    "quit",
    "stop",
    "log",
    "filter",
    "task",
    "axis",
    "resume",
    "maximise",
    "export",
)


def key_name(key: str) -> str:
    """Return a key as a person writes it."""
    return {"slash": "/", "question_mark": "?"}.get(key, key)

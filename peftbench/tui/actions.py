"""The dashboard's actions: one list for key bindings, footer, command palette and help."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """An action: its name, key, label and help, and the equivalent shell command (`twin`)."""

    name: str
    key: str
    label: str
    help: str
    twin: str = ""
    shown: bool = True  # in the footer, if there is room
    acts: bool = False  # changes runs or writes files: not offered in a read-only dashboard

    def binding(self) -> Binding:
        """Return the action as a key binding."""
        return Binding(self.key, self.name, self.label, show=self.shown, id=f"do.{self.name}", tooltip=self.help)


ACTIONS = (
    Action(
        "new_run",
        "n",
        "New run",
        "Choose what to train; it runs in the background",
        "peftbench run --detach",
        acts=True,
    ),
    Action("pin", "space", "Pin", "Show or hide the run's curves", "peftbench watch RUN"),
    Action("compare", "c", "Compare", "Compare the pinned runs, with significance tests", "peftbench compare RUN RUN"),
    Action(
        "stop", "s", "Stop", "Stop the run at its next step; it can be resumed later", "peftbench stop RUN", acts=True
    ),
    Action("resume", "r", "Resume", "Resume a run that was stopped, failed or lost", "peftbench resume RUN", acts=True),
    Action("log", "l", "Log", "Follow the log of the run's worker", "peftbench log RUN -f"),
    Action(
        "filter",
        "slash",
        "Filter",
        "List only matching runs: words, method:dora, rank>=12, tag:x",
        "peftbench runs --filter FILTER",
    ),
    Action("task", "t", "Task", "Curves of the next task, or of the mean over tasks", "peftbench show RUN"),
    Action("axis", "x", "Axis", "Curves over epochs, steps, minutes or kilojoules", "peftbench show RUN --reach SCORE"),
    Action(
        "quantity",
        "v",
        "Value",
        "Training curve: loss, running metric, learning rate, gradient norm or steps/s",
        "peftbench export RUN OUT --format csv",
        shown=False,
    ),
    Action("smooth", "full_stop", "Smooth", "Smoothing of the training curves: 0.9, none, 0.98", shown=False),
    Action("log_scale", "y", "Log y", "Training charts with a logarithmic y axis, and back", shown=False),
    Action(
        "standings",
        "S",
        "Standings",
        "Rank the groups of the selected run's workload, with ties and costs",
        "peftbench standings",
    ),
    Action("meters", "m", "Meters", "The meters: focus them; below 100 columns, in place of the curves, and back"),
    Action("maximise", "z", "Max", "Show the focused part (table, curves or meters) full screen, and back"),
    Action(
        "export",
        "e",
        "Export",
        "Export the run: tables, PEFT adapters, a bundle",
        "peftbench export RUN OUT",
        acts=True,
    ),
    Action("open", "enter", "Open", "Show all details of the run", "peftbench show RUN", shown=False),
    Action("window", "w", "Window", "Meter charts of 1, 5 or 30 minutes, or the whole run", shown=False),
    Action(
        "card",
        "g",
        "GPU",
        "Meters of the next GPU as this dashboard reads it, then of the runs again",
        "nvidia-smi",
        shown=False,
    ),
    Action("tag", "T", "Tag", "Set the run's tags, to filter by", "peftbench tag RUN TAG", shown=False, acts=True),
    Action("pause", "p", "Pause", "Pause a replay, or go on; < and > move by 5 % of the run", shown=False),
    Action("order", "o", "Order", "Sort by newest, best, active or name", "peftbench runs", shown=False),
    Action("retry", "R", "Retry", "Run the spec again from the start", "peftbench retry RUN", shown=False, acts=True),
    Action(
        "delete",
        "d",
        "Delete",
        "Delete the run's rows, log and weights, after confirmation",
        "peftbench delete RUN",
        shown=False,
        acts=True,
    ),
    Action(
        "demo",
        "D",
        "Demo",
        "Queue last-layer, full, LoRA and DoRA on built-in data",
        "make demo",
        shown=False,
        acts=True,
    ),
    Action("help", "question_mark", "Help", "Keys, symbols and the equivalent commands", "peftbench --help"),
    Action("quit", "q", "Quit", "Quit; runs continue"),
)
BY_NAME = {action.name: action for action in ACTIONS}
OF_APP = ("help", "quit")
# Priority of keys in the footer if there is no room for all.
FIRST_SHOWN = (
    "new_run",
    "pin",
    "compare",
    "standings",
    "help",
    "quit",
    "stop",
    "log",
    "filter",
    "task",
    "meters",
    "axis",
    "resume",
    "maximise",
    "export",
)


def key_name(key: str) -> str:
    """Return the displayed name of a key."""
    return {"slash": "/", "question_mark": "?", "full_stop": "."}.get(key, key)

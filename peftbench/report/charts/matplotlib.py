"""Charts as SVG or PNG by matplotlib, an optional dependency that is imported lazily."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

from peftbench import formatting
from peftbench.errors import MissingError
from peftbench.report.charts.chart import Curve, Picture, bounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Format = Literal["svg", "png"]
FORMATS: tuple[Format, ...] = ("svg", "png")
_COLOURS = (
    "#2563c9",
    "#c2410c",
    "#15803d",
    "#8e3fb5",
    "#0e7490",
    "#b4235a",
    "#7a6a00",
    "#4b5563",
    "#4338ca",
    "#92400e",
)
_INCHES, _DPI = (7.0, 4.2), 160
_SETTINGS = {"svg.hashsalt": "peftbench", "svg.fonttype": "none"}  # reproducible files, with text as text


def drawn(picture: Picture, written: Format) -> bytes:
    """Return a chart as the content of an image file.

    Raises:
        MissingError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingError(
            "writing a chart to a file needs matplotlib, which is not installed",
            "pip install 'peftbench[plots]', or leave out --out to draw in the terminal",
        ) from None
    if picture.empty is not None:
        raise MissingError(f"{picture.title}: {picture.empty}")
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.add_subplot()
        _bars(axes, picture) if picture.bars else _curves(axes, picture)
        axes.set_title(_plain(picture.title), fontsize=11)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside right upper", fontsize=8)  # beside the plot, so that it hides no curve
        figure.supxlabel(_plain("; ".join(picture.notes)), fontsize=7, color="#5c6670", wrap=True)
        out = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if written == "svg" else {"Software": None}
        figure.savefig(out, format=written, dpi=_DPI, metadata=metadata)
    return out.getvalue()


def _curves(axes: Axes, picture: Picture) -> None:
    from matplotlib.ticker import MaxNLocator

    for curve in picture.curves:
        _curve(axes, curve)
    (x_low, x_high), (y_low, y_high) = bounds(picture)
    axes.set_xlim(x_low, x_high)
    axes.set_ylim(y_low, y_high)
    axes.set_xlabel(_plain(picture.x_label))
    axes.set_ylabel(_plain(picture.y_label))
    axes.grid(alpha=0.3)
    if picture.ticks:
        axes.set_xticks([value for value, _ in picture.ticks], [_plain(text) for _, text in picture.ticks])
    elif picture.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _curve(axes: Axes, curve: Curve) -> None:
    colour = _COLOURS[curve.colour % len(_COLOURS)]
    ys = [float("nan") if y is None else y for y in curve.ys]
    style: dict[str, Any] = {
        "color": colour,
        "linestyle": ("--" if curve.dashed else "-") if curve.joined else "none",
        "marker": "o" if curve.marked else None,
        "markerfacecolor": "white" if curve.hollow else colour,
        "markersize": 4.5,
        "linewidth": 1.2 if curve.dashed else 1.6,
    }
    if curve.name:
        style["label"] = _plain(curve.name)
    axes.plot(curve.xs, ys, **style)
    if curve.lows:
        axes.vlines(curve.xs, curve.lows, curve.highs, color=colour, linewidth=1.2, alpha=0.7)


def _bars(axes: Axes, picture: Picture) -> None:
    positions = range(len(picture.bars))
    starts = [0.0] * len(picture.bars)
    for part, name in enumerate(picture.parts):
        values = [bar.values[part] for bar in picture.bars]
        axes.barh(positions, values, left=starts, color=_COLOURS[part], label=_plain(name), height=0.7)
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    for position, total in zip(positions, starts, strict=True):
        axes.text(total, position, f" {formatting.mib(total)}", va="center", fontsize=7)
    axes.set_yticks(positions, [_plain(bar.name) for bar in picture.bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(_plain(picture.x_label))
    axes.margins(x=0.1)


def _plain(text: str) -> str:
    """Escape a text so that matplotlib does not parse it as maths or omit it from the legend."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")

"""Pictures as SVG to stand in the page: their colours are the page's, light or dark, and their text stays text."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

# Colours that are drawn with, and the page's variables that take their place.
INK, MUTED, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#050501", "#050502", "#050503", "#050504", "#050505", "#050506")
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PAPER: "paper"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES)
}
MODEL = SERIES[0]
_MOST_NAMES = 12

_STYLE = {
    **{"svg.fonttype": "none", "font.size": 10, "legend.fontsize": 10},
    **{"axes.labelsize": 10, "xtick.labelsize": 10, "ytick.labelsize": 10},
    **{"text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": LINE, "axes.facecolor": "none"},
    **{"xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED},
    **{"grid.color": LINE, "grid.linewidth": 0.6, "axes.grid": True, "axes.axisbelow": True},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False},
    **{"ytick.left": False, "ytick.minor.left": False, "legend.frameon": False, "lines.linewidth": 1.6},
}


Bars = tuple[Sequence[float], Sequence[float] | None]
"""Heights, and half the lengths of the lines of uncertainty, if there are such."""


def drawing(width: float = 4.7, height: float = 3.0) -> tuple[Figure, Axes]:
    """An empty picture, in inches of 72 pixels: what fits a narrow screen, so that text need not shrink."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a page depends on nobody's taste
        matplotlib.rcParams.update(_STYLE)
        made = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        axes = made.subplots()
        axes.grid(axis="x", visible=False)
    return made, axes


def colour(place: int) -> str:
    """A colour of the series; they repeat."""
    return SERIES[place % len(SERIES)]


def shade(place: int, count: int) -> float:
    """How opaque one of many alike is drawn, from full to a third."""
    return 1.0 - 0.67 * place / max(count - 1, 1)


def key(axes: Axes, columns: int = 3) -> None:
    """A legend above the picture."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=columns, labelcolor=INK, frameon=False)


def powers(axis: Axis, subs: Sequence[int] = (1,), shown: str = "{x:,g}") -> None:
    """A logarithmic axis with plain numbers at powers of ten, and at some multiples of them where it spans few."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter(shown))
    axis.set_minor_formatter(NullFormatter())


def whole(axis: Axis) -> None:
    """An axis of things that are counted: no marks between whole numbers, however few there are."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.set_major_formatter("{x:,.0f}")


def bars(axes: Axes, labels: Sequence[str], groups: Mapping[str, Bars]) -> None:
    """Bars side by side with the lines of their uncertainty.

    Args:
      axes: to draw on.
      labels: of the places.
      groups: by name, a bar a place each.
    """
    width = 0.8 / len(groups)
    for number, (name, (heights, errors)) in enumerate(groups.items()):
        places = [place + (number - (len(groups) - 1) / 2) * width for place in range(len(labels))]
        axes.bar(places, heights, width * 0.92, color=colour(number), label=name)
        if errors is not None:
            axes.errorbar(places, heights, errors, fmt="none", color=INK, elinewidth=0.9, capsize=1.5)
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(bottom=0)


def slant(axes: Axes) -> None:
    """Names of places that would not fit side by side, each ending at its place; of very many, every other one."""
    for number, label in enumerate(axes.get_xticklabels()):
        label.set(rotation=45, ha="right", rotation_mode="anchor")
        label.set_visible(len(axes.get_xticks()) <= _MOST_NAMES or number % 2 == 1)


def svg(made: Figure, name: str, says: str) -> str:
    """The picture as markup.

    Args:
      made: by `drawing`.
      name: unlike that of any other picture of the page: names of its elements are made from it.
      says: for who cannot see it.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        made.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    found = file.getvalue()
    found = re.sub(r"<metadata>.*?</metadata>", "", found[found.index("<svg") :], flags=re.DOTALL)
    for drawn, variable in _VARIABLES.items():
        found = found.replace(drawn, f"var(--{variable})")
    found = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", found)
    return found.replace("<svg ", f'<svg role="img" aria-label="{html.escape(says)}" ', 1)

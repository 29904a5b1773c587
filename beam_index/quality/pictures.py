"""The pictures of the report, as SVG that is the same each time."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beam_index.quality.summary import Quality

_ACCENT, _OTHER, _WARNING = "#4477aa", "#99bbdd", "#cc6677"

Draw = Callable[[Quality], str]


def _by_defaults(draw: Draw) -> Draw:
    """Draws without the settings of whoever runs this: an index depends on nobody's taste."""

    @functools.wraps(draw)
    def drawn(quality: Quality) -> str:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            return draw(quality)

    return drawn


@_by_defaults
def fidelity(quality: Quality) -> str:
    """Bars of each measure against exact scoring, for each way of making sums."""
    ways = {way: values for way, values in quality.sums.items() if any(name.startswith("overlap") for name in values)}
    names = [name for name in next(iter(ways.values())) if name.startswith(("overlap", "dcg"))]
    figure, axes = _figure(1.2 + 0.3 * len(ways) * len(names))
    for number, (name, colour) in enumerate(zip(names, _shades(len(names)), strict=True)):
        values = [values[name] or 0.0 for values in ways.values()]
        places = [place + (number - (len(names) - 1) / 2) * 0.8 / len(names) for place in range(len(ways))]
        bars = axes.barh(places, values, height=0.75 / len(names), color=colour, label=name)
        axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize=9)
    axes.set_yticks(range(len(ways)), list(ways))
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.12), xlabel="share of exact scoring that is kept")
    figure.legend(loc="outside lower center", ncols=len(names), frameon=False)
    return _svg(figure, "fidelity")


@_by_defaults
def budget(quality: Quality) -> str:
    """Bars of the accuracy of what could be built within a budget, the chosen first and dark."""
    measured = quality.budget.measured
    figure, axes = _figure(1.0 + 0.4 * len(measured))
    names, values = [str(each.candidate) for each in measured], [each.accuracy for each in measured]
    bars = axes.barh(names, values, height=0.6, color=[_ACCENT, *[_OTHER] * (len(measured) - 1)])
    axes.bar_label(bars, [f"{value:.4f}" for value in values], padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.12 * max(*values, 1e-6)), xlabel=quality.budget.measure)
    return _svg(figure, "budget")


@_by_defaults
def list_lengths(quality: Quality) -> str:
    """How many lists of codes there are of each length."""
    lists = quality.code_lists
    figure, axes = _figure(2.6)
    names = [str(least) if least == greatest else f"{least} to {greatest}" for least, greatest, _ in lists.histogram]
    colours = [_WARNING if not greatest else _ACCENT for _, greatest, _ in lists.histogram]
    axes.bar(range(len(names)), [count for *_, count in lists.histogram], color=colours, width=0.9)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set(xlabel="items in a list", ylabel="lists")
    return _svg(figure, "lists")


@_by_defaults
def code_use(quality: Quality) -> str:
    """Share of tokens with each code, most used first, a line a slot."""
    figure, axes = _figure(3.0)
    for use, colour in zip(quality.codes, _shades(len(quality.codes)), strict=True):
        shares = [count / use.tokens for count in use.counts]
        axes.plot(range(1, len(shares) + 1), shares, color=colour, marker=".", markersize=3, label=f"slot {use.slot}")
    axes.set(xscale="log", yscale="log", xlabel="code, most used first", ylabel="share of the slot's tokens")
    if len(quality.codes) <= 12:
        axes.legend(frameon=False, fontsize=8)
    return _svg(figure, "codes")


@_by_defaults
def coverage(quality: Quality) -> str:
    """One bar: items in lists of codes, in ready lists only, in none."""
    figure, axes = _figure(1.5)
    in_codes = quality.items - quality.items_in_no_code_list
    ready_only = quality.items_in_no_code_list - quality.items_in_no_list
    left = 0
    parts = (
        ("in lists of codes", in_codes),
        ("in ready lists only", ready_only),
        ("in none", quality.items_in_no_list),
    )
    for (name, count), colour in zip(parts, (_ACCENT, _OTHER, _WARNING), strict=True):
        axes.barh([0], [count], left=left, color=colour, label=f"{name}: {count:,}")
        left += count
    axes.set_yticks([])
    axes.set(xlim=(0, quality.items), xlabel="items of the catalogue")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return _svg(figure, "coverage")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _shades(count: int) -> Sequence[tuple[float, ...]]:
    """Colours from dark to light."""
    return [matplotlib.colormaps["Blues"](0.9 - 0.55 * place / max(count - 1, 1)) for place in range(count)]


def _svg(figure: Figure, name: str) -> str:
    """The picture without its XML header, to stand in a page beside others of other names."""
    file = io.StringIO()
    # Names of elements are made from the salt, not by chance, and text stays text.
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :]

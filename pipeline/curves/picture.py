"""The curves as a picture."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from pipeline.curves.measure import METRICS, SUMS, Point

_COLOURS = dict(zip(SUMS, ("#4477aa", "#cc6677", "#228833"), strict=True))
_STYLES = {8: (":", "o"), 16: ("--", "s"), 32: ("-", "^")}


def draw(points: Sequence[Point], title: str, path: pathlib.Path) -> None:
    """A panel a metric: a line a way of making sums and bits of a score, over the bytes of the index."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(1, len(METRICS))
    for axes, metric in zip(panels, METRICS, strict=True):
        for sums in SUMS:
            for bits, (line, marker) in _STYLES.items():
                curve = [point for point in points if (point.sums, point.size.score_bits) == (sums, bits)]
                curve.sort(key=lambda point: point.index_bytes)
                if curve:
                    axes.plot(
                        [point.index_bytes / 1e6 for point in curve],
                        [point.mean(metric) for point in curve],
                        **{"color": _COLOURS[sums], "linestyle": line, "marker": marker, "markersize": 4},
                        label=f"{sums}, {bits} bits",
                    )
        axes.set(xscale="log", xlabel="index, MB (lists, and the block where sums are completed)", ylabel=_name(metric))
        _plain_ticks(axes)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(SUMS), frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def _plain_ticks(axes) -> None:
    """Megabytes as numbers, not as powers of ten: a curve may span less than one."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name(metric: str) -> str:
    return {"recall@50": "Recall@50, served", "ndcg@50": "NDCG@50, served"}[metric]

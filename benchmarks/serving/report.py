"""The figures as tables and as a picture."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = {"recall": ".3f", "p50_ms": ".2f", "p95_ms": ".2f", "p99_ms": ".2f", "cpu_ms": ".2f", "qps_per_core": ",.0f"}
_SHOWN_OPS = 14


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a system, aligned, for a terminal and for Markdown alike."""
    lines = [f"| {'items':>10} | {'system':<28} | {' | '.join(f'{name:>12}' for name in _COLUMNS)} |"]
    lines += [f"|{'-' * 11}:|{'-' * 30}|{'|'.join(['-' * 13 + ':'] * len(_COLUMNS))}|"]
    for row in rows:
        cells = [f"{_shown(row.get(name), form):>12}" for name, form in _COLUMNS.items()]
        lines.append(f"| {row['items']:>10,} | {row['system']:<28} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def ops_table(spent: Mapping[str, Mapping[str, float]]) -> str:
    """Where the time of each servable goes: microseconds a query and share by type of op."""
    parts = []
    for name, micros in spent.items():
        total = sum(micros.values())
        lines = [f"{name}: {total:,.0f} us a query in ops"]
        for op, each in list(micros.items())[:_SHOWN_OPS]:
            lines.append(f"  {op:<28} {each:>8,.0f} us {each / total:>6.1%}")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def draw(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Two panels over the size of the catalogue: latency at batch 1, queries a second and core at batch 32."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    panels = figure.subplots(1, 2)
    titles = {"p50_ms": "p50 at batch 1, ms", "qps_per_core": "queries a second of a core, batch 32"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for system in dict.fromkeys(row["system"] for row in rows):
            points = [(row["items"], row[name]) for row in rows if row["system"] == system]
            line = "-" if system.startswith("sparcode") else ":" if system == "encoder" else "--"
            axes.plot(*zip(*points, strict=True), line, marker="o", markersize=4, label=system)
        axes.set(xscale="log", yscale="log", xlabel="items", title=title)
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=130)

"""The comparison as a picture."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from pipeline.comparison.statistics import Estimate
from protos.errors import UserError


def require_matplotlib() -> None:
    """Raises UserError where there is no matplotlib: better before the training than after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(
            "compare.png is drawn by matplotlib, which is not installed; it comes with the extra 'dev':"
            " pip install 'sparcode[dev]', or `make install` in a checkout"
        ) from error


def draw(estimates: Mapping[str, Estimate], title: str, path: pathlib.Path) -> None:
    """Bars of NDCG@50, one a model, first at the top, with whiskers of one standard error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.35 * len(estimates)), layout="constrained")
    axes = figure.subplots()
    values = [estimate.value for estimate in estimates.values()]
    errors = [estimate.error or 0.0 for estimate in estimates.values()]
    bars = axes.barh(list(estimates), values, xerr=errors, color="#4477aa", ecolor="#222222", capsize=3)
    axes.bar_label(bars, [f"{value:.4f}" for value in values], padding=4)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(title=title, xlabel="NDCG@50, test, full ranking (whiskers: one standard error)")
    figure.savefig(path, dpi=150)

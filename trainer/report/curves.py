"""How training went, epoch by epoch, from what it wrote for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from trainer.report.events import Curves, read_scalars
from trainer.report.markup import Section, figure, figures, lead, note
from trainer.report.pictures import MUTED, colour, drawing, key, shade, svg, whole
from trainer.report.run import Run
from trainer.tensorboard import FINAL, PHASE
from trainer.training import SELECTED_BY
from trainer.warm_start import member_directory

_LOSS, _SCORE, _PERPLEXITY = "epoch_loss", f"epoch_{SELECTED_BY}", "epoch_perplexity/"


def curves_section(run: Run) -> Section:
    """Loss, validation and perplexity of every member."""
    count = run.config.training.num_members
    members = [_curves(run, number) for number in range(count)]
    numbers = {"members": members, "final": final_metrics(run)}
    drawn = [
        _figure(members, "loss", "Loss", "Mean training loss of an epoch.", *_LOSS_ADVICE),
        _figure(members, "validation", "Validation", f"{SELECTED_BY.upper()} on validation.", *_VALIDATION_ADVICE),
        *([_perplexity(members[0])] if members[0]["perplexity"] else []),
    ]
    if not any(member["loss"] for member in members):
        return Section("Training", note("There are no event files in logs/: nothing to draw."), numbers)
    return Section("Training", lead(_said(members, numbers["final"])) + figures(drawn), numbers)


_LOSS_ADVICE = (
    "a fall that flattens.",
    "a loss that rises or jumps within a phase: lower training.learning_rate. At the change of phase it starts anew.",
)
_VALIDATION_ADVICE = (
    "it rises and then levels off; training stops a few validations after the best.",
    "still rising at the end: allow more training.epochs. Best at the start of the second phase: codes lose more than"
    " their interactions win back; try more codewords or levels.",
)


def final_metrics(run: Run) -> Mapping[str, float]:
    """What the whole model came to on validation, by name; empty for runs that did not write it."""
    found = read_scalars(run.job_dir / "logs")
    return {tag.removeprefix(FINAL): points[0] for tag, points in found.items() if tag.startswith(FINAL)}


def _curves(run: Run, number: int) -> dict[str, Any]:
    logs = member_directory(run.job_dir, number, run.config.training.num_members) / "logs"
    own, training, validation = (read_scalars(logs / name) for name in (".", "train", "validation"))
    phases = own.get(PHASE, {})
    return {
        "loss": training.get(_LOSS, {}),
        "validation": _first(_SCORE, validation, training),
        "perplexity": {
            tag.removeprefix(_PERPLEXITY): points for tag, points in training.items() if tag.startswith(_PERPLEXITY)
        },
        "codes_from": min((epoch for epoch, phase in phases.items() if phase), default=None) if phases else None,
    }


def _first(tag: str, *places: Curves) -> Mapping[int, float]:
    return next((place[tag] for place in places if tag in place), {})


def _said(members: list[dict[str, Any]], final: Mapping[str, float]) -> str:
    epochs = max((len(member["loss"]) for member in members), default=0)
    best = max((max(member["validation"].values(), default=0.0) for member in members), default=0.0)
    said = f"{epochs} epochs. The best validation of {'a member' if len(members) > 1 else 'the run'} is {best:.4f}."
    if SELECTED_BY in final:
        said += f" The whole model, as it was exported, comes to {final[SELECTED_BY]:.4f} {SELECTED_BY.upper()}."
    if members[0]["codes_from"] is not None:
        said += " First tokens are trained as they are; the dashed line is where k-means makes codes of them."
    return said


def _figure(members: list[dict[str, Any]], name: str, title: str, shows: str, good: str, bad: str) -> str:
    made, axes = drawing()
    for number, member in enumerate(members):
        epochs = [epoch + 1 for epoch in member[name]]
        axes.plot(epochs, list(member[name].values()), color=colour(0), alpha=shade(number, len(members)))
        if name == "validation" and epochs:
            best = max(member[name], key=member[name].get)
            axes.plot([best + 1], [member[name][best]], "o", color=colour(0), markersize=5)
    _mark_phase(axes, members)
    axes.set(xlabel="epoch")
    whole(axes.xaxis)
    return figure(svg(made, f"curves-{name}", shows), title, shows, good, bad)


def _perplexity(member: dict[str, Any]) -> str:
    made, axes = drawing()
    for number, (name, points) in enumerate(sorted(member["perplexity"].items())):
        label = name.replace("_", " ").removesuffix(" book 0") if len(member["perplexity"]) <= 6 else None
        axes.plot([epoch + 1 for epoch in points], list(points.values()), ".-", color=colour(number), label=label)
    if len(member["perplexity"]) <= 6:
        key(axes, columns=2)
    axes.set(xlabel="epoch", ylim=(0, None))
    whole(axes.xaxis)
    return figure(
        svg(made, "curves-perplexity", "Perplexity of each codebook by epoch"),
        "Perplexity",
        "Codes in even use that would be as diverse as those in use, of each codebook, since there are codes.",
        "level, and a good part of the number of codewords.",
        "falling: codes collapse. Raise quantizer.revive_fraction or quantizer.balance_weight.",
    )


def _mark_phase(axes: Axes, members: list[dict[str, Any]]) -> None:
    for begins in {member["codes_from"] for member in members} - {None}:
        axes.axvline(begins + 0.5, color=MUTED, linestyle="--", linewidth=1)

"""How long posting lists are: those of an index, or, without one, those that there could be."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from protos.artifact import MANIFEST
from protos.errors import UserError
from trainer.report.classes import from_to, growing
from trainer.report.exported import Exported
from trainer.report.markup import Section, beside, figure, lead, table
from trainer.report.pictures import bars, drawing, slant, svg
from trainer.report.run import Run

_FEW_NAMES = 5
_QUANTILES = {
    "min": "shortest",
    "p10": "10% are not longer than",
    "median": "median",
    "p90": "90% are not longer than",
    "max": "longest",
}
_POSSIBLE_ADVICE = {
    "good": "short lists: most items score nothing with most codes, and an index may hold them all.",
    "bad": "full ones: every item scores something with every code, so lists are cut at --postings_per_code, and the"
    " next section says what that costs. loss.sparsity_weight trains shorter ones.",
}
_ADVICE = {
    "good": "lengths spread over some classes, and few lists empty or full.",
    "bad": "all lists as long as they may be: they were cut, and longer ones would keep more. Many empty ones are of"
    " codes that nothing leads to: train with fewer codewords.",
}


def lists_section(run: Run, index: pathlib.Path | None) -> Section:
    """Lengths of lists, as a picture and in words."""
    if index is None:
        numbers = possible_lengths(run.exported)
        said = (
            f"Without --index: items that a code scores above 0, of {numbers['codes']:,} of {run.exported.space.size:,}"
            f" codes. A list can be no longer, and the index build keeps only the best of them (--postings_per_code)."
        )
    else:
        numbers = read_index(index, run.job_dir / "export")
        said = f"Lists of codes in {index.name}. All lists, ready ones included, have {numbers['postings']:,} postings."
    median = numbers["quantiles"].get("median")
    said += "" if median is None else f" The median list has {median:,.0f} of {run.exported.num_items:,} items."
    picture = _picture(numbers["histogram"], _POSSIBLE_ADVICE if index is None else _ADVICE)
    return Section("Lists", lead(said) + beside(picture, _table(numbers)), numbers)


def _table(numbers: dict[str, Any]) -> str:
    found = numbers["quantiles"]
    rows = [[words, f"{found[name]:,.0f}"] for name, words in _QUANTILES.items() if name in found]
    if numbers.get("fidelity") is not None:
        rows.append(["fidelity, share of exact answers kept", f"{numbers['fidelity']:.4f}"])
    return table(["lists of codes", "items"], rows)


def possible_lengths(exported: Exported) -> dict[str, Any]:
    """Of codes at even distances: how many items each scores above 0."""
    keys = exported.some_keys()
    lengths = (exported.contributions(keys) > 0).sum(axis=1)
    classes = growing(4, max(int(lengths.max()), 1))
    found = np.bincount(classes.of(lengths), minlength=len(classes.names))
    return {
        "codes": len(keys),
        "quantiles": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "histogram": [[name, int(lists)] for name, lists in zip(classes.names, found, strict=True)],
    }


def read_index(index: pathlib.Path, export: pathlib.Path) -> dict[str, Any]:
    """What an index says of its lists, in `quality.json` and in its manifest.

    Raises:
      UserError: it is no index of this export, or was built without measuring its quality.
    """
    if not (export / MANIFEST).is_file():
        raise UserError(
            f"--index {index} cannot be of this run: there is no export {export} that one could be built from"
        )
    manifest, quality = (_json(index / name) for name in (MANIFEST, "quality.json"))
    model = _json(export / MANIFEST)
    if manifest.get("model_fingerprint") != model["fingerprint"]:
        raise UserError(f"--index {index} was built from another model than {export}; give the index of this run")
    lists = quality["code_lists"]
    return {
        "codes": lists["count"],
        "postings": manifest["postings"],
        "quantiles": lists["quantiles"],
        "fidelity": quality["fidelity"],
        "histogram": [[from_to(least, greatest), count] for least, greatest, count in lists["histogram"]],
    }


def _json(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} does not exist; --index wants an index of beam_index.build with its quality.json")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}); build the index again") from error


def _picture(histogram: list[list], advice: dict[str, str]) -> str:
    made, axes = drawing()
    names, counts = zip(*histogram, strict=True)
    bars(axes, names, {"lists": (counts, None)})
    if len(names) > _FEW_NAMES:
        slant(axes)
    axes.set(xlabel="items in a list", ylabel="lists")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    picture = svg(made, "lists-lengths", "Lists of codes by their length")
    return figure(picture, "Lengths of lists", "Lists of codes by the items in them.", **advice)

"""What an update starts from: which tiles of the catalogue are not what they were when the base was built."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_index.geometry import tile_span
from beam_index.plan import Base, Plan
from beam_index.scoring import shared_scorer
from protos.artifact import read_manifest
from protos.errors import UserError

# What scores of codes depend on beside the items: in the exports of a model that has not been trained anew, the same.
_SAME = ("scorer", "bias", "num_slots", "num_codebooks", "num_codewords")


def with_updates(plan: Plan, base: pathlib.Path | None, format_name: str, export: Mapping[str, Any]) -> Plan:
    """The plan with the digests of its tiles and with its base, where it needs them.

    Args:
      plan: of the build.
      base: directory of the index to start from, or None.
      format_name: of indexes.
      export: manifest of the model.

    Raises:
      UserError: the base was not built to be updated, or from another model, or with other options; or the
        export does not say enough to update its indexes.
    """
    if not plan.updatable and base is None:
        return plan
    if "scorer" not in export["model"]:
        raise UserError(
            f"the export {plan.model} does not tell its scorer from its items, which updates need; export it again"
        )
    plan = dataclasses.replace(plan, digests=tuple(tile_digests(plan)))
    if base is None:
        return plan
    manifest = read_manifest(base, format_name)
    _require_same(manifest, plan, export, base)
    tiles = itertools.zip_longest(manifest["tiles"], plan.digests)
    stale = tuple(tile for tile, (old, new) in enumerate(tiles) if old != new)
    return dataclasses.replace(plan, base=Base(str(base), manifest["items"], stale))


def tile_digests(plan: Plan) -> list[str]:
    """SHA-256 of what each tile's scores depend on: its items' parts, and which of them are removed."""
    scorer = shared_scorer(plan)
    scorer.require_stages("updates need")
    digests = []
    for tile in range(plan.num_tiles):
        digest = hashlib.sha256(str(tile_span(tile, plan.num_items)).encode())
        for part in scorer.item_parts(tile):
            digest.update(np.ascontiguousarray(part))
        digest.update(plan.removed_in(tile_span(tile, plan.num_items)).tobytes())
        digests.append(digest.hexdigest())
    return digests


def _require_same(manifest: Mapping[str, Any], plan: Plan, export: Mapping[str, Any], base: pathlib.Path) -> None:
    if not manifest.get("tiles"):
        raise UserError(f"--base_index {base} was not built with --updatable; build in full")
    for name in _SAME:
        old, new = manifest["model"].get(name), export["model"].get(name)
        if old != new:
            raise UserError(
                f"--base_index {base} was built from another model: its {name} is {old}, that of {plan.model} is {new};"
                " only the catalogue may differ; build in full"
            )
    old = manifest["options"]["postings_per_code"], bool(manifest["block"])
    if old != (plan.postings_per_code, plan.block):
        raise UserError(
            f"--base_index {base} was built with --postings_per_code {old[0]} and {_block(old[1])}, this build has"
            f" {plan.postings_per_code} and {_block(plan.block)}; build with the same, or in full"
        )


def _block(there: bool) -> str:
    return "a completion block" if there else "--no_block"

"""Measures an index by a sample of queries: what its answers keep of exact scoring."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from beam_index.options import parse
from beam_index.plan import EXPORT_FORMAT, Plan, make_plan
from beam_index.quality import measures
from beam_index.quality.best import Best
from beam_index.quality.contributions import InBlock, Scored
from beam_index.quality.encode import Encoded, encode
from beam_index.quality.lists import Lists, Overview, joined, read_index_lists, read_ready_lists
from beam_index.quality.lookup import NO_KEY, Found, find
from beam_index.quality.replay import COMPLETED, EXACT, SPARSE, Query, World, replay
from beam_index.quality.sample import read_catalogue, read_sample
from beam_index.quality.skew import code_use, lengths
from beam_index.quality.summary import Quality
from beam_index.screening import without_bad_items
from protos.artifact import read_manifest
from protos.errors import UserError


@dataclasses.dataclass(frozen=True)
class CheckOptions:
    """What to measure by.

    Attributes:
      queries: parquet file of queries (see sample.py).
      limit: most queries of the sample.
      cuts: every k to measure at; the largest is that of the fidelity.
    """

    queries: pathlib.Path
    limit: int = 512
    cuts: tuple[int, ...] = (50, 10)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise UserError(f"--quality_queries is {self.limit:,}; expected at least 1")
        if not self.cuts or min(self.cuts) < 1:
            raise UserError(f"--k is {' '.join(map(str, self.cuts))}; expected numbers of 1 and more")


def check(
    model_dir: str | os.PathLike[str], index_dir: str | os.PathLike[str], options: CheckOptions | None = None
) -> Quality:
    """Measures an index, finished or not: only its files of lists and of the block are read, and no manifest.

    Args:
      model_dir: the export that the index was built from.
      index_dir: the index.
      options: None: the export's own queries, and the defaults.

    Raises:
      UserError: the export, the queries or the files of the index will not do.
    """
    model = pathlib.Path(model_dir)
    return measure(plan_of(model, pathlib.Path(index_dir)), options or CheckOptions(model / "queries.parquet"))


def plan_of(model: pathlib.Path, index: pathlib.Path) -> Plan:
    """A plan by which the index can be measured: what it was built with besides does not matter.

    Raises:
      UserError: the export will not do.
    """
    options, _ = parse(
        ["--model", str(model), "--output", str(index), "--codes=all", "--no_block", "--max_bad_share=1"]
    )
    plan = make_plan(options, read_manifest(model, EXPORT_FORMAT), index, journal=os.devnull)
    return without_bad_items(plan, options.max_bad_share)


def measure(plan: Plan, options: CheckOptions) -> Quality:
    """Measures the index in the files at `plan.directory`; see `check`."""
    model = pathlib.Path(plan.model)
    sample = read_sample(options.queries, options.limit, plan.inputs)
    catalogue = read_catalogue(model)
    encoded = encode(plan, sample.queries)
    overview, lists, found = look_up(plan, encoded)
    world = make_world(plan, encoded, found, overview, lists)
    answers = replay(Query(encoded, found.keys, catalogue.rows(sample.histories)), world, max(options.cuts))
    relevant = catalogue.rows(sample.relevant)
    sums = {way: dict(_measured(way, answers, relevant, options.cuts)) for way in answers}
    default, cut = COMPLETED if world.completed is not None else SPARSE, max(options.cuts)
    ready = overview.keys >= plan.space.size
    return Quality(
        queries={"file": sample.asked, "sample": len(sample), "with_targets": sum(map(bool, sample.relevant))},
        default_sums=default,
        cut=cut,
        fidelity=sums[default][f"overlap@{cut}"],
        sums=sums,
        items=plan.num_items,
        items_in_no_list=int((~overview.in_any_list).sum()),
        items_in_no_code_list=int((~overview.in_code_list).sum()),
        code_lists=lengths(overview.lengths[~ready]),
        ready_lists=lengths(overview.lengths[ready]),
        codes=code_use(encoded.keys[:, : encoded.num_tokens], plan.space),
        tokens=found.fallback.size,
        unknown=measures.mean(found.fallback.ravel().astype(float)),
        without_list=measures.mean((found.keys[:, : encoded.num_tokens] == NO_KEY).ravel().astype(float)),
    )


def require_fidelity(quality: Quality, least: float) -> None:
    """Raises UserError where the index keeps less of exact scoring than asked."""
    if least <= 0:
        return
    if quality.fidelity is None:
        raise UserError(
            f"the fidelity of the index could not be measured: exact scoring has no answer for any of the"
            f" {quality.queries['sample']:,} queries of the sample; --min_fidelity {least:g} cannot be met: give other"
            " --queries, or look at the model"
        )
    if quality.fidelity < least:
        raise UserError(
            f"the fidelity of the index is {quality.verdict}, below --min_fidelity {least:g}: raise"
            " --postings_per_code, build with the completion block, index all codes or more --queries, or ask for less"
        )


def look_up(plan: Plan, encoded: Encoded) -> tuple[Overview, Lists, Found]:
    """All lists' lengths, the lists that the queries look up, and which those are."""
    own = np.unique(encoded.keys)
    size = plan.space.size
    overview, lists = read_index_lists(plan.directory, own, plan.num_items, size)
    found = find(encoded, overview.listed, plan.space)
    others = np.setdiff1d(found.keys, [*own, NO_KEY])
    if len(others):  # lists that serve unknown codes are known only when all keys are
        lists = joined(lists, read_index_lists(plan.directory, others, plan.num_items, size)[1])
    return overview, lists, found


def make_world(plan: Plan, encoded: Encoded, found: Found, overview: Overview, lists: Lists) -> World:
    """What the queries are answered from: the index, and the model for exact scores."""
    num_tokens = encoded.num_tokens
    completed = None
    if any(pathlib.Path(plan.directory).glob("block-*")):
        served, of_codes = np.unique(found.keys[:, :num_tokens]), overview.keys[overview.keys < plan.space.size]
        completed = InBlock(served[served != NO_KEY], of_codes, plan.directory, plan.num_items)
    return World(
        num_items=plan.num_items,
        exact=Scored(np.unique(encoded.keys[:, :num_tokens]), plan),
        events=read_ready_lists(pathlib.Path(plan.model), encoded.keys[:, num_tokens:], plan.removed, plan.bad_lists),
        lists=lists,
        completed=completed,
    )


def _measured(
    way: str, answers: Mapping[str, Best], relevant: list[np.ndarray], cuts: tuple[int, ...]
) -> Iterator[tuple[str, float | None]]:
    """Names and means of all measures of a way of making sums; of exact scoring, only those by targets."""
    found, exact, cut = answers[way], answers[EXACT], max(cuts)
    if way != EXACT:
        for k in cuts:
            yield f"overlap@{k}", measures.mean(measures.overlap(found.rows, exact.rows, k))
        yield f"dcg_ratio@{cut}", measures.mean(measures.dcg_ratio(found, exact, cut))
    if any(map(len, relevant)):
        yield f"ndcg@{cut}", measures.mean(measures.ndcg(found.rows, relevant, cut))
        yield f"recall@{cut}", measures.mean(measures.recall(found.rows, relevant, cut))

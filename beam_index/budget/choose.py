"""Chooses what to build within `--max_bytes`, and holds what was built against it."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator

import numpy as np

from beam_index.budget.choice import Budget, Candidate, ranked
from beam_index.budget.contest import Contest
from beam_index.budget.sizes import Sizes, sizes_of
from beam_index.codes import EncodeKeys
from beam_index.files import RECORDS
from beam_index.options import BuildOptions
from beam_index.plan import Plan
from beam_index.quality.check import CheckOptions
from beam_index.query_columns import column_names, open_queries
from beam_index.query_encoder import batches
from protos.errors import UserError

# Tried where --score_bits is not given.
_SCORE_BITS = (8, 16)
# The most postings of the sample's codes that are held to choose (32 bytes each while they are looked up). Lists of
# which the sample would have more are not tried.
_MOST_POSTINGS = 1 << 25


def undecided(options: BuildOptions) -> BuildOptions:
    """The options of a plan in which the budget has not decided yet: it is not to be refused for a block."""
    return options if options.max_bytes is None else dataclasses.replace(options, block=False)


def within_budget(plan: Plan, options: BuildOptions) -> tuple[Plan, Budget | None]:
    """The plan with the lists and the block that are most accurate within `--max_bytes`; as it is without a budget.

    Raises:
      UserError: nothing fits, or the queries tell nothing.
    """
    if options.max_bytes is None:
        return plan, None
    keys = code_keys(plan)
    sizes = sizes_of(plan, len(keys))
    contest = Contest(plan, CheckOptions(options.queries, options.quality_queries), keys)
    longest = max(1, _MOST_POSTINGS // max(contest.num_codes, 1))
    candidates = list(_candidates(options, options.max_bytes, sizes, longest))
    if not candidates:
        raise _too_small(options, options.max_bytes, sizes)
    measured = ranked(contest.measured(candidates))
    budget = Budget(options.max_bytes, contest.measure, contest.num_queries, options.fixed, measured)
    chosen = budget.chosen
    decided = {"postings_per_code": chosen.postings_per_code, "score_bits": chosen.score_bits, "block": chosen.block}
    return dataclasses.replace(plan, **decided), budget


def require_within(budget: Budget | None, directory: pathlib.Path) -> None:
    """Raises UserError if the files of lists and block take more than the budget."""
    if budget is None:
        return
    found = sum(path.stat().st_size for path in directory.glob(f"*{RECORDS}"))
    if found > budget.max_bytes:
        raise UserError(
            f"--max_bytes is {budget.max_bytes:,}, but the index takes {found:,} bytes, more than the"
            f" {budget.chosen.bytes:,} reckoned for {budget.chosen} at most; this is a mistake of the build: allow more"
        )


def _candidates(options: BuildOptions, max_bytes: int, sizes: Sizes, longest: int) -> Iterator[Candidate]:
    """All choices that fit, with the longest lists that do."""
    for block, bits in _choices(options, sizes):
        most = sizes.longest(block, bits, max_bytes)
        length = options.postings_per_code if _is_fixed(options) else min(most, longest)
        if 1 <= min(length, sizes.num_items) <= most:
            yield sizes.candidate(block, bits, length)


def _choices(options: BuildOptions, sizes: Sizes) -> Iterator[tuple[bool, int]]:
    """Block or not, and bits of a score."""
    blocks = (False, True) if options.block and sizes.block_is_possible else (False,)
    return itertools.product(blocks, (options.score_bits,) if "score_bits" in options.fixed else _SCORE_BITS)


def _is_fixed(options: BuildOptions) -> bool:
    return "postings_per_code" in options.fixed


def _too_small(options: BuildOptions, max_bytes: int, sizes: Sizes) -> UserError:
    bits = min(bits for _, bits in _choices(options, sizes))
    length = options.postings_per_code if _is_fixed(options) else 1
    least = sizes.total(False, bits, length)
    return UserError(
        f"--max_bytes is {max_bytes:,}, too small: the {sizes.ready_lists:,} ready lists of the export alone take up to"
        f" {sizes.ready(bits):,} bytes, and with lists of {length:,} for {sizes.num_codes:,} codes the least index"
        f" takes up to {least:,}; allow at least {least:,}, index fewer codes (--codes observed), or train with a"
        " smaller memory.list_length"
    )


def code_keys(plan: Plan) -> np.ndarray:
    """`[C]` int64, ascending: the codes that get a list, as codes.py finds them."""
    if plan.queries is None:
        return np.arange(plan.space.size)
    encoder, keys = EncodeKeys(plan), np.empty(0, np.int64)
    encoder.setup()
    with open_queries(pathlib.Path(plan.queries), plan.inputs, "expected codes") as file:
        for group in range(file.num_row_groups):
            for queries in batches(file.read_row_group(group, columns=column_names(plan.inputs)), plan.inputs):
                keys = np.union1d(keys, *encoder.process(queries))
    return keys

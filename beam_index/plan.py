"""What one build does, resolved and checked: all that its workers need to know."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from beam_index.dead_letters import DeadLetter
from beam_index.geometry import Span, call_codes, chunk_count, span_count, tile_count
from beam_index.limits import require_block_fits
from beam_index.options import FEW_CODES, BuildOptions
from beam_index.parquet import open_parquet
from beam_index.query_columns import open_queries, where
from beam_index.ready_lists import check_ready_lists
from protos.codes import CodeSpace
from protos.errors import UserError
from protos.query_inputs import QueryInput, query_inputs

EXPORT_FORMAT = "sparcode.export/2"


@dataclasses.dataclass(frozen=True)
class Base:
    """The index that an update starts from.

    Attributes:
      directory: of it.
      num_items: of its catalogue.
      stale_tiles: tiles of which it knows nothing any more, ascending: changed, new or gone.
    """

    directory: str
    num_items: int
    stale_tiles: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A build. Travels to the workers, so it holds plain values only.

    Attributes:
      model: directory of the export.
      fingerprint: of the export.
      directory: where the files go; under a temporary name until the index is whole.
      num_items: items of the catalogue.
      space: the model's codes.
      num_ready_lists: sound lists that the export brings along.
      bias: of f(q, c) = sum_i relu(S(q_i, c) + bias).
      postings_per_code: L, the most a code's list keeps.
      call_codes: codes of one call of the scorer.
      removed: rows of the catalogue that no list may hold, `[r]` int32, ascending: bad items among them.
      bad_items: items left out because the scorer makes nothing finite of them, ascending; see screening.py.
      bad_lists: ready lists left out because they contradict their contract, ascending.
      max_code_postings: the most that all lists of codes keep together; None: no such limit.
      threshold: a score that all postings of codes must be above; None: none but -bias.
      score_bits: of a stored score.
      candidates: R, items a code that are scored; None: all.
      updatable: whether the index keeps its ranks.
      base: what an update starts from; None: the index is built in full.
      digests: of each tile's items, where the index is updatable or an update; see updates.py.
      queries: parquet file of the queries whose codes are scored; None: all codes of the space.
      inputs: what queries bring beside their histories.
      block: whether to write the completion block.
      num_shards: files of posting lists, and at most as many of the block.
      journal: file in which workers say what they have done (see progress.py).
    """

    model: str
    directory: str
    num_items: int
    space: CodeSpace
    num_ready_lists: int
    bias: float
    postings_per_code: int
    queries: str | None
    block: bool
    num_shards: int
    journal: str
    inputs: tuple[QueryInput, ...] = ()
    call_codes: int = call_codes(0)
    removed: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int32))
    bad_items: tuple[DeadLetter, ...] = ()
    bad_lists: tuple[DeadLetter, ...] = ()
    max_code_postings: int | None = None
    threshold: float | None = None
    score_bits: int = 32
    candidates: int | None = None
    updatable: bool = False
    base: Base | None = None
    digests: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def is_exhaustive(self) -> bool:
        """Whether all pairs are scored."""
        return self.candidates is None and self.base is None

    @property
    def depth(self) -> int:
        """Ranks that are kept of a code: one more than its list has, and a reserve where they may lose some later."""
        reserve = self.postings_per_code // 10 + 32 if self.updatable or self.base is not None else 0
        return self.postings_per_code + 1 + reserve

    @property
    def list_floor(self) -> np.float32:
        """What a score must be above to be in a list of a code, before any limit on all lists together."""
        return self.floor if self.threshold is None else max(self.floor, np.float32(self.threshold))

    def removed_in(self, items: Span) -> np.ndarray:
        """Places, in a span of items, of those that were removed."""
        first, last = np.searchsorted(self.removed, [items.start, items.stop])
        return self.removed[first:last] - items.start

    @property
    def num_tiles(self) -> int:
        """Tiles of items."""
        return tile_count(self.num_items)

    @property
    def floor(self) -> np.float32:
        """-bias: a score must be above it to count at all."""
        return np.float32(-self.bias)

    def path(self, name: str) -> pathlib.Path:
        """Where the file `name` of the index goes."""
        return pathlib.Path(self.directory) / name

    def describe_pair(self, key: int, row: int) -> str:
        """A code and an item in words, for errors: slot, codes and the public item id."""
        slot, codes = self.space.decode(np.int64(key))
        item_ids = pq.read_table(os.path.join(self.model, "items.parquet"), columns=["item_id"])["item_id"]
        return f"code key {key} (slot {slot}, codes {codes.tolist()}) and item {item_ids[row].as_py()!r} (row {row})"


def make_plan(options: BuildOptions, export: Mapping[str, Any], directory: pathlib.Path, journal: str) -> Plan:
    """Resolves the options against the export.

    Args:
      options: of the command line.
      export: manifest of the exported model.
      directory: where the index is being built.
      journal: see Plan.

    Raises:
      UserError: the queries are needed and will not do, the block would be too large, or too many ready lists
        contradict their contract.
    """
    model = export["model"]
    inputs = query_inputs(model)
    space = CodeSpace(model["num_slots"], model["num_codebooks"], model["num_codewords"])
    observed = options.codes == "observed" or (options.codes == "auto" and space.size > FEW_CODES)
    if observed:
        _require_queries(options.queries, inputs)
    elif options.block:
        require_block_fits(chunk_count(space.size), span_count(model["num_items"]))
    ready = check_ready_lists(options.model, space, model["num_items"], options.max_bad_share)
    return Plan(
        model=str(options.model),
        fingerprint=export["fingerprint"],
        directory=str(directory),
        num_items=model["num_items"],
        space=space,
        call_codes=call_codes(model.get("flops", {}).get("per_pair", 0)),
        removed=_removed_rows(options.model),
        num_ready_lists=ready.lists,
        bad_lists=ready.bad,
        bias=model["bias"],
        postings_per_code=options.postings_per_code,
        max_code_postings=_max_code_postings(options.max_postings, ready.postings),
        threshold=options.threshold,
        score_bits=options.score_bits,
        candidates=options.candidates,
        updatable=options.updatable,
        queries=str(options.queries) if observed else None,
        inputs=inputs,
        block=options.block,
        num_shards=options.num_shards,
        journal=journal,
    )


def _max_code_postings(most: int | None, ready: int) -> int | None:
    """What is left for the lists of codes."""
    if most is not None and most <= ready:
        raise UserError(
            f"--max_postings is {most:,}, but the ready lists of the export alone have {ready:,}: allow more, or train"
            " with a smaller memory.list_length"
        )
    return most and most - ready


def _removed_rows(model: pathlib.Path) -> np.ndarray:
    """Rows of the catalogue whose column `removed` is true; that column is optional."""
    path = model / "items.parquet"
    with open_parquet(path, f"catalogue {path}", "export the model again") as file:
        if "removed" not in file.schema_arrow.names:
            return np.empty(0, np.int32)
        return np.flatnonzero(file.read(columns=["removed"])["removed"].to_numpy()).astype(np.int32)


def _require_queries(path: pathlib.Path, inputs: Sequence[QueryInput]) -> None:
    """Raises UserError unless `path` is a file of queries, with all that they bring, and rows in it."""
    with open_queries(path, inputs, "the codes to score are those of its queries") as file:
        if file.metadata.num_rows == 0:
            raise UserError(f"{where(path)} has no rows; at least one history is needed to observe codes")

"""Answers queries from arrays, in NumPy, by the rules of the servable.

    f(q, c) = sum_i relu(S(T_i(q), c) + b)  +  sum_e w_e(q) * list_e[c]

The catalogue passes by tile by tile, and of each tile only the best items of each query are kept. So
memory holds, in floats of 4 bytes,

    codes of the sample x tile, twice (exact and completed)   +   the lists that the sample looks up, three numbers
    a posting   +   a batch of queries x tile x (tokens + events), when their lists are full

and never codes x items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from beam_index.geometry import Span, tile_count, tile_span
from beam_index.quality import best
from beam_index.quality.best import Best
from beam_index.quality.contributions import Contributions
from beam_index.quality.encode import Encoded
from beam_index.quality.entries import ByItem, added
from beam_index.quality.lists import Lists
from protos.progress import bar

EXACT, SPARSE, COMPLETED, RESCORED = "exact", "sparse", "completed", "rescored"
# Queries answered together: bounds what is held of a tile.
_BATCH = 64


class World(NamedTuple):
    """What queries are answered from.

    Attributes:
      num_items: of the catalogue.
      exact: contributions of at least the codes of the queries, exact.
      events: ready lists as the model has them, which exact scores add.
      lists: the lists of an index, at least those that the queries look up.
      completed: contributions of at least the codes looked up, of the completion block; None: there is none.
    """

    num_items: int
    exact: Contributions
    events: Lists
    lists: Lists
    completed: Contributions | None


class Query(NamedTuple):
    """Queries, encoded and looked up.

    Attributes:
      encoded: their tokens.
      found: `[B, K]` int64, the keys of the lists looked up; -1 where there is none.
      seen: of each query, int64 rows that must not be answered; -1 is an unknown item.
    """

    encoded: Encoded
    found: np.ndarray
    seen: list[np.ndarray]

    def part(self, at: slice) -> Query:
        """Some of them."""
        return Query(Encoded(*(array[at] for array in self.encoded)), self.found[at], self.seen[at])


def replay(queries: Query, world: World, k: int) -> dict[str, Best]:
    """The k best items of each query for each way of making sums.

    `exact` scores the whole catalogue; the others only the items in the lists of the query, the candidates:
    `sparse` by their postings, `completed` by the block and the postings of events, `rescored` exactly on
    codewords and by the postings of events. (The servable's rescored sums are the mean of that and of the
    score of unquantised tokens, which no index decides.)

    Args:
      queries: B of them; B may be 0.
      world: what they are answered from.
      k: at least 1.

    Returns:
      Way -> its answers `[B, k]`; no COMPLETED without a block.
    """
    batches = [slice(start, start + _BATCH) for start in range(0, max(len(queries.seen), 1), _BATCH)]
    replays = [_Batch(queries.part(at), world, k) for at in batches]
    lists, events = ByItem(world.lists, world.num_items), ByItem(world.events, world.num_items)
    tiles = range(tile_count(world.num_items))
    for tile in bar(len(tiles), "measuring", "tile", iterable=tiles, leave=False):
        items = tile_span(tile, world.num_items)
        exact = _with_none(world.exact.tile(items))
        completed = None if world.completed is None else _with_none(world.completed.tile(items))
        for batch in replays:
            batch.add(_Tile(items, exact, completed, lists, events))
    return {way: _concatenated(batch.best[way] for batch in replays) for way in replays[0].best}


class _Tile(NamedTuple):
    """One tile of the world: contributions `[D + 1, w]` of the codes and of none, and all lists."""

    items: Span
    exact: np.ndarray
    completed: np.ndarray | None
    lists: ByItem
    events: ByItem


class _Batch:
    """The best answers of a batch of queries so far."""

    def __init__(self, queries: Query, world: World, k: int) -> None:
        encoded = queries.encoded
        num_tokens = encoded.num_tokens
        self._queries = queries
        self._own = _rows(world.exact.keys, encoded.keys[:, :num_tokens])
        self._served = None if world.completed is None else _rows(world.completed.keys, queries.found[:, :num_tokens])
        # Lists of weight 0 name no candidates.
        self._list_keys = np.where(encoded.weights > 0, queries.found, -1)
        self._event_keys = np.where(encoded.weights > 0, encoded.keys, -1)
        self._event_keys[:, :num_tokens] = -1
        self._event_weights = encoded.weights.copy()
        self._event_weights[:, :num_tokens] = 0
        ways = [EXACT, SPARSE, *([COMPLETED] if world.completed is not None else []), RESCORED]
        self.best = {way: best.none(len(encoded.keys), k) for way in ways}

    def add(self, tile: _Tile) -> None:
        """Lets the items of the next tile compete."""
        exact, ways = self._scores(tile)
        unseen = _unseen(self._queries.seen, tile.items)
        for way, scores in ways.items():
            scores = np.where(unseen, scores, np.float32(0))
            self.best[way] = best.better(self.best[way], scores, exact, tile.items.start)

    def _scores(self, tile: _Tile) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Exact scores and those of each way, `[B, w]`, seen items included; 0 for what is no candidate."""
        width, weights = tile.items.width, self._queries.encoded.weights
        tokens = _total(tile.exact, self._own)
        exact = tokens + added(tile.events.entries(self._event_keys, tile.items), weights, width)
        entries = tile.lists.entries(self._list_keys, tile.items)
        candidates = np.zeros(exact.shape, bool)
        candidates[entries.query, entries.column] = True
        events = added(entries, self._event_weights, width)
        ways = {EXACT: exact, SPARSE: added(entries, weights, width)}
        ways[RESCORED] = np.where(candidates, tokens + events, np.float32(0))
        if self._served is not None:
            ways[COMPLETED] = np.where(candidates, _total(tile.completed, self._served) + events, np.float32(0))
        return exact, ways


def _rows(held: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Rows of keys `[B, K_u]` among those held `[D]`; D where there is none (see `_with_none`)."""
    rows = np.searchsorted(held, keys)
    return np.where(keys < 0, len(held), rows)


def _total(contributions: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Contributions `[D + 1, w]` summed over the tokens `[B, K_u]` of each query, in their order, `[B, w]`."""
    total = contributions[rows[:, 0]]
    for token in range(1, rows.shape[1]):
        total += contributions[rows[:, token]]
    return total


def _with_none(contributions: np.ndarray) -> np.ndarray:
    """Contributions `[D, w]` and, below them, the zeros of a token that has no list."""
    return np.concatenate([contributions, np.zeros((1, contributions.shape[1]), np.float32)])


def _unseen(seen: list[np.ndarray], items: Span) -> np.ndarray:
    """Whether `[B, w]` each item of a tile may be answered."""
    unseen = np.ones((len(seen), items.width), bool)
    for query, rows in enumerate(seen):
        unseen[query, rows[(rows >= items.start) & (rows < items.stop)] - items.start] = False
    return unseen


def _concatenated(parts: Iterator[Best]) -> Best:
    return Best(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

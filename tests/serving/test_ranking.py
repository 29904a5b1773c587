"""Invariant I2: the merge is exact. Its top k equals brute force by the same rule, ties included."""

from __future__ import annotations

import functools
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.codes import CodeSpace
from serving.categories import Categories, ItemCategories
from serving.index import Block, Index
from serving.inputs import Choices
from serving.lists import LAST_ROW, PostingLists
from serving.ranking import Ranking
from serving.scorer import Rescored
from serving.selection import Selection
from serving.sums import CompletedSums, RescoredSums, SparseSums, Tokens

# Few values make many ties; the last two are a very small float32, normal also after weighting, and a very large one.
TIED_SCORES = [0.25, 0.5, 0.75, 1.0, 2.0**-120, 1e37]
WEIGHTS = np.float32([0, 0.1, 0.5, 0.8, 1, 2])


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    """1 to 5 scored lists, which a block in tiles of 7 covers, and up to 4 ready ones, over up to 30 items."""
    num_items, num_scored, num_ready = draw(st.integers(1, 30)), draw(st.integers(1, 5)), draw(st.integers(0, 4))
    num_lists = num_scored + num_ready
    scores = st.one_of(st.sampled_from(TIED_SCORES), st.floats(0.125, 2.0, width=32))
    rows = st.integers(0, num_items - 1)
    lists = [draw(st.dictionaries(rows, scores, max_size=12)) for _ in range(num_lists)]
    sorted_lists = [sorted(entries.items(), key=lambda entry: (-entry[1], entry[0])) for entries in lists]
    return Index(
        manifest={},
        space=CodeSpace(1, 1, num_scored),
        keys=np.arange(num_lists, dtype=np.int64),
        offsets=np.cumsum([0, *map(len, lists)], dtype=np.int64),
        items=np.array([row for entries in sorted_lists for row, _ in entries], np.int32),
        scores=np.array([score for entries in sorted_lists for _, score in entries], np.float32),
        block=draw(blocks(num_scored, num_items)),
    )


def with_zeros(matrix: np.ndarray) -> np.ndarray:
    """The row of no list, after those of the lists."""
    return np.concatenate([matrix, np.zeros_like(matrix[:1])])


@st.composite
def blocks(draw: st.DrawFn, num_lists: int, num_items: int) -> Block:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([1, 3, 256]))
    tiles = (num_lists, -(-num_items // 7))
    return Block(
        values=with_zeros(rng.integers(0, levels, (num_lists, num_items)).astype(np.uint8)),
        offset=with_zeros(rng.choice(np.float32([0, 0.1, 0.3]), tiles)),
        scale=with_zeros(rng.choice(np.float32([0, 0.01, 0.003]), tiles)),
        tile_items=7,
    )


@st.composite
def queries(draw: st.DrawFn, index: Index) -> tuple[Tokens, np.ndarray]:
    """Tokens and events, in NumPy (lists come twice, and so does that of nothing), and rows `[B, E]` to exclude."""
    batch, width = draw(st.integers(0, 4)), draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shapes = (batch, draw(st.integers(1, 4))), (batch, draw(st.integers(0, 4)))
    num_items = index.block.values.shape[1]
    return random_tokens(index, shapes, rng), rng.integers(-1, num_items, (batch, width))


def random_tokens(index: Index, shapes: tuple[tuple[int, int], tuple[int, int]], rng: np.random.Generator) -> Tokens:
    """Tokens `[B, K_u]` of weight 1 and events `[B, H]` of any weight; list row `num_scored` is the empty one."""
    of_tokens, of_events = shapes
    token_rows = rng.integers(0, index.num_scored + 1, of_tokens)
    event_rows = rng.integers(index.num_scored, len(index.keys) + 1, of_events)
    return Tokens(
        list_rows=np.hstack([token_rows, event_rows]),
        weights=np.hstack([np.ones(of_tokens, np.float32), rng.choice(WEIGHTS, of_events)]),
        vectors=rng.integers(-2, 3, (*of_tokens, 1)).astype(np.float32),
    )


def postings(index: Index, row: int) -> dict[int, np.float32]:
    """One list as a dictionary; the empty one stands between the scored lists and the ready ones."""
    if row == index.num_scored:
        return {}
    row -= row > index.num_scored
    start, end = index.offsets[row], index.offsets[row + 1]
    return dict(zip(index.items[start:end].tolist(), index.scores[start:end], strict=True))


def sum_of_postings(index: Index, rows: np.ndarray, weights: np.ndarray, item: int) -> np.float32:
    """The item's weighted postings, added in the order of the lists."""
    lists = zip(rows.tolist(), weights, strict=True)
    found = [weight * postings(index, row).get(item, np.float32(0)) for row, weight in lists]
    return functools.reduce(np.add, found, np.float32(0))


def sparse_score(index: Index, query: Tokens, item: int) -> np.float32:
    return sum_of_postings(index, query.list_rows, query.weights, item)


def event_score(index: Index, query: Tokens, item: int) -> np.float32:
    first = len(query.vectors)
    return sum_of_postings(index, query.list_rows[first:], query.weights[first:], item)


def completed_score(index: Index, query: Tokens, item: int) -> np.float32:
    """The item's contributions in the block, added in token order, then its events' postings."""
    block, total = index.block, np.float32(0)
    for row in query.list_rows[: len(query.vectors)]:
        if row < index.num_scored:
            tile = item // block.tile_items
            value = block.scale[row, tile] * np.float32(block.values[row, item])
            total = np.float32(total + np.float32(block.offset[row, tile] + value))
    return np.float32(total + event_score(index, query, item))


def rescored_score(index: Index, query: Tokens, item: int) -> np.float32:
    """What `WholeNumberScorer` says, then the item's events' postings."""
    score = sum(max(float(value) * (item % 5 - 1), 0.0) for value in query.vectors[:, 0])
    return np.float32(np.float32(score) + event_score(index, query, item))


class WholeNumberScorer:
    """Scores that are exact in any order of addition, and often tie."""

    def rescore(self, tokens: tf.Tensor, rows: tf.Tensor) -> Rescored:
        factors = tf.cast(rows % 5 - 1, tf.float32)
        contributions = tf.nn.relu(tokens * factors[:, None, :])
        return Rescored(tf.reduce_sum(contributions, axis=1), contributions)


SCORE = {"sparse": sparse_score, "completed": completed_score, "rescored": rescored_score}
# Of a query with one token; in the block, that of weight 0 is as one without a list.
CONTRIBUTION = {
    **SCORE,
    "completed": lambda index, query, item: completed_score(index, only_listed(index, query), item),
}


def only_listed(index: Index, query: Tokens) -> Tokens:
    return query._replace(list_rows=np.where(query.weights > 0, query.list_rows, index.num_scored))


def brute_force(sums: str, index: Index, query: Tokens, excluded: np.ndarray, k: int) -> list[tuple[int, float]]:
    """The k best (item, score): every candidate scored, sorted, cut."""
    lists = query.list_rows[query.weights > 0].tolist()
    candidates = {item for row in lists for item in postings(index, row)} - set(excluded.tolist())
    scored = [(item, SCORE[sums](index, query, item)) for item in candidates]
    scored = [(item, float(score)) for item, score in scored if score > 0]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def ranking(sums: str, index: Index) -> Ranking:
    made = {
        "sparse": SparseSums,
        "completed": lambda: CompletedSums(index.block),
        "rescored": lambda: RescoredSums(WholeNumberScorer()),
    }
    return Ranking(PostingLists(index), made[sums]())


@pytest.mark.parametrize("sums", SCORE)
@settings(max_examples=80)
@given(data=st.data())
def test_best_equals_brute_force(sums, data):
    index = data.draw(indexes())
    tokens, excluded = data.draw(queries(index))
    k = data.draw(st.integers(1, 40))
    rows, scores = ranking(sums, index).best(Tokens(*map(tf.constant, tokens)), tf.constant(excluded), k)
    assert rows.shape == scores.shape == (len(excluded), k)
    for query, of_query in enumerate(map(Tokens, *tokens)):
        found = [(int(row), float(score)) for row, score in zip(rows[query], scores[query], strict=True) if score > 0]
        assert found == brute_force(sums, index, of_query, excluded[query], k)
        assert not scores[query, len(found) :].numpy().any()


CATEGORIES = ["a", "b", "c"]
MAX_K = 25


@st.composite
def catalogues(draw: st.DrawFn, num_items: int) -> list[list[str]]:
    """The categories of each item, some of them none."""
    return draw(st.lists(st.lists(st.sampled_from(CATEGORIES), max_size=3), min_size=num_items, max_size=num_items))


@st.composite
def choices_of(draw: st.DrawFn, batch: int) -> Choices:
    """Numbers and categories to choose by, in NumPy; half of all queries name none, and "" and unknown ones occur."""

    def names() -> np.ndarray:
        width = draw(st.integers(0, 3))
        of_query = st.one_of(
            st.just([""] * width),
            st.lists(st.sampled_from([*CATEGORIES, "", "unknown"]), min_size=width, max_size=width),
        )
        return np.array([draw(of_query) for _ in range(batch)], object).reshape(batch, width)

    k = np.array([draw(st.sampled_from([-1, 0, 1, 2, 5, 40, 2**31 - 1])) for _ in range(batch)], np.int32)
    return Choices(k, np.full((batch, 0), "", object), names(), names(), np.zeros(batch, bool))


def left_out(of_items: Sequence[Sequence[str]], allow: Sequence[str], deny: Sequence[str]) -> list[int]:
    """Items that categories rule out."""
    wanted = set(allow) - {""}
    return [
        item
        for item, categories in enumerate(of_items)
        if set(categories) & set(deny) or (wanted and not set(categories) & wanted)
    ]


def numbered(of_items: Sequence[Sequence[str]]) -> ItemCategories:
    numbers = [CATEGORIES.index(name) for names in of_items for name in names]
    return ItemCategories(CATEGORIES, np.array(numbers, np.int32), np.cumsum([0, *map(len, of_items)], dtype=np.int64))


@pytest.mark.parametrize("sums", SCORE)
@settings(max_examples=30)
@given(data=st.data())
def test_selected_items_equal_brute_force_over_what_choices_leave(sums, data):
    """I2 with k of each query, excluded items and categories: all of them count before the best are chosen."""
    index = data.draw(indexes())
    tokens, excluded = data.draw(queries(index))
    of_items = data.draw(catalogues(index.block.values.shape[1]))
    choices = data.draw(choices_of(len(excluded)))
    with tempfile.TemporaryDirectory() as scratch:
        categories = Categories(numbered(of_items), pathlib.Path(scratch) / "names.txt")
    selection = Selection(ranking(sums, index), categories, MAX_K)
    inputs = Tokens(*map(tf.constant, tokens)), tf.constant(excluded), Choices(*map(as_tensor, choices))
    rows, scores = (values.numpy() for values in selection.best(*inputs))
    expected = []
    for query, of_query in enumerate(map(Tokens, *tokens)):
        out = left_out(of_items, choices.allow_categories[query], choices.deny_categories[query])
        k = min(max(int(choices.k[query]), 0), MAX_K)
        expected.append(brute_force(sums, index, of_query, np.array([*excluded[query], *out]), k))
    assert rows.shape == scores.shape == (len(excluded), max(map(len, expected), default=0))
    for query, best in enumerate(expected):
        found = zip(rows[query].tolist(), scores[query].tolist(), strict=True)
        assert list(found) == best + [(LAST_ROW, 0.0)] * (rows.shape[1] - len(best))


def as_tensor(values: np.ndarray) -> tf.Tensor:
    return tf.constant(values, tf.string if values.dtype == object else None, values.shape)


@pytest.mark.parametrize("sums", SCORE)
@settings(max_examples=20)
@given(data=st.data())
def test_contributions_are_those_of_the_lists_and_of_the_sums(sums, data):
    index = data.draw(indexes())
    tokens, excluded = data.draw(queries(index))
    ranked = ranking(sums, index)
    inputs = Tokens(*map(tf.constant, tokens))
    rows, scores = ranked.best(inputs, tf.constant(excluded), data.draw(st.integers(1, 40)))
    found = ranked.contributions(rows, inputs).numpy()
    assert found.shape == (*rows.shape, tokens.weights.shape[1])
    np.testing.assert_allclose(found.sum(axis=-1), scores, rtol=1e-5)
    assert not found[rows.numpy() == LAST_ROW].any()
    for query, place in np.argwhere(scores > 0):
        item, of_query = int(rows[query, place]), Tokens(*(values[query] for values in tokens))
        for token, value in enumerate(found[query, place]):
            assert value == pytest.approx(CONTRIBUTION[sums](index, alone(of_query, token), item), rel=1e-6)


def alone(query: Tokens, token: int) -> Tokens:
    """The query with the lists, the weights and the vectors of one token only."""
    this = np.arange(len(query.weights)) == token
    return Tokens(
        list_rows=query.list_rows,
        weights=np.where(this, query.weights, np.float32(0)),
        vectors=np.where(this[: len(query.vectors), None], query.vectors, np.float32(0)),
    )


def large_index(rng: np.random.Generator) -> Index:
    """16 scored and 40 ready lists of 200 of 1,000 items."""
    num_items, num_scored, num_lists, length = 1000, 16, 56, 200
    items = np.concatenate([rng.choice(num_items, length, replace=False) for _ in range(num_lists)])
    scale = with_zeros(rng.random((num_scored, 1)).astype(np.float32))
    values = with_zeros(rng.integers(0, 256, (num_scored, num_items)).astype(np.uint8))
    return Index(
        manifest={},
        space=CodeSpace(1, 1, num_scored),
        keys=np.arange(num_lists),
        offsets=np.arange(num_lists + 1) * length,
        items=items.astype(np.int32),
        scores=rng.random(num_lists * length).astype(np.float32),
        block=Block(values, scale * 0.1, scale, 4096),
    )


@pytest.mark.parametrize("sums", SCORE)
def test_graph_gives_what_eager_gives(sums):
    """The optimised graph of long lists, on all cores, keeps the order of the float additions."""
    rng = np.random.default_rng(0)
    index = large_index(rng)
    tokens = random_tokens(index, ((3, 4), (3, 16)), rng)
    excluded = rng.integers(-1, 1000, (3, 50))
    best = tf.function(ranking(sums, index).best)
    rows, scores = best(Tokens(*map(tf.constant, tokens)), tf.constant(excluded), 100)
    for query, of_query in enumerate(map(Tokens, *tokens)):
        found = list(zip(rows[query].numpy().tolist(), scores[query].numpy().tolist(), strict=True))
        assert found == brute_force(sums, index, of_query, excluded[query], 100)

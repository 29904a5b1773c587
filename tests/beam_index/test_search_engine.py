"""What is exported ranks in a search engine as the index says: against a node of OpenSearch."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_index import fill_query
from beam_index.build import run_here
from beam_index.search_engine.documents import Writing
from beam_index.search_engine.query import Query
from beam_index.to_elasticsearch import EngineOptions, export
from tests.beam_index.oracle import written_lists
from tests.beam_index.tables import lists_table, write_table_export
from tests.support.engine import Engine, running_engine
from tests.support.exports import TinySpec, random_histories, write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index

NUM_CODES, NUM_ITEMS, SIZE = 24, 3000, 50
Hits = list[tuple[str, float]]


class World:
    """A model, its index and both in the engine, with what the engine is to answer."""

    def __init__(
        self, engine: Engine, directory: pathlib.Path, model: pathlib.Path, index: pathlib.Path, num_shards: int
    ) -> None:
        self.engine, self.directory, self.model, self.index = engine, directory, model, index
        self.ids = pq.read_table(model / "items.parquet")["item_id"].to_pylist()
        self.lists = {each.key: each for each in written_lists(index)}
        self.name = directory.name
        self.query = self.load(self.name, num_shards, Writing(num_shards=7))

    def load(self, name: str, num_shards: int, writing: Writing) -> Query:
        output = self.directory / f"engine-{name}"
        export(EngineOptions(self.model, self.index, output, writing=writing))
        self.engine.load(name, output, num_shards)
        return Query.load(output)

    def found(self, keys: Sequence[int], weights: Sequence[float], seen: Iterable[str] = (), size: int = SIZE) -> Hits:
        return self.engine.search(self.name, self.query.fill(keys, weights, seen, size))

    def expected(
        self, keys: Sequence[int], weights: Sequence[float], seen: Iterable[str] = (), size: int = SIZE
    ) -> Hits:
        """Posting by posting, from the lists of the index."""
        weight_of = Counter()
        for key, weight in zip(keys, weights, strict=True):
            weight_of[key] += weight
        totals: dict[int, float] = {}
        for key, weight in weight_of.items():
            if key not in self.lists or not self.lists[key].items or not weight:
                continue
            scale = np.float32(max(self.lists[key].scores)) / np.float32(255)
            boost = np.float32(weight * float(scale))
            for row, score in zip(self.lists[key].items, self.lists[key].scores, strict=True):
                level = max(1, round(score / float(scale)))
                totals[row] = totals.get(row, 0.0) + float(boost * np.float32(level))
        unseen = [(-np.float32(total), row) for row, total in totals.items() if self.ids[row] not in set(seen)]
        return [(self.ids[row], float(-score)) for score, row in sorted(unseen)[:size]]


def as_floats(hits: Hits) -> Hits:
    """Scores as the engine holds them, which JSON gives in the fewest digits."""
    return [(item_id, float(np.float32(score))) for item_id, score in hits]


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(scope="module")
def tiny(engine, tmp_path_factory) -> World:
    """40 items, in three shards of the engine; three tokens and three events; not all codes have a list."""
    directory = tmp_path_factory.mktemp("tiny")
    model = write_tiny_export(directory / "model", TinySpec(num_events=3))
    spec = TinyIndexSpec(keys=[0, 1, 3, 5, 6, 8, 11], postings_per_code=20, block=False)
    return World(engine, directory, model, write_tiny_index(directory / "index", model, spec), num_shards=3)


@pytest.fixture(scope="module")
def wide(engine, tmp_path_factory) -> World:
    """3,000 items in one shard, which skips those that cannot compete; few distinct scores, so that many tie."""
    directory = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    table = rng.integers(-8, 8, (NUM_CODES, NUM_ITEMS)) / 4
    ready = []
    for key in range(NUM_CODES, NUM_CODES + 30):
        rows = np.sort(rng.choice(NUM_ITEMS, 200, replace=False)).tolist()
        scores = sorted((rng.integers(1, 5, 200) / 8).tolist(), reverse=True)
        ready.append((key, rows, scores))
    ready += [(99, [], []), (2**62, [7, 3], [1e-3, 1e-30])]
    model = write_table_export(directory / "model", table, bias=0.5, ready=lists_table(ready))
    argv = ["--model", str(model), "--output", str(directory / "index"), "--postings_per_code=1200", "--no_block"]
    run_here([*argv, "--no-progress", "--direct_running_mode=in_memory"])
    return World(engine, directory, model, directory / "index", num_shards=1)


def test_histories_are_answered_as_the_lists_say(tiny):
    encode = tf.saved_model.load(str(tiny.model / "query")).signatures["serving_default"]
    answered = 0
    for history in random_histories(TinySpec(), 25, seed=7):
        outputs = encode(history=tf.constant([history]))
        keys, weights = (outputs[name][0].numpy().tolist() for name in ("keys", "weights"))
        keys = tiny.query.nearest_listed(keys, outputs["distances"][0].numpy())
        assert set(keys[:3]) <= set(tiny.lists)
        hits = as_floats(tiny.found(keys, weights, seen=history))
        assert hits == tiny.expected(keys, weights, seen=history)
        answered += len(hits)
    assert answered > 25


def test_large_answers_are_exact_ties_included(wide):
    rng = np.random.default_rng(1)
    ties = 0
    for _ in range(25):
        codes = rng.choice(NUM_CODES, 4, replace=False).tolist()
        events = rng.choice(np.arange(NUM_CODES, NUM_CODES + 30), 3, replace=False).tolist()
        keys, weights = [*codes, *events], [1.0] * 4 + [1.0, 0.8, 0.64]
        seen = rng.choice(wide.ids, 100).tolist()
        hits = as_floats(wide.found(keys, weights, seen))
        assert hits == wide.expected(keys, weights, seen)
        ties += sum(one[1] == other[1] for one, other in itertools.pairwise(hits))
    assert ties > 100


@pytest.mark.parametrize("size", [1, 7, 2999])
def test_the_size_is_that_of_the_answer(wide, size):
    keys, weights = [0, 5, 30], [1.0, 1.0, 0.5]
    assert as_floats(wide.found(keys, weights, size=size)) == wide.expected(keys, weights, size=size)


@pytest.mark.parametrize(
    ("keys", "weights"),
    [
        ([3, 3, 30, 30], [1.0, 1.0, 0.5, 0.25]),
        ([3, -1, 30, -1], [1.0, 0.0, 0.3, 0.0]),
        ([3, 30, 31], [1.0, 0.0, 0.1]),
        ([3, 99, 98, 2**40], [1.0, 1.0, 1.0, 1.0]),
        ([2**62], [0.7]),
        ([30], [0.3]),
        ([4, 30], [1000.0, 1e-6]),
    ],
    ids=["a key twice", "no key", "weight 0", "an empty list, and none", "the largest key", "one key", "far weights"],
)
def test_keys_and_weights_of_every_kind(wide, keys, weights):
    hits = as_floats(wide.found(keys, weights))
    assert hits
    assert hits == wide.expected(keys, weights)


@pytest.mark.parametrize(("keys", "weights"), [([], []), ([-1, -1], [0.0, 0.0]), ([99, 98], [1.0, 1.0])])
def test_without_lists_there_are_no_items(wide, keys, weights):
    assert wide.found(keys, weights, seen=wide.ids[:3]) == []


def test_neither_files_nor_shards_nor_compression_change_an_answer(tiny):
    keys, weights = [0, 6, 8, 20], [1.0, 1.0, 1.0, 0.5]
    query = tiny.load("in-pieces", 2, Writing(num_shards=2, compress=True))
    assert tiny.engine.search("in-pieces", query.fill(keys, weights, size=SIZE)) == tiny.found(keys, weights)


@pytest.mark.parametrize("history", [["item-3", "unheard-of", "item-8"], []])
def test_the_commands_answer_is_that_of_its_history(tiny, capsys, history):
    output = str(tiny.directory / f"engine-{tiny.name}")
    fill_query.main(["--export", output, "--model", str(tiny.model), "--history", ",".join(history), "--size", "9"])
    hits = tiny.engine.search(tiny.name, json.loads(capsys.readouterr().out))
    encode = tf.saved_model.load(str(tiny.model / "query")).signatures["serving_default"]
    outputs = encode(history=tf.constant([history or [""]]))
    keys, weights, distances = (outputs[name][0].numpy() for name in ("keys", "weights", "distances"))
    keys = tiny.query.nearest_listed(keys.tolist(), distances)
    assert as_floats(hits) == tiny.expected(keys, weights.tolist(), history, 9)
    assert len(hits) == 9


def test_columns_can_be_searched(tiny):
    body = {"query": {"match": {"title": "film 7"}}, "size": 1}
    assert [item_id for item_id, _ in tiny.engine.search(tiny.name, body)] == ["item-7"]
    body = {"query": {"term": {"genres": "Comedy"}}, "size": 40}
    assert len(tiny.engine.search(tiny.name, body)) == 20


def test_answers_bring_the_items_columns_but_not_their_codes(tiny):
    body = tiny.query.fill([0], [1.0], size=1)
    (hit,) = tiny.engine.request("POST", f"{tiny.name}/_search", body)["hits"]["hits"]
    assert set(hit["_source"]) == {"row", "title", "genres"}

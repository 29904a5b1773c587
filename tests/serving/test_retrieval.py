"""The servable from end to end: parity with the model (I1), and every edge of its inputs."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from serving.export import ExportOptions, export
from serving.index import read_index
from serving.retrieval import AnswerOptions
from tests.support.exports import PRODUCT, TinySpec, item_ids, random_histories, write_tiny_export
from tests.support.indexes import TinyIndexSpec, all_keys, score_matrix, write_tiny_index

SPECS = {"product": PRODUCT, "residual": TinySpec()}
UNPRUNED = TinyIndexSpec()
PRUNED = TinyIndexSpec(keys=(0, 1, 5, 6, 8, 9, 11), postings_per_code=5)
EVERYTHING = AnswerOptions(1000)
EVERYTHING_SEEN_TOO = AnswerOptions(1000, keep_seen=True)


class World:
    """A model, an index of it, and the servable of both."""

    def __init__(self, spec, model, index, directory):
        self.spec, self.model, self.index = spec, model, index
        self._served = tf.saved_model.load(str(directory))
        self._query = tf.saved_model.load(str(model / "query"))

    def query(self, histories):
        return _numpy(self._query.signatures["serving_default"](history=_batch(histories)))

    def ask(self, histories):
        return _numpy(self._served.signatures["serving_default"](history=_batch(histories)))

    def contributions(self):
        """relu(S + bias) `[all codes, I]` of the exported scorer."""
        model = {name: getattr(self.spec, name) for name in ("num_slots", "num_codewords", "num_codebooks")}
        return np.maximum(score_matrix(self.model, all_keys(model)) + np.float32(self.spec.bias), 0)


def _batch(histories):
    width = max([1, *map(len, histories)])
    rows = [[*history, *[""] * (width - len(history))] for history in histories]
    return tf.constant(rows, tf.string, shape=(len(rows), width))


def _numpy(outputs):
    return {name: tensor.numpy() for name, tensor in outputs.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Makes worlds, each only once."""
    root = tmp_path_factory.mktemp("worlds")

    @functools.cache
    def sources(quantizer, index_spec):
        directory = root / f"{quantizer}-{index_spec.postings_per_code}"
        model = write_tiny_export(directory / "model", SPECS[quantizer])
        return model, write_tiny_index(directory / "index", model, index_spec)

    @functools.cache
    def make(quantizer="residual", index_spec=UNPRUNED, sums="sparse", answers=EVERYTHING):
        model, index = sources(quantizer, index_spec)
        output = tmp_path_factory.mktemp("servable") / "1"
        export(ExportOptions(model, index, output, sums, answers))
        return World(SPECS[quantizer], model, index, output)

    return make


def ids_of(answer, query):
    """The valid ids of one query, which must come first and be followed by nothing."""
    valid = answer["valid"][query]
    count = int(valid.sum())
    assert valid[:count].all()
    assert (answer["item_ids"][query, count:] == b"").all()
    assert (answer["scores"][query, count:] == 0).all()
    return [item_id.decode() for item_id in answer["item_ids"][query, :count]]


@pytest.mark.parametrize("quantizer", SPECS)
def test_unpruned_sparse_sums_are_the_model(world, quantizer):
    """I1: the served scores are f(q, c) = sum_i relu(S(q_i, c) + b) of every item with f > 0."""
    served = world(quantizer)
    histories = random_histories(served.spec, 20, seed=3)
    answer, keys = served.ask(histories), served.query(histories)["keys"]
    contributions, ids = served.contributions(), item_ids(served.spec)
    for query, history in enumerate(histories):
        expected = contributions[keys[query]].sum(axis=0)
        found = ids_of(answer, query)
        scores = answer["scores"][query, : len(found)]
        assert set(found) == {ids[row] for row in np.flatnonzero(expected)} - set(history)
        np.testing.assert_allclose(scores, expected[[ids.index(item) for item in found]], rtol=1e-5)
        assert (np.diff(scores) <= 0).all()
    np.testing.assert_array_equal(answer["keys"], keys)
    assert not answer["fallback"].any()


@pytest.mark.parametrize("quantizer", SPECS)
def test_completed_sums_add_what_pruned_lists_lost(world, quantizer):
    """Candidates come from the pruned lists; their scores from the 8-bit block, for all tokens."""
    served = world(quantizer, PRUNED, "completed")
    histories = random_histories(served.spec, 20, seed=4)
    answer = served.ask(histories)
    index = read_index(served.index, with_block=True)
    contributions, ids = served.contributions(), item_ids(served.spec)
    step = index.block.scale.max()
    for query, history in enumerate(histories):
        rows = np.searchsorted(index.keys, answer["keys"][query])
        lists = [index.items[index.offsets[row] : index.offsets[row + 1]] for row in rows]
        found = ids_of(answer, query)
        assert set(found) == {ids[row] for row in np.concatenate(lists)} - set(history)
        expected = contributions[answer["keys"][query]].sum(axis=0)[[ids.index(item) for item in found]]
        np.testing.assert_allclose(answer["scores"][query, : len(found)], expected, atol=step / 2 * len(rows) * 1.01)


@pytest.mark.parametrize("quantizer", SPECS)
@pytest.mark.parametrize("sums", ["sparse", "completed"])
def test_fallback_is_reported_and_served(world, quantizer, sums):
    served = world(quantizer, PRUNED, sums)
    histories = random_histories(served.spec, 30, seed=5)
    answer, query = served.ask(histories), served.query(histories)
    np.testing.assert_array_equal(answer["codes"], query["codes"])
    np.testing.assert_array_equal(answer["fallback"], ~np.isin(query["keys"], PRUNED.keys))
    assert answer["fallback"].any()
    assert not answer["fallback"].all()
    np.testing.assert_array_equal(answer["keys"][~answer["fallback"]], query["keys"][~answer["fallback"]])
    assert np.isin(answer["keys"], PRUNED.keys).all()


@pytest.mark.parametrize("sums", ["sparse", "completed"])
def test_padding_and_unknown_ids_change_nothing(world, sums):
    served = world(sums=sums)
    plain = served.ask([["item-3", "item-9"]])
    for history in (
        ["", "item-3", "", "item-9", ""],
        ["item-3", "nobody's", "item-9"],
        ["item-3", "item-9", *[""] * 20],
    ):
        same = served.ask([history])
        for name, values in plain.items():
            np.testing.assert_array_equal(same[name], values, err_msg=f"{name} of {history}")


@pytest.mark.parametrize("sums", ["sparse", "completed"])
def test_a_query_is_answered_alike_in_any_batch(world, sums):
    served = world("product", PRUNED, sums)
    histories = random_histories(served.spec, 8, seed=6)
    together = served.ask(histories)
    for query, history in enumerate(histories):
        for name, values in served.ask([history]).items():
            np.testing.assert_array_equal(values[0], together[name][query])


@pytest.mark.parametrize("history", [[""], ["nobody's"], ["", "nobody's", ""]])
def test_a_history_of_nothing_known_is_answered(world, history):
    served = world()
    answer = served.ask([history])
    expected = served.contributions()[served.query([[""]])["keys"][0]].sum(axis=0)
    assert len(ids_of(answer, 0)) == np.count_nonzero(expected)


def test_an_empty_batch_has_empty_answers(world):
    served = world()
    answer = served.ask([])
    assert {name: values.shape for name, values in answer.items()} == {
        "item_ids": (0, 1000),
        "scores": (0, 1000),
        "valid": (0, 1000),
        "codes": (0, 3, 1),
        "keys": (0, 3),
        "fallback": (0, 3),
    }


@pytest.mark.parametrize("sums", ["sparse", "completed"])
def test_seen_items_are_excluded_before_the_top_k(world, sums):
    """k items are returned although the best ones were seen, some of them twice."""
    served = world(sums=sums, answers=AnswerOptions(5))
    everything = world(sums=sums, answers=EVERYTHING_SEEN_TOO)
    histories = random_histories(served.spec, 20, seed=7)
    first = everything.ask(histories)
    longer = [[*history, *history[:2], *ids_of(first, query)[:10]] for query, history in enumerate(histories)]
    all_items, answer = everything.ask(longer), served.ask(longer)
    best_were_seen = 0
    for query, history in enumerate(longer):
        best = ids_of(all_items, query)
        best_were_seen += bool(set(best[:5]) & set(history))
        assert ids_of(answer, query) == [item for item in best if item not in history][:5]
    assert best_were_seen > 5


def test_everything_seen_leaves_nothing(world):
    served = world()
    answer = served.ask([item_ids(served.spec), ["item-1"]])
    assert ids_of(answer, 0) == []
    assert ids_of(answer, 1)


def test_keep_seen_returns_the_history_too(world):
    served = world(answers=EVERYTHING_SEEN_TOO)
    histories = random_histories(served.spec, 5)
    expected = served.contributions()[served.query(histories)["keys"]].sum(axis=1)
    answer = served.ask(histories)
    for query in range(5):
        assert len(ids_of(answer, query)) == np.count_nonzero(expected[query])

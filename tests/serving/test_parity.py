"""Invariant I1: what is served is what the model scores, whichever way the sums are made."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from serving.index import read_index
from tests.serving.worlds import PRUNED, SPECS, SUMS, UNPRUNED, ids_of
from tests.support.exports import item_ids, random_histories
from tests.support.indexes import TinyIndexSpec

WORLDS = {
    "product, pruned": ("product", PRUNED),
    "residual, unpruned": ("residual", UNPRUNED),
    "no events, pruned": ("no events", PRUNED),
}


def assert_served(served, answer, expected, atol=0.0):
    """The items with `expected [B, I]` scores above 0 are answered, with these scores, in descending order."""
    ids = item_ids(served.spec)
    for query, scores in enumerate(expected):
        found = ids_of(answer, query)
        rows = [ids.index(item) for item in found]
        assert set(rows) == set(np.flatnonzero(scores))
        np.testing.assert_allclose(answer["scores"][query, : len(found)], scores[rows], rtol=1e-5, atol=atol)
        assert (np.diff(answer["scores"][query]) <= 0).all()


@pytest.mark.parametrize("quantizer", SPECS)
def test_unpruned_sparse_sums_are_the_model(world, quantizer):
    """I1: the served scores are f(q, c) = sum_i relu(S(q_i, c) + b) + sum_e w_e list_e[c] of every item with f > 0."""
    served = world(quantizer)
    histories = random_histories(served.spec, 20, seed=3)
    answer, keys = served.ask(histories), served.query(histories)["keys"]
    scores = served.token_scores(histories) + served.event_scores(histories)
    assert_served(served, answer, np.where(served.unseen(histories), scores, 0))
    np.testing.assert_array_equal(answer["keys"], keys)
    assert not answer["fallback"].any()


@pytest.mark.parametrize(("quantizer", "index_spec"), WORLDS.values(), ids=WORLDS.keys())
def test_completed_sums_add_what_pruned_lists_lost(world, quantizer, index_spec):
    """I1 within the 8 bits of the block, for every candidate: the block serves all tokens, the lists only events."""
    served = world(quantizer, index_spec, "completed")
    histories = random_histories(served.spec, 20, seed=4)
    answer = served.ask(histories)
    scores = served.contributions()[answer["keys"][:, : served.num_tokens]].sum(axis=1) + served.event_scores(histories)
    step = read_index(served.index, with_block=True).block.scale.max()
    expected = np.where(served.candidates(histories, answer["keys"]), scores, 0)
    assert_served(served, answer, expected, atol=step / 2 * served.num_tokens * 1.01)


@pytest.mark.parametrize(("quantizer", "index_spec"), WORLDS.values(), ids=WORLDS.keys())
def test_rescored_sums_are_the_scorers(world, quantizer, index_spec):
    """I1: every candidate has the score that the exported scorer gives its tokens, and its events' postings."""
    served = world(quantizer, index_spec, "rescored")
    histories = random_histories(served.spec, 20, seed=5)
    answer = served.ask(histories)
    scorer = tf.saved_model.load(str(served.model / "scorer")).signatures["rescore"]
    everything = np.tile(np.arange(served.spec.num_items, dtype=np.int32), (len(histories), 1))
    tokens = tf.constant(served.query(histories)["tokens"])
    scores = scorer(tokens=tokens, items=tf.constant(everything))["scores"].numpy() + served.event_scores(histories)
    assert_served(served, answer, np.where(served.candidates(histories, answer["keys"]), scores, 0))


def test_events_bring_candidates_of_their_own(world):
    """Lists pruned to one item a code leave nearly all candidates to the ready lists, which are not pruned."""
    for sums in SUMS:
        served = world("residual", TinyIndexSpec(postings_per_code=1), sums)
        histories = random_histories(served.spec, 20, seed=6)
        answer = served.ask(histories)
        of_events = (served.event_scores(histories) > 0) & served.unseen(histories)
        assert answer["valid"].sum() > 100
        for query, items in enumerate(of_events):
            assert {item_ids(served.spec)[row] for row in np.flatnonzero(items)} <= set(ids_of(answer, query))

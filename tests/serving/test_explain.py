"""`explain`: each item's score, token by token."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from serving.index import read_index
from tests.serving.worlds import PRUNED, SUMS, ids_of
from tests.support.exports import item_ids, random_histories


def rows_of(served, answer, query):
    return [item_ids(served.spec).index(item) for item in ids_of(answer, query)]


def list_scores(index, key):
    """The postings of a list, `[I]`."""
    scores = np.zeros(index.manifest["items"], np.float32)
    for row in np.flatnonzero(index.keys == key):
        at = slice(index.offsets[row], index.offsets[row + 1])
        scores[index.items[at]] = index.scores[at]
    return scores


def token_contributions(served, sums, history, keys):
    """What the K_u tokens add to every item, `[K_u, I]`, from what the servable was made of."""
    index = read_index(served.index, with_block=True)
    keys = keys[: served.num_tokens]
    if sums == "sparse":
        return np.stack([list_scores(index, key) for key in keys])
    if sums == "completed":
        lists, tiles = np.searchsorted(index.keys, keys), np.arange(served.spec.num_items) // index.block.tile_items
        block = index.block
        return block.offset[lists][:, tiles] + block.scale[lists][:, tiles] * block.values[lists]
    scorer = tf.saved_model.load(str(served.model / "scorer")).signatures["rescore"]
    items = tf.range(served.spec.num_items)[None]
    return scorer(tokens=tf.constant(served.query([history])["tokens"]), items=items)["contributions"].numpy()[0]


@pytest.mark.parametrize(("quantizer", "sums"), [*(("residual", sums) for sums in SUMS), ("no events", "sparse")])
def test_contributions_are_what_each_token_adds_and_sum_to_the_score(world, quantizer, sums):
    served = world(quantizer, PRUNED, sums)
    histories = [*random_histories(served.spec, 4, seed=8), []]
    answer, encoded = served.ask(histories, "explain", k=np.int32([40])), served.query(histories)
    assert answer["contributions"].shape == (*answer["scores"].shape, encoded["keys"].shape[1])
    np.testing.assert_allclose(answer["contributions"].sum(axis=2), answer["scores"], rtol=1e-5, atol=1e-6)
    assert not answer["contributions"][~answer["valid"]].any()
    lists = {entry["key"]: entry for entry in pq.read_table(served.model / "lists.parquet").to_pylist()}
    for query, history in enumerate(histories):
        rows, found = rows_of(served, answer, query), answer["contributions"][query]
        own = token_contributions(served, sums, history, answer["keys"][query])
        np.testing.assert_allclose(found[: len(rows), : served.num_tokens], own[:, rows].T, rtol=1e-5, atol=1e-6)
        for event in range(served.num_tokens, encoded["keys"].shape[1]):
            entry = lists.get(encoded["keys"][query, event], {"items": [], "scores": []})
            listed = dict(zip(entry["items"], entry["scores"], strict=True))
            expected = [encoded["weights"][query, event] * listed.get(row, 0) for row in rows]
            np.testing.assert_allclose(found[: len(rows), event], expected, rtol=1e-6)


@pytest.mark.parametrize("sums", SUMS)
def test_the_rest_is_what_recommend_answers(world, sums):
    served = world("residual", PRUNED, sums)
    histories = random_histories(served.spec, 5, seed=9)
    k = np.array([3, 0, 40, 1, 7], np.int32)
    explained, recommended = (served.ask(histories, name, k=k) for name in ("explain", "recommend"))
    for name, values in recommended.items():
        np.testing.assert_array_equal(explained[name], values, err_msg=name)


def test_sources_are_the_events_that_have_a_list(world):
    served = world(index_spec=PRUNED)
    histories = [*random_histories(served.spec, 6, seed=4), ["nobody's"], []]
    answer = served.ask(histories, "explain")
    ids = item_ids(served.spec)
    assert not answer["sources"][:, : served.num_tokens].any()
    for query, history in enumerate(histories):
        for key, source in zip(
            *(answer[name][query, served.num_tokens :] for name in ("keys", "sources")), strict=True
        ):
            assert source.decode() == ("" if key < 0 else ids[key - served.spec.num_keys])
            assert not source or source.decode() in history
    assert answer["sources"].any()

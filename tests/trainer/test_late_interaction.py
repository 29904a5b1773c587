"""The late-interaction baseline against loops over tokens."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.support.models import NUM_ITEMS, random_batch, random_windows, small_config, small_model
from trainer.data.features import FeatureColumns
from trainer.late_interaction import LateInteraction

TEMPERATURE = 0.2


def model_of(query_tokens: int, item_tokens: int) -> LateInteraction:
    scorer = {"num_item_tokens": item_tokens, "temperature": TEMPERATURE}
    return small_model(small_config(quantizer={"num_query_tokens": query_tokens}, scorer=scorer), LateInteraction)


def expected_scores(model: LateInteraction, queries: np.ndarray) -> np.ndarray:
    """`[P, I]` of query vectors `[P, K_u, D]`."""
    dim, (kernel,) = queries.shape[-1], (weight.numpy() for weight in model.item_heads.weights)
    scores = np.zeros((len(queries), NUM_ITEMS))
    for p, row in np.ndindex(*scores.shape):
        vector = model.item_embeddings.numpy()[row]
        vector = vector / np.linalg.norm(vector)
        heads = [vector @ kernel[:, start : start + dim] for start in range(0, kernel.shape[1], dim)]
        best = [max(query @ head / np.linalg.norm(head) for head in heads) for query in queries[p]]
        scores[p, row] = sum(best) / (TEMPERATURE * len(best)) + model.item_bias.numpy()[row]
    return scores


@pytest.mark.parametrize(("query_tokens", "item_tokens"), [(3, 2), (1, 1), (1, 4), (4, 1)])
def test_scores_are_sums_of_the_best_matches(query_tokens, item_tokens):
    model = model_of(query_tokens, item_tokens)
    batch = random_batch(model)
    assert batch.queries.shape == (9, query_tokens, 8)
    everything = expected_scores(model, batch.queries.numpy())
    scores = model.batch_scores(batch)
    assert float(scores.extra) == 0.0
    np.testing.assert_allclose(scores.positive, everything[np.arange(9), batch.positives], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores.negative, everything[:, batch.negatives.rows], rtol=1e-4, atol=1e-5)
    windows = tf.constant(random_windows()[:, 1:])
    expected = expected_scores(model, model.last_query_vectors(windows).numpy())
    np.testing.assert_allclose(model.catalogue_scores(windows), expected, rtol=1e-4, atol=1e-5)


def test_item_tokens_are_unit_vectors():
    tokens = model_of(2, 3).item_tokens(model_of(2, 3).item_vectors(tf.range(NUM_ITEMS)))
    assert tokens.shape == (3, NUM_ITEMS, 8)
    np.testing.assert_allclose(tf.norm(tokens, axis=-1), np.ones((3, NUM_ITEMS)), rtol=1e-5)


def test_ids_that_a_step_hides_have_no_part_in_its_scores():
    config = small_config(features={"items": [{"name": "year", "kind": "number"}], "id_dropout": 0.5})
    columns = FeatureColumns(items={"year": pa.array(range(NUM_ITEMS), pa.int32())})
    model = small_model(config, LateInteraction, columns=columns)
    batch = random_batch(model)._replace(step=tf.constant(0, tf.int64))
    hidden = model.item_biases(tf.range(NUM_ITEMS), batch.step).numpy() == 0
    assert 0 < hidden.sum() < NUM_ITEMS
    before = model.batch_scores(batch)
    model.item_bias.assign(model.item_bias + hidden)
    model.item_embeddings.assign(model.item_embeddings + np.append(hidden, False)[:, None])
    after = model.batch_scores(batch)
    np.testing.assert_array_equal(before.positive, after.positive)
    np.testing.assert_array_equal(before.negative, after.negative)

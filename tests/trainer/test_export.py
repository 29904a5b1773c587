"""I1 for the export: the two SavedModels, alone, give the training model's f."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from protos.artifact import read_manifest
from protos.errors import UserError
from tests.support.models import NUM_ITEMS, random_sequences, small_config, small_model
from trainer.export import FORMAT, export
from trainer.windows import pad_histories

CATALOGUE = {
    "item_id": [f"item {row}" for row in range(NUM_ITEMS)],
    "title": [f"Film {row}, the é" for row in range(NUM_ITEMS)],
    "genres": [["Drama"]] * NUM_ITEMS,
}


def as_ids(histories, width):
    ids = [[f"item {row}" for row in history] for history in histories]
    return tf.constant([[""] * (width - len(history)) + history for history in ids])


@pytest.mark.parametrize("structure", ["residual", "product"])
def test_exported_models_equal_the_trained_one(structure, tmp_path):
    model = small_model(small_config(structure))
    export(model, CATALOGUE, random_sequences(5), tmp_path / "export")
    manifest = read_manifest(tmp_path / "export", FORMAT)
    query = tf.saved_model.load(str(tmp_path / "export" / "query")).signatures["serving_default"]
    scorer = tf.saved_model.load(str(tmp_path / "export" / "scorer")).signatures["serving_default"]
    histories = [*random_sequences(6, seed=3), np.zeros(0, np.int32)]
    encoded = query(history=as_ids(histories, 20))
    everything = np.zeros((len(histories), NUM_ITEMS))
    for place, keys in enumerate(encoded["keys"].numpy()):
        scores = scorer(keys=tf.constant(keys), items=tf.range(NUM_ITEMS))["scores"].numpy()
        everything[place] = np.maximum(scores + manifest["model"]["bias"], 0).sum(0)
    expected = model.catalogue_scores(tf.constant(pad_histories(histories, 6)))
    np.testing.assert_allclose(everything, expected, rtol=1e-5)
    quantizer = model.config.quantizer
    assert encoded["codes"].shape == (7, 3, quantizer.num_codebooks)
    assert encoded["tokens"].shape == (7, 3, 8)
    assert encoded["distances"].shape == (7, 3, quantizer.num_codebooks, 4)
    chosen = tf.argmin(encoded["distances"], -1, output_type=tf.int32)
    np.testing.assert_array_equal(chosen, encoded["codes"])


def test_unknown_ids_padding_and_long_histories(tmp_path):
    model = small_model(small_config())
    export(model, CATALOGUE, [], tmp_path / "export")
    query = tf.saved_model.load(str(tmp_path / "export" / "query")).signatures["serving_default"]

    def tokens(*history):
        return query(history=tf.constant([history]))["tokens"].numpy()

    plain = tokens("item 4", "item 5")
    np.testing.assert_allclose(tokens("", "item 4", "never seen", "item 5", ""), plain, atol=1e-6)
    empty = tokens("")
    np.testing.assert_allclose(tokens("never seen", ""), empty, atol=1e-6)
    assert not np.allclose(empty, plain)
    long = [f"item {row}" for row in range(9)]
    np.testing.assert_allclose(tokens(*long), tokens(*long[-6:]), atol=1e-6)


def test_what_else_an_export_holds(tmp_path):
    model = small_model(small_config())
    queries = random_sequences(5)
    export(model, CATALOGUE, queries, tmp_path / "export")
    items = pq.read_table(tmp_path / "export" / "items.parquet").to_pydict()
    assert items == CATALOGUE
    histories = pq.read_table(tmp_path / "export" / "queries.parquet").column("history").to_pylist()
    assert histories == [[f"item {row}" for row in query] for query in queries]
    described = read_manifest(tmp_path / "export", FORMAT)["model"]
    assert described["num_slots"] == 3
    assert described["bias"] == float(model.bias)


def test_a_model_without_codes_and_ids_that_cannot_stand_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no codes yet.*warmup_epochs"):
        export(small_model(small_config(), active=False), CATALOGUE, [], tmp_path / "export")
    broken = {**CATALOGUE, "item_id": [*CATALOGUE["item_id"][:-1], "two\nlines"]}
    with pytest.raises(UserError, match=r"'two\\nlines' in row 29"):
        export(small_model(small_config()), broken, [], tmp_path / "export")
    assert not (tmp_path / "export").exists()

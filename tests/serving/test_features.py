"""Query features: inputs of every signature, and served as the model that was exported takes them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from protos.artifact import read_manifest
from protos.errors import UserError
from serving.export import MODEL_FORMAT, ExportOptions, export
from serving.inputs import check_features
from serving.loader import Servable
from serving.query import QueryModel
from serving.samples import Samples
from tests.serving.worlds import SIGNATURES, Served, ids_of, padded
from tests.support.featured_models import EVENTS, USERS, random_features, write_featured_export
from tests.support.indexes import write_tiny_index
from tests.support.models import random_sequences

WINDOW = 6  # max_history
HISTORIES = [["item 3", "item 4", "nobody's", "item 9"], [], ["item 1"] * 3, [f"item {row}" for row in range(20)]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_featured_export(tmp_path_factory.mktemp("featured") / "model", random_sequences(5))


@pytest.fixture(scope="module")
def index(model, tmp_path_factory):
    return write_tiny_index(tmp_path_factory.mktemp("index") / "index", model)


@pytest.fixture(scope="module")
def directory(model, index, tmp_path_factory):
    directory = tmp_path_factory.mktemp("servable") / "1"
    export(ExportOptions(model, index, directory, "rescored"))
    return directory


@pytest.fixture(scope="module")
def served(directory):
    return Served(directory)


@pytest.fixture(scope="module")
def query(model):
    return tf.saved_model.load(str(model / "query")).signatures["serving_default"]


def inputs_of(histories, seed=0):
    history = padded(histories)
    return {"history": history, **random_features(histories, history.shape[1], seed)}


@pytest.mark.parametrize("signature", SIGNATURES)
def test_every_signature_takes_what_the_query_model_declares(served, query, signature):
    declared = query.structured_input_signature[1]
    assert set(declared) == {"history", *EVENTS, *USERS}
    inputs = served.signatures[signature].inputs
    for name, spec in declared.items():
        assert tf.TensorShape(inputs[name].tensor_shape) == spec.shape
        assert tf.as_dtype(inputs[name].dtype) == spec.dtype
    assert not set(declared) & set(served.signatures[signature].defaults)


def test_queries_are_encoded_with_their_features(served, query):
    inputs = inputs_of(HISTORIES)
    expected = query(**{name: tf.constant(values) for name, values in inputs.items()})
    encoded = served.run("encode", inputs)
    for name in ("codes", "keys", "tokens"):
        np.testing.assert_array_equal(encoded[name], expected[name], err_msg=name)
    others = served.run("encode", inputs | random_features(HISTORIES, inputs["history"].shape[1], seed=1))
    assert (others["tokens"] != encoded["tokens"]).any(axis=(1, 2)).all()


def test_contributions_of_a_trained_models_scorer_sum_to_its_scores(served):
    answer = served.run("explain", inputs_of(HISTORIES))
    assert answer["valid"].any(axis=1).all()
    np.testing.assert_allclose(answer["contributions"].sum(axis=2), answer["scores"], rtol=1e-4, atol=1e-5)
    assert (answer["contributions"] >= 0).all()
    assert answer["sources"][0, -4:].tolist() == [b"", b"item 3", b"item 4", b"item 9"]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_of_a_history_longer_than_the_window_the_end_is_encoded_and_all_of_it_was_seen(served, signature):
    end = ["item 8", "item 9", "item 8", "item 2", "item 2", "item 3"]
    old = [f"item {row}" for row in (20, 21, 22, 20, 20, 21)]
    inputs = inputs_of([[*old, *end]])
    long = served.run(signature, inputs)
    of_events = {name: values[:, len(old) :] for name, values in inputs.items() if name in ("history", *EVENTS)}
    short = served.run(signature, inputs | of_events)
    for name in {"codes", "keys", "fallback", "tokens"} & set(long):
        np.testing.assert_array_equal(long[name], short[name], err_msg=name)
    if signature != "encode":
        assert set(ids_of(long, 0)) == set(ids_of(short, 0)) - set(old)


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (2, 0)])
def test_no_queries_and_histories_without_width_are_answered(served, signature, shape):
    size, width = shape
    answer = served.run(signature, {"history": np.zeros(shape, object), **random_features([()] * size, width)})
    assert {len(values) for values in answer.values()} == {size}
    if signature != "encode":
        assert answer["valid"].any(axis=1).all()


def test_the_embedded_server_warms_up_with_features_and_honours_defaults(directory):
    servable = Servable(directory, 1)
    inputs = inputs_of(HISTORIES)
    for signature in SIGNATURES:
        response = servable.predict(predict_request_of(signature, inputs))
        expected = Served(directory).run(signature, inputs)
        assert set(response.outputs) == set(expected)
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs["keys"]), expected["keys"])


def predict_request_of(signature, inputs):
    request = predict_pb2.PredictRequest(model_spec={"name": "any", "signature_name": signature})
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def test_samples_bring_the_features_of_their_queries(model, tmp_path):
    queries = {
        "history": [["a", "b", "c"], None],
        "rating": [[1.0, None, 3.0], None],
        "tags": [[["x"], None, ["y", "z"]], None],
        "image": [[[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0]], None],
        "job": ["cook", None],
        "likes": [["u", "v"], None],
        "relevant": [["d"], []],
    }
    pq.write_table(pa.table(queries), tmp_path / "queries.parquet")
    features = QueryModel(model / "query", read_manifest(model, MODEL_FORMAT)["model"]).features
    batch = Samples(tmp_path / "queries.parquet", features, EVENTS, width=2).batch(3)
    assert batch["history"].tolist() == [["b", "c"], ["", ""], ["b", "c"]]
    np.testing.assert_array_equal(batch["rating"], np.float32([[np.nan, 3], [np.nan, np.nan], [np.nan, 3]]))
    assert batch["device"].tolist() == [["", ""]] * 3  # which has no column
    assert batch["tags"][0, :, :3].tolist() == [["", "", ""], ["y", "z", ""]]
    np.testing.assert_array_equal(batch["image"][0], np.float32([[np.nan] * 3, [4, 5, 6]]))
    assert np.isnan(batch["image"][1]).all()
    assert batch["job"].tolist() == ["cook", "", "cook"]
    assert batch["likes"][:, :3].tolist() == [["u", "v", ""], ["", "", ""], ["u", "v", ""]]


@pytest.mark.parametrize("name", ["k", "exclude_ids", "include_seen"])
def test_a_feature_with_the_name_of_another_input_is_refused(name):
    with pytest.raises(UserError, match=f"query feature '{name}' has the name of an input that every servable has"):
        check_features(["rating", name])

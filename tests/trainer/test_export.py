"""I1 for the export: the two SavedModels, alone, give the training model's f."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from protos.artifact import read_manifest
from protos.errors import UserError
from tests.support.models import (
    MEMORY,
    NUM_ITEMS,
    add_event_lists,
    random_sequences,
    small_config,
    small_ensemble,
    small_model,
)
from trainer.export import FORMAT, export
from trainer.exported_queries import SampleQueries
from trainer.windows import pad_histories

CATALOGUE = {
    "item_id": [f"item {row}" for row in range(NUM_ITEMS)],
    "title": [f"Film {row}, the é" for row in range(NUM_ITEMS)],
    "genres": [["Drama"]] * NUM_ITEMS,
}


def as_ids(histories, width):
    ids = [[f"item {row}" for row in history] for history in histories]
    return tf.constant([[""] * (width - len(history)) + history for history in ids])


def signature(directory, part, name="serving_default"):
    return tf.saved_model.load(str(directory / part)).signatures[name]


def ready_lists(directory) -> dict[int, list[tuple[int, float]]]:
    rows = pq.read_table(directory / "lists.parquet").to_pylist()
    return {row["key"]: list(zip(row["items"], row["scores"], strict=True)) for row in rows}


@pytest.mark.parametrize(
    ("structure", "events", "make", "tokens"),
    [
        ("residual", 0, small_model, 3),
        ("separate", 4, small_model, 3),
        ("product", 4, small_model, 3),
        ("residual", 4, small_ensemble, 6),
        ("product", 0, small_ensemble, 6),
    ],
)
def test_exported_models_and_lists_equal_the_trained_one(structure, events, make, tokens, tmp_path):
    model = make(small_config(structure, memory={**MEMORY, "num_events": events}))
    if events:
        add_event_lists(model)
    directory = export(model, CATALOGUE, random_sequences(5), tmp_path / "export")
    described = read_manifest(directory, FORMAT)["model"]
    assert described["num_events"] == events
    assert described["num_query_tokens"] == tokens
    histories = [*random_sequences(6, seed=3), np.zeros(0, np.int32)]
    encoded = {name: value.numpy() for name, value in signature(directory, "query")(as_ids(histories, 20)).items()}
    scorer, lists = signature(directory, "scorer"), ready_lists(directory)
    size = described["num_slots"] * described["num_codewords"] ** described["num_codebooks"]
    everything = np.zeros((len(histories), NUM_ITEMS))
    for place, token in np.ndindex(7, tokens + events):
        key, weight = encoded["keys"][place, token], encoded["weights"][place, token]
        if token < tokens:
            assert 0 <= key < size
            assert weight == 1
            scores = scorer(keys=tf.constant([key], tf.int64), items=tf.range(NUM_ITEMS))["scores"].numpy()[0]
            everything[place] += np.maximum(scores + described["bias"], 0)
        elif key == -1:
            assert weight == 0
        else:
            assert key - size == histories[place][-6:][token - tokens - events]
            for item, score in lists[key]:
                everything[place, item] += weight * score
    expected = model.catalogue_scores(tf.constant(pad_histories(histories, 6)))
    # Of a score that all but cancels with the bias, the rounding of both is left.
    np.testing.assert_allclose(everything, expected, rtol=1e-5, atol=2e-6)
    assert (encoded["keys"][:, tokens:] >= 0).any() == (events > 0)
    assert encoded["codes"].shape == (7, tokens, model.config.quantizer.num_codebooks)
    assert encoded["tokens"].shape == (7, tokens, 8)
    assert encoded["distances"].shape == (7, tokens, model.config.quantizer.num_codebooks, 4)
    np.testing.assert_array_equal(encoded["distances"].argmin(-1), encoded["codes"])
    dtypes = {name: value.dtype.name for name, value in encoded.items()}
    assert dtypes == {
        **{"codes": "int32", "keys": "int64"},
        **{"weights": "float32", "tokens": "float32", "distances": "float32"},
    }


@pytest.mark.parametrize(
    ("structure", "make"),
    [("residual", small_model), ("separate", small_model), ("product", small_model), ("residual", small_ensemble)],
)
def test_the_exported_scorer_rescores_tokens_as_the_model_does(structure, make, tmp_path):
    model = make(small_config(structure))
    directory = export(model, CATALOGUE, [], tmp_path / "export")
    tokens = signature(directory, "query")(as_ids(random_sequences(6, seed=3), 20))["tokens"]
    rows = tf.constant(np.random.default_rng(0).integers(0, NUM_ITEMS, (6, 4)), tf.int32)
    rescore = signature(directory, "scorer", "rescore")
    found = rescore(tokens=tokens, items=rows)
    expected = model.rescore(tokens, model.item_rows(rows))
    np.testing.assert_allclose(found["contributions"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["scores"], tf.reduce_sum(expected, 1), rtol=1e-5)
    assert rescore(tokens=tokens[:2], items=rows[:2, :0])["scores"].shape == (2, 0)
    assert rescore(tokens=tokens[:0], items=rows[:0])["scores"].shape == (0, 4)


@pytest.mark.parametrize(
    ("kind", "structure", "make"),
    [
        *(("hybrid", structure, small_model) for structure in ("residual", "product")),
        *((kind, "residual", small_model) for kind in ("none", "dnn", "fm", "cross", "attention", "mixture_of_logits")),
        ("hybrid", "separate", small_ensemble),
    ],
)
def test_stages_give_the_scores_of_one_call(kind, structure, make, tmp_path):
    model = make(small_config(structure, scorer={"kind": kind, "num_item_tokens": 2, "product_dim": 3, "hidden": 4}))
    directory = export(model, CATALOGUE, [], tmp_path / "export")
    codes, items, pairs = (signature(directory, "scorer", name) for name in ("codes", "items", "pairs"))
    keys, rows = tf.constant([5, 0, 3, 5], tf.int64), tf.constant([2, 29, 0], tf.int32)
    found = pairs(**codes(keys=keys), **items(items=rows))["scores"]
    np.testing.assert_allclose(found, model.score_codes(keys, rows), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found, signature(directory, "scorer")(keys=keys, items=rows)["scores"])


def test_ready_lists_are_those_of_the_memory_by_ascending_key(tmp_path):
    model = small_model(small_config(memory=MEMORY))
    add_event_lists(model)
    found = ready_lists(export(model, CATALOGUE, [], tmp_path / "export"))
    assert list(found) == sorted(found)
    expected, size = {}, model.config.quantizer.code_space.size
    for row, (items, scores) in enumerate(zip(*model.event_lists.lists, strict=True)):
        postings = [(int(item), float(score)) for item, score in zip(items, scores, strict=True) if score > 0]
        if postings:
            expected[size + row] = postings
    assert found == expected
    assert 0 < len(found) <= NUM_ITEMS
    assert all(list(postings) == sorted(postings, key=lambda p: (-p[1], p[0])) for postings in found.values())


def test_unknown_ids_padding_and_long_histories(tmp_path):
    model = small_model(small_config())
    export(model, CATALOGUE, [], tmp_path / "export")
    query = signature(tmp_path / "export", "query")

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
    assert relevant_of(tmp_path / "export") == [[]] * 5
    described = read_manifest(tmp_path / "export", FORMAT)["model"]
    assert described["num_slots"] == 3
    assert described["bias"] == float(model.bias)
    assert described["num_events"] == 0
    assert described["query_inputs"] == []
    lists = pq.read_table(tmp_path / "export" / "lists.parquet")
    assert len(lists) == 0
    kinds = {"key": pa.int64(), "items": pa.list_(pa.int32()), "scores": pa.list_(pa.float32())}
    assert {field.name: field.type for field in lists.schema} == kinds


def relevant_of(directory) -> list[list[str]]:
    return pq.read_table(directory / "queries.parquet").column("relevant").to_pylist()


def test_targets_of_queries_are_written_and_those_outside_the_catalogue_have_no_id(tmp_path):
    model = small_model(small_config())
    targets = [np.array([3, -1, 4]), np.zeros(0, np.int32)]
    export(model, CATALOGUE, SampleQueries(random_sequences(2), targets), tmp_path / "export")
    assert relevant_of(tmp_path / "export") == [["item 3", "", "item 4"], []]
    kind = pq.read_schema(tmp_path / "export" / "queries.parquet").field("relevant").type
    assert kind == pa.list_(pa.string())
    with pytest.raises(ValueError, match=r"there are 3 queries and targets of 2"):
        export(model, CATALOGUE, SampleQueries(random_sequences(3), targets), tmp_path / "export")


def test_a_model_without_codes_and_ids_that_cannot_stand_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no codes yet.*warmup_epochs"):
        export(small_model(small_config(), active=False), CATALOGUE, [], tmp_path / "export")
    with pytest.raises(UserError, match=r"structure 'none', the all-to-all model: it has no codes"):
        export(small_model(small_config("none")), CATALOGUE, [], tmp_path / "export")
    broken = {**CATALOGUE, "item_id": [*CATALOGUE["item_id"][:-1], "two\nlines"]}
    with pytest.raises(UserError, match=r"'two\\nlines' in row 29"):
        export(small_model(small_config()), broken, [], tmp_path / "export")
    assert not (tmp_path / "export").exists()

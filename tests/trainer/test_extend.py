"""An export with another catalogue: its rows are those that the model itself would make."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from protos.artifact import read_manifest
from protos.errors import UserError
from tests.trainer.test_cold_items import COLUMNS, ITEMS, configuration, model_of
from trainer.ensemble import put_together
from trainer.export import FORMAT, export
from trainer.extend import extend, main
from trainer.model import SparCode
from trainer.training import compile_model

NEW = pa.table(
    {
        "item_id": ["new one", "item 3", "new two"],
        "genres": pa.array([["b"], ["c", "a"], []]),
        "year": pa.array([1995, 2020, None]),
    }
)
KEYS = tf.range(4, dtype=tf.int64)


def with_codes(model: SparCode) -> SparCode:
    compile_model(model)
    shape = model.quantizer.codebooks.shape
    codebooks = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    model.quantizer.activate(codebooks, np.ones(shape[:3], np.float32))
    return model


@pytest.fixture(scope="module", params=["one", "ensemble"])
def trained(request, tmp_path_factory):
    members = [with_codes(model_of(configuration(), SparCode))]
    if request.param == "ensemble":
        members.append(with_codes(model_of(configuration(), SparCode)))
        members[1].item_embeddings.assign(members[1].item_embeddings[::-1])
    model = put_together(members)
    return model, export(model, COLUMNS, [np.arange(3)], tmp_path_factory.mktemp("trained") / "export")


def scores(directory, rows) -> np.ndarray:
    scorer = tf.saved_model.load(str(directory / "scorer")).signatures
    parts = scorer["items"](items=tf.constant(rows, tf.int32))
    found = scorer["pairs"](**scorer["codes"](keys=KEYS), **parts)["scores"].numpy()
    whole = scorer["serving_default"](keys=KEYS, items=tf.constant(rows, tf.int32))["scores"]
    np.testing.assert_array_equal(found, whole)
    return found


def expected(model, items: dict, ids: list[int | None]) -> np.ndarray:
    """Scores of items by the model's own layers: id vectors of rows, none of None, and features of columns."""
    parts = []
    for member in model.members:
        own = np.stack([np.zeros(8) if row is None else member.item_embeddings.numpy()[row] for row in ids])
        vectors = tf.math.l2_normalize(own + member.item_features.of_columns(items), -1)
        biases = np.array([0 if row is None else member.item_bias.numpy()[row] for row in ids], np.float32)
        parts.append((tf.cast(vectors, tf.float32), biases))
    one = len(model.members) == 1
    rows = type(model.item_rows(tf.zeros([0], tf.int32)))
    made = [
        type(each.item_rows(tf.zeros([0], tf.int32)))(*part) for each, part in zip(model.members, parts, strict=True)
    ]
    return model.score_pairs(model.code_parts(KEYS), model.item_parts(made[0] if one else rows(made))).numpy()


def test_new_changed_and_removed_items(trained, tmp_path):
    model, old = trained
    assert extend(old, NEW, ["item 0", "item 7"], tmp_path / "new") == (2, 1, 2)
    found = scores(tmp_path / "new", range(ITEMS + 2))
    before = scores(old, range(ITEMS))
    kept = [row for row in range(ITEMS) if row != 3]
    np.testing.assert_array_equal(found[:, kept], before[:, kept])
    assert np.abs(found[:, 3] - before[:, 3]).max() > 1e-3
    columns = {name: NEW[name].combine_chunks() for name in NEW.column_names}
    np.testing.assert_allclose(
        found[:, [ITEMS, 3, ITEMS + 1]], expected(model, columns, [None, 3, None]), rtol=1e-4, atol=1e-4
    )
    items = pq.read_table(tmp_path / "new" / "items.parquet").to_pydict()
    assert items["item_id"] == [*COLUMNS["item_id"].to_pylist(), "new one", "new two"]
    assert items["genres"][3] == ["c", "a"]
    assert items["year"][-2:] == [1995, None]
    assert [row for row, gone in enumerate(items["removed"]) if gone] == [0, 7]
    manifest, before = read_manifest(tmp_path / "new", FORMAT), read_manifest(old, FORMAT)
    assert manifest["model"] == before["model"] | {"num_items": ITEMS + 2}
    for name in ("lists.parquet", "queries.parquet"):
        assert (tmp_path / "new" / name).read_bytes() == (old / name).read_bytes()


def test_an_extended_export_can_be_extended(trained, tmp_path):
    _, old = trained
    extend(old, NEW, ["item 0"], tmp_path / "once")
    again = pa.table({"item_id": ["item 0", "new one"], "genres": [["a"], ["b"]], "year": [1990, 1995]})
    assert extend(tmp_path / "once", again, ["item 1"], tmp_path / "twice") == (0, 2, 1)
    items = pq.read_table(tmp_path / "twice" / "items.parquet")
    assert np.flatnonzero(items["removed"].to_numpy()).tolist() == [1]
    # Both were given the features that they had.
    np.testing.assert_allclose(
        scores(tmp_path / "twice", range(ITEMS + 2)), scores(tmp_path / "once", range(ITEMS + 2)), rtol=1e-5, atol=1e-5
    )


def test_rescored_sums_know_new_items(trained, tmp_path):
    model, old = trained
    extend(old, NEW, [], tmp_path / "new")
    rescore = tf.saved_model.load(str(tmp_path / "new" / "scorer")).signatures["rescore"]
    tokens = tf.random.stateless_normal([2, model.num_query_tokens, 8], [1, 2])
    found = rescore(tokens=tokens, items=tf.constant([[0, ITEMS + 1], [ITEMS, 5]], tf.int32))["scores"].numpy()
    own = tf.reduce_sum(model.rescore(tokens, model.item_rows(tf.constant([[0, 0], [5, 5]]))), 1)
    np.testing.assert_allclose([found[0, 0], found[1, 1]], [own[0, 0], own[1, 1]], rtol=1e-5)
    assert np.isfinite(found).all()


BAD = {
    "no ids": ({"items": NEW.drop_columns(["item_id"])}, r"has the columns genres, year; expected item_id"),
    "an id twice": ({"items": pa.concat_tables([NEW, NEW])}, r"has 'item 3' more than once"),
    "no feature": ({"items": NEW.drop_columns(["year"])}, r"has no column 'year', which the model needs"),
    "another kind": (
        {"items": NEW.set_column(1, "genres", pa.array(["a", "b", "c"]))},
        r"items column 'genres' holds string, expected lists",
    ),
    "an id of two lines": ({"items": NEW.set_column(0, "item_id", pa.array(["a\nb", "c", "d"]))}, r"one line of text"),
    "unknown removed": ({"removed": ["item 99"]}, r"--remove names 'item 99', which the catalogue does not have"),
    "both": ({"items": NEW, "removed": ["item 3"]}, r"'item 3' is both in --items and in --remove"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_named_and_nothing_is_written(trained, tmp_path, kind):
    change, message = BAD[kind]
    with pytest.raises(UserError, match=message):
        extend(trained[1], **({"items": None, "removed": []} | change), output=tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_model_without_features_cannot_take_new_items_but_can_lose_some(tmp_path):
    model = with_codes(model_of(configuration(items=[]), SparCode))
    old = export(model, COLUMNS, [], tmp_path / "old")
    with pytest.raises(UserError, match=r"items have no features \(features.items\)"):
        extend(old, NEW, [], tmp_path / "new")
    assert extend(old, None, ["item 2"], tmp_path / "new") == (0, 0, 1)


def test_the_command(trained, tmp_path, capsys, monkeypatch):
    pq.write_table(NEW, tmp_path / "items.parquet")
    (tmp_path / "gone.txt").write_text("item 5\n\n")
    fixed = ["--model", str(trained[1]), "--output", str(tmp_path / "new")]
    main([*fixed, "--items", str(tmp_path / "items.parquet"), "--remove", str(tmp_path / "gone.txt")])
    assert "2 items added, 1 changed, 1 removed" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing to do: give --items, --remove or both"):
        main(fixed)
    with pytest.raises(UserError, match=r"--items .*gone.txt cannot be read"):
        main([*fixed, "--items", str(tmp_path / "gone.txt")])

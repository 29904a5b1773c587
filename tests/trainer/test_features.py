"""Every kind of feature is encoded as a slow oracle says, alike in a batch and in a graph; bad columns are named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from protos.errors import UserError
from trainer.config import FeatureConfig, from_mapping
from trainer.data.features import clock, release_years
from trainer.features import FeatureSum, FeatureTable, fit_features

COLUMNS = {
    "title": pa.array(["The Thing (1982)", "Ä thing!", None, "?", "thing"]),
    "colour": pa.array(["red", "blue", None, "red", ""]),
    "floor": pa.array([3, 1, None, 3, 2], pa.int8()),
    "genres": pa.array([["b", "a"], [], None, ["a", "a"], ["", "b"]]),
    "price": pa.array([1.0, 3.0, None, 5.0, float("nan")]),
    "image": pa.array([[3.0, 4.0], [0.0, 1.0], None, [1.0, 0.0], [0.0, 0.0]]),
}


def fitted(*declared: FeatureConfig, columns=COLUMNS):
    return fit_features(columns, declared, "items")


def encode(declared: FeatureConfig, columns=COLUMNS, other=None):
    (encoded,) = fitted(declared, columns=columns).encode(columns if other is None else other)
    return encoded.to_list() if isinstance(encoded, tf.RaggedTensor) else encoded.numpy()


def message(declared: FeatureConfig, columns=COLUMNS) -> str:
    with pytest.raises(UserError) as caught:
        fitted(declared, columns=columns)
    return str(caught.value)


class TestCategories:
    def test_known_missing_and_unknown_values(self):
        declared = FeatureConfig("colour", "category")
        assert encode(declared) == [[2], [1], [], [2], []]
        assert encode(declared, other={"colour": pa.array(["green", "blue", ""])}) == [[0], [1], []]

    def test_whole_numbers_are_values_by_name(self):
        assert encode(FeatureConfig("floor", "category")) == [[3], [1], [], [3], [2]]

    def test_rare_values_are_unknown(self):
        assert encode(FeatureConfig("colour", "category", min_count=2)) == [[1], [0], [], [1], []]

    def test_several_values_a_row(self):
        declared = FeatureConfig("genres", "multi_category")
        assert encode(declared) == [[2, 1], [], [], [1, 1], [2]]
        assert encode(declared, other={"genres": pa.array([["z", "b"]])}) == [[0, 2]]

    def test_a_slice_of_a_column_is_read_from_its_own_first_row(self):
        assert encode(FeatureConfig("genres", "multi_category"), other={"genres": COLUMNS["genres"][3:]}) == [
            [1, 1],
            [2],
        ]

    def test_nothing_known_at_all(self):
        nothing = {"colour": pa.array([None, ""], pa.string())}
        assert encode(FeatureConfig("colour", "category"), nothing, {"colour": pa.array(["red", None])}) == [[0], []]


def words_and_grams(text: str, length: int) -> list[str]:
    """The parts of a text in plain Python."""
    words = "".join(character if character.isalnum() else " " for character in text.lower()).split()
    spaced = f" {' '.join(words)} " if words else ""
    grams = [spaced[at : at + length] for at in range(len(spaced) - length + 1)] if length else []
    return words + [f"#{gram}" for gram in grams]


class TestText:
    @pytest.mark.parametrize("length", [0, 3, 5])
    def test_parts_are_those_of_an_oracle(self, length):
        texts = ["The Thing (1982)", "Ä thing!", "", "?", "thing", "日本 映画 — 七人の侍", "O'Brien", "a"]
        declared = FeatureConfig("title", "text", hash_buckets=2**20, ngrams=length)
        bags = encode(declared, other={"title": pa.array(texts)})
        bucket = {}
        for text, bag in zip(texts, bags, strict=True):
            parts = words_and_grams(text, length)
            assert len(bag) == len(parts)
            for part, found in zip(parts, bag, strict=True):
                assert bucket.setdefault(part, found) == found
        assert len(set(bucket.values())) == len(bucket)

    def test_the_hash_never_changes(self):
        """A model that was exported hashes as the one that is trained."""
        declared = FeatureConfig("title", "text", hash_buckets=1000, ngrams=4)
        assert encode(declared, other={"title": pa.array(["Heat"])}) == [[727, 231, 488, 284]]

    def test_bytes_that_are_no_text_are_no_error(self):
        (encoder,) = fitted(FeatureConfig("title", "text")).encoders
        assert encoder.encode(tf.constant([b"\xff\xfe", b"ok \xff"])).nrows() == 2


class TestNumbers:
    def test_standardised_with_a_flag_for_the_missing(self):
        expected = [[-1, 0], [0, 0], [0, 1], [1, 0], [0, 1]]
        scaled = np.multiply(expected, [1 / np.std([1, 3, 5]) * 2, 1])
        np.testing.assert_allclose(encode(FeatureConfig("price", "number")), scaled, rtol=1e-6)

    def test_extremes_are_cut_and_a_constant_does_not_divide_by_zero(self):
        far = {"price": pa.array([1e30, -float("inf")])}
        np.testing.assert_allclose(encode(FeatureConfig("price", "number"), other=far), [[5, 0], [-5, 0]])
        same = {"price": pa.array([7, 7])}
        np.testing.assert_allclose(encode(FeatureConfig("price", "number"), same), np.zeros((2, 2)))

    def test_bins_hold_equal_shares(self):
        values = np.random.default_rng(0).permutation(100.0 + np.arange(40))
        bags = encode(FeatureConfig("price", "number", bins=4), {"price": pa.array(values)})
        assert np.unique(bags, return_counts=True)[1].tolist() == [10, 10, 10, 10]
        order = np.argsort(values)
        assert (np.diff(np.ravel(bags)[order]) >= 0).all()
        assert encode(FeatureConfig("price", "number", bins=2)) == [[1], [2], [], [2], []]

    def test_text_that_is_numbers_is_read(self):
        text = {"price": pa.array(["1", "", "3.0"])}
        np.testing.assert_allclose(encode(FeatureConfig("price", "number"), text), [[-1, 0], [0, 1], [1, 0]])

    def test_text_that_is_none_names_the_row(self):
        text = {"price": pa.array(["1", "2", "cheap"])}
        assert message(FeatureConfig("price", "number"), text) == (
            "features: items column 'price', row 2: 'cheap' is not a number"
        )


class TestVectors:
    def test_are_scaled_by_their_mean_length_and_zero_where_missing(self):
        mean = np.mean([5, 1, 1, 0])
        expected = np.array([[3, 4], [0, 1], [0, 0], [1, 0], [0, 0]]) / mean
        np.testing.assert_allclose(encode(FeatureConfig("image", "vector")), expected, rtol=1e-6)

    def test_widths_that_differ_name_both_and_the_row(self):
        vectors = {"image": pa.array([None, [1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0]])}
        assert message(FeatureConfig("image", "vector"), vectors) == (
            "features: items column 'image', row 3: a vector of 3 numbers, expected 2 as in row 1"
        )

    def test_another_width_than_in_training_names_both(self):
        with pytest.raises(UserError, match="'image' holds vectors of 3 numbers, expected 2 as in training"):
            encode(FeatureConfig("image", "vector"), other={"image": pa.array([[1.0, 2.0, 3.0]])})

    def test_fixed_size_lists_are_vectors_too(self):
        fixed = {"image": pa.array([[3.0, 4.0], None], pa.list_(pa.float32(), 2))}
        np.testing.assert_allclose(encode(FeatureConfig("image", "vector"), fixed), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_a_column_the_data_lacks_is_named_with_those_it_has():
    assert message(FeatureConfig("studio", "category")) == (
        "features.items: the data has no items column 'studio'; it has"
        " 'title', 'colour', 'floor', 'genres', 'price', 'image'"
    )
    assert message(FeatureConfig("studio", "category"), {}).endswith("it has none")


@pytest.mark.parametrize(
    ("name", "kind", "found", "wanted"),
    [
        ("genres", "category", "list<", "one value a row; 'multi_category' takes lists"),
        ("price", "category", "double", "text or whole numbers"),
        ("colour", "multi_category", "string", "lists of text or of whole numbers; 'category' takes one"),
        ("image", "multi_category", "list<", "lists of text"),
        ("genres", "number", "list<", "numbers"),
        ("genres", "text", "list<", "text"),
        ("genres", "vector", "list<", "lists of floating-point numbers"),
        ("price", "vector", "double", "lists of floating-point numbers"),
    ],
)
def test_a_column_of_another_kind_is_named(name, kind, found, wanted):
    text = message(FeatureConfig(name, kind))
    assert f"items column '{name}' holds {found}" in text
    assert wanted in text


ALL = (
    FeatureConfig("title", "text", hash_buckets=50),
    FeatureConfig("colour", "category"),
    FeatureConfig("genres", "multi_category"),
    FeatureConfig("price", "number"),
    FeatureConfig("image", "vector"),
)


def test_the_sum_is_of_means_of_embeddings_and_of_products():
    features = fitted(*ALL)
    layer = FeatureSum(features, 4, seed=1)
    encoded = features.encode(COLUMNS)
    expected = np.zeros((5, 4))
    for part, values in zip(layer.parts, encoded, strict=True):
        if isinstance(values, tf.RaggedTensor):
            for row, bag in enumerate(values.to_list()):
                expected[row] += np.mean([part.table.numpy()[bucket] for bucket in bag], 0) if bag else 0
        else:
            expected += values.numpy() @ part.kernel.numpy()
    np.testing.assert_allclose(layer(encoded), expected, atol=1e-6)


def test_the_unknown_says_nothing_before_it_is_trained():
    features = fitted(FeatureConfig("colour", "category"))
    layer = FeatureSum(features, 4, seed=1)
    vectors = layer(features.encode({"colour": pa.array(["green", "red"])})).numpy()
    assert not vectors[0].any()
    assert vectors[1].any()


def test_a_table_gives_the_features_of_rows_and_none_for_the_row_after_the_last():
    features = fitted(*ALL)
    encoded = features.encode(COLUMNS)
    rows = [4, 0, 0, 5, 2]
    for whole, taken in zip(encoded, FeatureTable(encoded)(tf.constant(rows)), strict=True):
        if isinstance(whole, tf.RaggedTensor):
            assert taken.to_list() == [(*whole.to_list(), [])[row] for row in rows]
        else:
            np.testing.assert_array_equal(taken, np.concatenate([whole, np.zeros((1, whole.shape[1]))])[rows])


def test_a_graph_encodes_as_the_data_was_encoded():
    """What is served: strings and numbers come as tensors, and no row at all is no error."""
    features = fitted(*ALL)
    title, colour, price = features.encoders[0], features.encoders[1], features.encoders[3]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2 + [tf.TensorSpec([None], tf.float32)])
    def encoded(titles, colours, prices):
        return title.encode(titles), colour.encode(colours), price.encode(prices)

    expected = features.encode(COLUMNS)
    raw = [COLUMNS[name].fill_null("").to_pylist() for name in ("title", "colour")]
    found = encoded(*map(tf.constant, raw), tf.constant([1, 3, np.nan, 5, np.nan], tf.float32))
    for one, other in zip(found, (expected[0], expected[1], expected[3]), strict=True):
        as_list = [
            values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy() for values in (one, other)
        ]
        np.testing.assert_equal(*as_list)
    nothing = encoded(tf.zeros([0], tf.string), tf.zeros([0], tf.string), tf.zeros([0]))
    assert [
        int(tf.shape(values)[0]) if not isinstance(values, tf.RaggedTensor) else int(values.nrows())
        for values in nothing
    ] == [0, 0, 0]


class TestDeclarations:
    def test_a_list_of_mappings_is_typed(self, tmp_path):
        values = {"features": {"items": [{"name": "year", "kind": "number", "bins": 8}], "id_dropout": 0.1}}
        config = from_mapping(values, "my.yaml")
        assert config.features.items == (FeatureConfig("year", "number", bins=8),)

    @pytest.mark.parametrize(
        ("items", "expected"),
        [
            (
                [{"name": "year", "kind": "pixels"}],
                r"my.yaml: features.items\[0\].kind is 'pixels'; choose one of 'cat",
            ),
            ([{"kind": "text"}], r"my.yaml: features.items\[0\] has no field 'name'"),
            ([{"name": "a", "kind": "text", "hash": 3}], r"section 'features.items\[0\]' 'hash' is unknown"),
            ([{"name": "a", "kind": "text", "ngrams": "x"}], r"features.items\[0\].ngrams is 'x'; expected int"),
            ([{"name": "a", "kind": "text", "ngrams": -1}], r"feature 'a': ngrams is -1; it must be at least 0"),
            ([{"name": "a", "kind": "text"}] * 2, r"features.items name a column twice: a, a"),
            (["year"], r"my.yaml: features.items\[0\] is 'year'; expected fields with values"),
            ("year", r"my.yaml: features.items is 'year'; expected a list"),
        ],
    )
    def test_bad_ones_are_named(self, items, expected):
        with pytest.raises(UserError, match=expected):
            from_mapping({"features": {"items": items}}, "my.yaml")

    def test_ids_cannot_be_hidden_without_features(self):
        with pytest.raises(UserError, match=r"id_dropout is 0.5, but features.items is empty"):
            from_mapping({"features": {"id_dropout": 0.5, "from_data": False}}, "my.yaml")


def test_years_are_those_at_the_end_of_titles():
    titles = ["Heat (1995)", "2001 (1968) ", "1984", "(500) Days (2009) (cut)", ""]
    assert release_years(titles).to_pylist() == [1995, 1968, None, None, None]


def test_the_clock_is_that_of_utc():
    columns = clock(np.array([0, 1_445_714_835, 86_399, 4 * 86_400]))
    assert columns["hour"].to_pylist() == [0, 19, 23, 0]
    assert columns["weekday"].to_pylist() == [3, 5, 3, 0]

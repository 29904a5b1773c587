"""Categories of a catalogue: which column, how it is read, and what cannot be one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from protos.errors import UserError
from serving.categories import Categories, category_column, no_categories, read_categories
from serving.sums import Candidates

NAMES = [["Drama"], [], ["", "Comedy", None], None, ["Drama", "Comedy", "Drama"]]
READ = [["Drama"], [], ["Comedy"], [], ["Drama", "Comedy", "Drama"]]


def written(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def of_items(categories):
    parts = np.split(categories.numbers, categories.splits[1:-1])
    return [[categories.names[number] for number in part] for part in parts]


def kept_rows(categories, num_items, allow, deny):
    """The rows that are kept of all items as one query's candidates, of which the first is not valid."""
    rows = tf.range(num_items)[None]
    candidates = Candidates(rows, tf.ones([1, num_items]), rows > 0)
    strings = (tf.constant(names, tf.string, [1, len(names)]) for names in (allow, deny))
    return np.flatnonzero(categories.keep(candidates, *strings).valid).tolist()


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string())])
def test_lists_of_strings_are_read(tmp_path, kind):
    path = written(tmp_path / "items.parquet", genres=pa.array(NAMES, kind))
    assert of_items(read_categories(path, "genres")) == READ


def test_strings_are_read_as_one_category_an_item(tmp_path):
    path = written(tmp_path / "items.parquet", brand=["x", "", None, "y", "x"])
    assert of_items(read_categories(path, "brand")) == [["x"], [], [], ["y"], ["x"]]


def test_several_row_groups_are_read_as_one(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"genres": pa.array(NAMES, pa.list_(pa.string()))}), path, row_group_size=2)
    assert of_items(read_categories(path, "genres")) == READ


def test_genres_are_taken_where_there_are_and_none_are_asked_for(tmp_path):
    path = written(tmp_path / "items.parquet", genres=[["a"]], brand=["b"])
    assert [category_column(path, asked) for asked in (None, "brand", "")] == ["genres", "brand", None]
    assert category_column(written(tmp_path / "other.parquet", brand=["b"]), None) is None
    with pytest.raises(
        UserError, match=r"--category_column colour: .*items\.parquet has no such column; it has genres, "
    ):
        category_column(path, "colour")


@pytest.mark.parametrize("values", [[1], [[1.5]], [True]])
def test_other_columns_are_refused(tmp_path, values):
    path = written(tmp_path / "items.parquet", year=values)
    with pytest.raises(UserError, match=r"column 'year' holds .*; categories are strings or lists of strings: choose"):
        read_categories(path, "year")


def test_a_category_that_a_text_file_cannot_hold_is_refused(tmp_path):
    path = written(tmp_path / "items.parquet", genres=[["a"], ["b\nc"]])
    with pytest.raises(UserError, match=r"column 'genres': the category 'b\\nc' holds a line break"):
        read_categories(path, "genres")


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        ([""], [""], [1, 2, 3, 4]),
        (["Drama"], [""], [4]),
        (["", "Comedy"], [], [2, 4]),
        ([""], ["Drama"], [1, 2, 3]),
        (["Comedy"], ["Drama", ""], [2]),
        (["nothing"], [], []),
        (["nothing", "Drama"], ["nothing either"], [4]),
    ],
)
def test_candidates_are_kept_by_their_categories(tmp_path, allow, deny, expected):
    found = read_categories(written(tmp_path / "items.parquet", genres=pa.array(NAMES)), "genres")
    assert kept_rows(Categories(found, tmp_path / "names.txt"), 5, allow, deny) == expected


def test_without_categories_only_allowing_has_an_effect(tmp_path):
    none = Categories(no_categories(3), tmp_path / "names.txt")
    assert kept_rows(none, 3, [""], ["Drama"]) == [1, 2]
    assert kept_rows(none, 3, ["Drama"], [""]) == []

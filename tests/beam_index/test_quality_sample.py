"""Which queries an index is measured by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_index.quality.sample import Catalogue, choose, read_sample
from protos.errors import UserError


def write(path, **columns):
    kind = pa.list_(pa.string())
    pq.write_table(pa.table({name: pa.array(values, kind) for name, values in columns.items()}), path)
    return path


@pytest.mark.parametrize(
    ("judging", "limit", "expected"),
    [
        ("0000000000", 5, [0, 2, 4, 6, 8]),
        ("0000000000", 99, list(range(10))),
        ("0100100001", 3, [1, 4, 9]),
        ("1111000000", 2, [0, 2]),
        ("0000000011", 6, [0, 2, 4, 6, 8, 9]),
        ("", 4, []),
    ],
)
def test_queries_with_targets_come_first_and_each_kind_at_even_distances(judging, limit, expected):
    assert choose(np.array([letter == "1" for letter in judging], bool), limit).tolist() == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 512])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_the_sample_has_as_many_different_queries_as_it_can(share, limit):
    judging = np.random.default_rng(limit).random(60) < share
    chosen = choose(judging, limit)
    assert len(chosen) == len(set(chosen.tolist())) == min(limit, 60)
    assert (np.diff(chosen) > 0).all()
    assert judging[chosen].sum() == min(limit, judging.sum())


def test_histories_and_targets_are_read_with_nulls_as_nothing(tmp_path):
    path = write(tmp_path / "q.parquet", history=[["a", "b"], None, ["c", None], []], relevant=[["d"], [], None, ["e"]])
    sample = read_sample(path, 10)
    assert sample.histories == [["a", "b"], [], ["c", ""], []]
    assert sample.relevant == [["d"], [], [], ["e"]]
    assert (len(sample), sample.asked) == (4, 4)
    assert read_sample(path, 2).histories == [["a", "b"], []]


def test_an_older_export_has_no_targets(tmp_path):
    sample = read_sample(write(tmp_path / "q.parquet", history=[["a"], ["b"], ["c"]]), 2)
    assert sample.histories == [["a"], ["b"]]
    assert sample.relevant == [[], []]


def test_an_empty_file_is_an_empty_sample(tmp_path):
    sample = read_sample(write(tmp_path / "q.parquet", history=[], relevant=[]), 5)
    assert sample == ({"history": []}, [], 0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, r"does not exist; expected the queries\.parquet of an export"),
        (pa.table({"items": [["a"]]}), r"has the columns \['items'\]; expected a column 'history'"),
        (pa.table({"history": ["a"]}), r"column 'history' is string; expected list<string>"),
        (
            pa.table({"history": [["a"]], "relevant": [[1]]}),
            r"column 'relevant' is list<.*int64>; expected list<string>",
        ),
    ],
)
def test_a_file_that_will_not_do_is_named(tmp_path, table, message):
    path = tmp_path / "q.parquet"
    if table is not None:
        pq.write_table(table, path)
    with pytest.raises(UserError, match=rf"queries file .*q\.parquet.*{message}"):
        read_sample(path, 5)


def test_unknown_ids_are_no_rows():
    found = Catalogue(["a", "b"]).rows([["b", "x", ""], []])
    assert [rows.tolist() for rows in found] == [[1, -1, -1], []]

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from beam_index.codes import BATCH_QUERIES, Codes, UnionOfKeys, batches, pad
from beam_index.plan import Plan
from protos.artifact import read_manifest
from protos.codes import CodeSpace
from tests.support.exports import EXPORT_FORMAT


def plan(export, queries) -> Plan:
    model = read_manifest(export, EXPORT_FORMAT)["model"]
    space = CodeSpace(model["num_slots"], model["num_codebooks"], model["num_codewords"])
    return Plan(
        model=str(export),
        directory="",
        num_items=model["num_items"],
        space=space,
        bias=model["bias"],
        postings_per_code=5,
        queries=None if queries is None else str(queries),
        block=False,
        num_shards=1,
        journal="",
    )


def assert_codes(a_plan: Plan, expected: set[int]) -> None:
    def check(found):
        (keys,) = found
        assert keys.dtype == np.int64
        assert keys.tolist() == sorted(expected)

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assert_that(pipeline | Codes(a_plan), check)


@pytest.mark.parametrize(("export", "size"), [("residual_export", 12), ("product_export", 16)])
def test_all_codes_are_the_whole_space(export, size, request):
    assert_codes(plan(request.getfixturevalue(export), None), set(range(size)))


@pytest.mark.parametrize("export", ["residual_export", "product_export"])
def test_observed_codes_are_those_of_the_queries_and_no_others(export, request):
    directory = request.getfixturevalue(export)
    query = tf.saved_model.load(str(directory / "query")).signatures["serving_default"]
    expected = set()
    for history in pq.read_table(directory / "queries.parquet")["history"].to_pylist():
        expected |= set(query(history=tf.constant([history]))["keys"].numpy().ravel().tolist())
    assert_codes(plan(directory, directory / "queries.parquet"), expected)


def test_histories_past_a_batch_empty_and_missing_ones_count(residual_export, tmp_path):
    query = tf.saved_model.load(str(residual_export / "query")).signatures["serving_default"]
    histories = [["item-1"]] * (BATCH_QUERIES + 3) + [[], None, ["", "no such item"], ["item-7", None]]
    queries = tmp_path / "queries.parquet"
    pq.write_table(pa.table({"history": pa.array(histories, pa.list_(pa.string()))}), queries, row_group_size=100)
    expected = set()
    for history in (["item-1"], [""], ["item-7"]):
        expected |= set(query(history=tf.constant([history]))["keys"].numpy().ravel().tolist())
    assert_codes(plan(residual_export, queries), expected)


def test_batches_hold_every_history_once():
    histories = [[f"item-{row}"] for row in range(2 * BATCH_QUERIES + 5)]
    cut = list(batches(pa.table({"history": histories})))
    assert [history for batch in cut for history in batch] == histories
    assert max(map(len, cut)) <= BATCH_QUERIES


def test_padding_has_one_shape_for_any_number_of_histories():
    padded = pad([["a", "b", "c"], [], None, ["d", None]])
    assert padded.shape == (BATCH_QUERIES, 3)
    assert padded[:4].tolist() == [["a", "b", "c"], ["", "", ""], ["", "", ""], ["d", "", ""]]
    assert set(padded[4:].ravel()) == {""}
    assert pad([[]]).shape == (BATCH_QUERIES, 1)


def test_union_does_not_depend_on_grouping():
    union = UnionOfKeys()
    parts = [np.array(keys) for keys in ([5, 9], [1, 5], [2**60], [9])]
    one = union.create_accumulator()
    for part in parts:
        one = union.add_input(one, part)
    two = union.merge_accumulators(
        [parts[3], parts[0], union.create_accumulator(), union.add_input(parts[2], parts[1])]
    )
    assert union.extract_output(one).tolist() == union.extract_output(two).tolist() == [1, 5, 9, 2**60]

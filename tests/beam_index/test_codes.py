import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from beam_index.codes import Codes, EncodeKeys, UnionOfKeys
from beam_index.plan import Plan
from beam_index.query_encoder import BATCH_QUERIES
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
        num_ready_lists=0,
        bias=model["bias"],
        postings_per_code=5,
        queries=None if queries is None else str(queries),
        block=False,
        num_shards=1,
        journal="",
    )


def observed(export, histories) -> set[int]:
    """The keys of the quantised tokens of some histories: the first columns of what the query model gives."""
    query = tf.saved_model.load(str(export / "query")).signatures["serving_default"]
    num_tokens = read_manifest(export, EXPORT_FORMAT)["model"]["num_query_tokens"]
    found = [query(history=tf.constant([history]))["keys"].numpy()[0, :num_tokens] for history in histories]
    return set(np.concatenate(found).tolist())


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
    histories = pq.read_table(directory / "queries.parquet")["history"].to_pylist()
    assert_codes(plan(directory, directory / "queries.parquet"), observed(directory, histories))


def test_keys_of_events_are_no_codes(residual_export):
    """Were they let in, the scorer would be asked for codes that it does not have."""
    encode = EncodeKeys(plan(residual_export, None))
    encode.setup()
    histories = pq.read_table(residual_export / "queries.parquet")["history"].to_pylist()
    query = tf.saved_model.load(str(residual_export / "query")).signatures["serving_default"]
    given = {key for each in histories for key in query(history=tf.constant([each]))["keys"].numpy().ravel().tolist()}
    assert -1 in given
    assert max(given) >= 12
    (keys,) = encode.process({"history": histories})
    assert keys.tolist() == sorted(given & set(range(12)))


def test_histories_past_a_batch_and_empty_ones_count_and_bad_ones_do_not(residual_export, tmp_path):
    histories = [["item-1"]] * (BATCH_QUERIES + 3) + [[], None, ["", "no such item"], ["item-7", None]]
    queries = tmp_path / "queries.parquet"
    pq.write_table(pa.table({"history": pa.array(histories, pa.list_(pa.string()))}), queries, row_group_size=100)
    assert_codes(plan(residual_export, queries), observed(residual_export, [["item-1"], [""]]))


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

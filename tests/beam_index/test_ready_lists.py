"""Ready lists in an index against the export's parquet file, read by itself."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_index import pipeline as build_pipeline
from beam_index import ready_lists as reading
from beam_index.build import run_here
from beam_index.geometry import Span
from beam_index.ready_lists import check_ready_lists, ready_lists
from protos.codes import CodeSpace
from protos.errors import UserError
from tests.beam_index import oracle
from tests.beam_index.oracle import expected_lists, written_block, written_bytes, written_lists
from tests.beam_index.tables import lists_table, renew_manifest, write_table_export
from tests.support.exports import TinySpec, write_tiny_export

NUM_CODES, NUM_ITEMS, BIAS = 3, 10, 0.5
SPACE = CodeSpace(1, 1, NUM_CODES)


def build(model, index, *options):
    exact = ["--direct_running_mode=in_memory", "--score_bits=32", "--quality_queries=0"]
    return run_here(["--model", str(model), "--output", str(index), "--no-progress", *exact, *options])


def random_lists(count: int) -> list[tuple[int, list[int], list[float]]]:
    """Lists of 0 to 9 items at ascending keys with gaps; scores are few, so that some tie."""
    rng = np.random.default_rng(count)
    lists = []
    for key in np.cumsum(rng.integers(1, 4, count)) + NUM_CODES - 1:
        rows = rng.choice(NUM_ITEMS, rng.integers(0, NUM_ITEMS), replace=False).tolist()
        pairs = sorted((-int(rng.integers(1, 5)) / 8, row) for row in rows)
        lists.append((int(key), [row for _, row in pairs], [-score for score, _ in pairs]))
    return lists


def table() -> np.ndarray:
    return np.random.default_rng(0).integers(-8, 8, (NUM_CODES, NUM_ITEMS)).astype(np.float32) / 4


@pytest.mark.parametrize("count", [0, 1, 40])
def test_an_index_holds_the_lists_of_codes_and_then_the_ready_ones_as_they_are(tmp_path, monkeypatch, count):
    monkeypatch.setattr(reading, "BATCH_LISTS", 4)
    export = write_table_export(tmp_path / "export", table(), BIAS, lists_table(random_lists(count)), group=9)
    build(export, tmp_path / "index", "--postings_per_code=2")  # which must not cut them
    ready = oracle.ready_lists(export, BIAS)
    assert len(ready) == count
    assert written_lists(tmp_path / "index") == expected_lists(table(), BIAS, 2) + ready


@pytest.mark.parametrize("num_events", [0, 3])
def test_an_export_may_have_no_events(tmp_path, num_events):
    export = write_tiny_export(tmp_path / "export", TinySpec(num_events=num_events))
    report = build(export, tmp_path / "index", "--codes=observed")
    ready = oracle.ready_lists(export, bias=0.1)
    assert bool(ready) == bool(num_events)
    assert [each for each in written_lists(tmp_path / "index") if each.key >= 12] == ready
    assert report.manifest["ready_lists"] == len(ready)


def test_the_block_is_of_codes_only_and_counts_are_of_all_lists(tmp_path):
    scores = np.full((NUM_CODES, NUM_ITEMS), -1, np.float32)
    scores[1, [0, 4]] = 1
    lists = [(NUM_CODES, [6, 4], [2.0, 1.0]), (NUM_CODES + 5, [], [])]
    export = write_table_export(tmp_path / "export", scores, ready=lists_table(lists))
    counts = build(export, tmp_path / "index").manifest["counts"]
    assert counts.pop("records")["ready_lists"] == {"in": 2, "used": 2, "bad": 0}
    assert counts == {"codes": 3, "ready_lists": 2, "postings": 4, "empty_lists": 2, "items_in_no_list": 7}
    values, _ = written_block(tmp_path / "index")
    np.testing.assert_allclose(values, np.maximum(scores, 0), rtol=1e-6)


@pytest.mark.parametrize("num_shards", [2, 5, 50])
def test_lists_of_both_kinds_are_spread_evenly_over_the_files(tmp_path, num_shards):
    export = write_table_export(tmp_path / "export", table(), BIAS, lists_table(random_lists(40)), group=7)
    build(export, tmp_path / "one")
    build(export, tmp_path / "many", f"--num_shards={num_shards}")
    assert written_bytes(tmp_path / "many", "postings") == written_bytes(tmp_path / "one", "postings")
    paths = (tmp_path / "many").glob("postings-*")
    sizes = [sum(1 for _ in tf.data.TFRecordDataset(str(path))) for path in paths]
    assert len(sizes) == num_shards
    assert sum(sizes) == 43
    assert max(sizes) - min(sizes) <= 1


def test_any_span_of_lists_is_read_across_batches_and_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_LISTS", 3)
    lists = random_lists(12)
    pq.write_table(lists_table(lists), tmp_path / "lists.parquet", row_group_size=5)
    for start in range(13):
        for stop in range(start, 13):
            found = ready_lists(tmp_path, Span(start, stop), np.float32(-0.5), removed=np.empty(0, np.int32))
            assert [(key, threshold, items.tolist(), scores.tolist()) for key, threshold, items, scores in found] == [
                (key, -0.5, items, scores) for key, items, scores in lists[start:stop]
            ]


def test_removed_items_are_left_out(tmp_path):
    pq.write_table(lists_table([(3, [4, 1, 0], [3.0, 2.0, 1.0]), (5, [1], [1.0])]), tmp_path / "lists.parquet")
    found = ready_lists(tmp_path, Span(0, 2), np.float32(0), removed=np.array([1, 7], np.int32))
    assert [(each.items.tolist(), each.scores.tolist()) for each in found] == [([4, 0], [3.0, 1.0]), ([], [])]


FAULTS = {
    "key of a code": ([(2, [1], [1.0])], r"list 2 has a key below 3: "),
    "no key": ([(-1, [1], [1.0])], r"list -1 has a key below 3: "),
    "null key": ([(3, [1], [1.0]), (None, [1], [1.0])], r"list None has a null in its column 'key'; expected none"),
    "key twice": ([(5, [1], [1.0]), (5, [2], [1.0])], r"list 5 stands after list 5; keys must ascend"),
    "keys descend": ([(5, [1], [1.0]), (4, [2], [1.0])], r"list 4 stands after list 5; keys must ascend"),
    "fewer scores": ([(3, [1], [1.0]), (4, [1, 2], [1.0])], r"list 4 has 2 items and 1 scores; expected one an item"),
    "row too large": ([(3, [], []), (4, [1, 10], [2.0, 1.0])], r"list 4 has row 10; rows of the catalogue are 0 to 9"),
    "row too small": ([(4, [-1], [1.0])], r"list 4 has row -1; rows of the catalogue are 0 to 9"),
    "row twice": (
        [(3, [1], [1.0]), (4, [1, 2, 1], [3.0, 2.0, 1.0])],
        r"list 4 has row 1 twice; expected each row once",
    ),
    "row twice in a tie": ([(4, [1, 1], [1.0, 1.0])], r"list 4 has row 1 twice"),
    "null row": ([(3, [1], [1.0]), (4, [1, None], [2.0, 1.0])], r"list 4 has a null in its column 'items'"),
    "null list": ([(3, [], []), (4, None, [])], r"list 4 has a null in its column 'items'"),
    "null score": ([(3, [1], [1.0]), (4, [1], [None])], r"list 4 has a null in its column 'scores'"),
    "nan": ([(4, [1, 2], [1.0, np.nan])], r"list 4 has score nan for row 2; expected finite and above 0"),
    "infinity": ([(4, [1, 2], [np.inf, 1.0])], r"list 4 has score inf for row 1; expected finite and above 0"),
    "zero": ([(4, [1, 2], [1.0, 0.0])], r"list 4 has score 0.0 for row 2; expected finite and above 0"),
    "negative": ([(4, [1], [-1.0])], r"list 4 has score -1.0 for row 1; expected finite and above 0"),
    "scores ascend": (
        [(3, [1], [0.25]), (4, [1, 2], [0.5, 0.75])],
        r"list 4 has row 2 of score 0.75 after row 1 of score 0.5; expected descending scores, ascending rows where",
    ),
    "rows of a tie descend": ([(4, [2, 1], [0.5, 0.5])], r"list 4 has row 1 of score 0.5 after row 2 of score 0.5"),
}


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("fault", FAULTS)
def test_lists_that_contradict_the_contract_are_named_with_what_was_found_and_the_cure(
    tmp_path, monkeypatch, fault, batch
):
    monkeypatch.setattr(reading, "BATCH_LISTS", batch)
    lists, message = FAULTS[fault]
    pq.write_table(lists_table(lists), tmp_path / "lists.parquet")
    with pytest.raises(
        UserError,
        match=rf"ready lists .*lists\.parquet: 1 of \d records are bad .*: row \d: {message}.*; export the model",
    ):
        check_ready_lists(tmp_path, SPACE, NUM_ITEMS)


def test_what_may_look_wrong_but_is_not(tmp_path):
    """The next list may begin with a better score, a smaller row or one of the list before; a list may be empty."""
    lists = [(3, [5, 1], [1.0, 0.5]), (4, [], []), (2**62, [1, 5], [9.0, 9.0]), (2**62 + 1, [0, 9], [9.0, 1e-45])]
    pq.write_table(lists_table(lists), tmp_path / "lists.parquet")
    assert check_ready_lists(tmp_path, SPACE, NUM_ITEMS) == (4, 6, ())
    assert [each.key for each in ready_lists(tmp_path, Span(0, 4), np.float32(0), np.empty(0))] == [
        3,
        4,
        2**62,
        2**62 + 1,
    ]


FILES = {
    "missing": (None, r"does not exist"),
    "not parquet": (b"hello", r"is not a parquet file"),
    "no column": (
        lists_table().drop_columns(["scores"]),
        r"the columns are key int64, items list<.*int32>; expected key",
    ),
    "another type": (
        lists_table().set_column(2, "scores", pa.array([], pa.list_(pa.float64()))),
        r"scores list<.*double>; expected key int64, items list<int32>, scores list<float32>",
    ),
    "no lists": (
        pa.table({"key": pa.array([1]), "items": [1], "scores": [1.0]}),
        r"items int64, scores double; expect",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_will_not_do_is_refused_before_work_starts(tmp_path, kind):
    content, message = FILES[kind]
    export = write_table_export(tmp_path / "export", table())
    path = export / "lists.parquet"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        pq.write_table(content, path)
    renew_manifest(export)
    with pytest.raises(UserError, match=rf"ready lists .*lists\.parquet.* {message}.*; export the model again$"):
        build(export, tmp_path / "index")
    assert [each.name for each in tmp_path.iterdir()] == ["export"]


def test_a_file_of_lists_that_the_runner_loses_is_missed(tmp_path, monkeypatch):
    write = build_pipeline.write_posting_shard

    def lossy(of_shard, *rest):
        return "lost" if of_shard[0] == 3 else write(of_shard, *rest)

    monkeypatch.setattr(build_pipeline, "write_posting_shard", lossy)
    export = write_table_export(tmp_path / "export", table(), ready=lists_table(random_lists(13)))
    message = r"runner lost records: the files hold 9 ready lists, expected 13; no index was written"
    with pytest.raises(UserError, match=message):
        build(export, tmp_path / "index", "--num_shards=4")
    assert [each.name for each in tmp_path.iterdir()] == ["export"]

"""Whole builds against an oracle that sees all scores, and against one another (I3)."""

import functools
import random
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_index import pipeline as build_pipeline
from beam_index.build import run_here
from beam_index.reader import block_tiles
from protos.errors import UserError
from tests.beam_index.oracle import expected_lists, written_block, written_bytes, written_lists
from tests.beam_index.tables import DeepScorer, replace_scorer, write_table_export
from tests.support.exports import TinySpec, write_tiny_export

IN_MEMORY = "--direct_running_mode=in_memory"


def build(model, index, *options):
    """Builds in this process and returns the index."""
    run_here(["--model", str(model), "--output", str(index), "--no-progress", "--quality_queries=0", *options])
    return index


def tied_table(num_codes: int, num_items: int) -> np.ndarray:
    """Scores of few values, some codes with none above 0, some items likewise."""
    rng = np.random.default_rng(num_items)
    table = rng.integers(-6, 5, (num_codes, num_items)).astype(np.float32) / 4
    table[1] = -np.abs(table[1])
    table[:, 2] = -1
    return table


@pytest.mark.parametrize(
    ("num_codes", "num_items", "limit", "bias"),
    [
        pytest.param(5, 40, 7, 0.5, id="one short tile"),
        pytest.param(5, 40, 7, -0.5, id="negative bias"),
        pytest.param(5, 40, 40, 0.0, id="limit is all items"),
        pytest.param(5, 40, 999, 0.5, id="limit past all items"),
        pytest.param(3, 4096, 50, 0.0, id="one full tile"),
        pytest.param(4, 8192 + 37, 900, 0.5, id="last tile short"),
        pytest.param(300, 257, 20, 0.0, id="last chunk of codes short"),
        pytest.param(1, 3, 1, 0.5, id="smallest"),
    ],
)
def test_lists_and_block_are_the_oracles(tmp_path, num_codes, num_items, limit, bias):
    table = tied_table(max(num_codes, 2), max(num_items, 3))[:num_codes, :num_items]
    export = write_table_export(tmp_path / "export", table, bias)
    index = build(export, tmp_path / "index", f"--postings_per_code={limit}", "--score_bits=32", IN_MEMORY)
    assert written_lists(index) == expected_lists(table, bias, limit)
    values, steps = written_block(index)
    assert values.shape == table.shape
    assert (np.abs(values - np.maximum(table + bias, 0)) <= steps / 2 + 1e-6).all()


def test_padding_never_leaks(tmp_path):
    """The calls are filled up with repeated items and codes; were one let in, it would be the best."""
    table = np.full((257, 4097), -1.0, np.float32)
    table[0, 0] = table[:, -1] = 5.0
    export = write_table_export(tmp_path / "export", table)
    index = build(export, tmp_path / "index", "--postings_per_code=3", IN_MEMORY)
    lists = written_lists(index)
    assert lists[0].items == [0, 4096]
    assert all(each.items == [4096] for each in lists[1:])
    assert [(tile.first_code, tile.first_item, tile.values.shape) for tile in block_tiles(index)] == [
        (0, 0, (256, 4096)),
        (0, 4096, (256, 1)),
        (256, 0, (1, 4096)),
        (256, 4096, (1, 1)),
    ]


def test_codes_with_nothing_above_the_bias_have_empty_lists(tmp_path):
    table = np.full((4, 10), -0.5, np.float32)
    table[2, 7] = np.nextafter(np.float32(-0.5), np.float32(0))
    index = build(write_table_export(tmp_path / "export", table, bias=0.5), tmp_path / "index", IN_MEMORY)
    assert [each.items for each in written_lists(index)] == [[], [], [7], []]
    assert {each.threshold for each in written_lists(index)} == {-0.5}


@pytest.fixture(scope="module")
def reference(wide_export, tmp_path_factory):
    """An index built in order, in one thread."""
    return build(wide_export, tmp_path_factory.mktemp("reference") / "index", "--postings_per_code=100", IN_MEMORY)


def require_same_bytes(found, reference):
    for kind in ("postings", "block"):
        assert written_bytes(found, kind) == written_bytes(reference, kind)


def build_whole(export, index, *options):
    """Builds until nothing is lost: with several workers, Beam's local runner now and then loses an element.

    That a build which lost one fails, and says so, is tested in test_build.py.
    """
    for _ in range(5):
        try:
            return build(export, index, *options)
        except UserError as error:
            if "the runner lost records" not in str(error):
                raise
    raise AssertionError("five builds in a row lost records")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--direct_running_mode=multi_threading", "--direct_num_workers=3"], id="threads"),
        pytest.param(
            ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
            id="processes",
            marks=pytest.mark.skipif(" " in sys.executable, reason="Beam starts no workers from a path with a space"),
        ),
        pytest.param([], id="default"),
        pytest.param([IN_MEMORY, "--num_shards=7"], id="shards"),
    ],
)
def test_the_index_does_not_depend_on_runner_workers_or_shards(wide_export, reference, tmp_path, options):
    require_same_bytes(build_whole(wide_export, tmp_path / "index", "--postings_per_code=100", *options), reference)


@pytest.fixture
def small_spans(monkeypatch):
    """One tile a span, so that a small catalogue has several."""
    monkeypatch.setattr("beam_index.geometry.SPAN_TILES", 1)


def test_the_lists_do_not_depend_on_how_tiles_are_joined_to_spans(wide_export, reference, tmp_path, small_spans):
    index = build(wide_export, tmp_path / "index", "--postings_per_code=100", IN_MEMORY)
    assert written_bytes(index, "postings") == written_bytes(reference, "postings")
    for found, expected in zip(written_block(index), written_block(reference), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_span_that_the_runner_loses_is_missed(wide_export, tmp_path, monkeypatch, small_spans):
    process = build_pipeline.Score.process

    @functools.wraps(process)  # Beam reads the types it gives off the annotations
    def lossy(self, work, keys):
        for made in process(self, work, keys):
            if work.span != 1:
                yield made

    monkeypatch.setattr(build_pipeline.Score, "process", lossy)
    with pytest.raises(
        UserError, match=r"runner lost records: chunk \d of the codes has scores of 2 spans.*expected 3"
    ):
        build(wide_export, tmp_path / "index", IN_MEMORY)
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_block_that_is_lost_is_missed(wide_export, tmp_path, monkeypatch):
    write = build_pipeline.write_block
    monkeypatch.setattr(build_pipeline, "write_block", lambda plan, chunk, *rest: chunk and write(plan, chunk, *rest))
    with pytest.raises(UserError, match=r"runner lost records: block-00000-of-00002.tfrecord of the block has 0 bytes"):
        build(wide_export, tmp_path / "index", IN_MEMORY)
    assert not list(tmp_path.iterdir())


def test_the_index_does_not_depend_on_the_order_of_work(wide_export, reference, tmp_path, monkeypatch):
    in_order = build_pipeline.cut_work

    def shuffled(keys, plan):
        work = list(in_order(keys, plan))
        random.Random(0).shuffle(work)
        return work

    monkeypatch.setattr(build_pipeline, "cut_work", shuffled)
    require_same_bytes(build(wide_export, tmp_path / "index", "--postings_per_code=100", IN_MEMORY), reference)


def test_a_deep_scorer_gives_the_same_index_in_one_thread_and_in_many(tmp_path):
    spec = TinySpec(num_items=300, num_query_tokens=1, num_codewords=20)
    export = replace_scorer(write_tiny_export(tmp_path / "export", spec), DeepScorer(20, 300, width=32))
    one = build(export, tmp_path / "one", IN_MEMORY)
    threads = ["--direct_running_mode=multi_threading", "--direct_num_workers=3"]
    require_same_bytes(build_whole(export, tmp_path / "two", *threads), one)


def test_more_shards_than_lists_leave_some_empty(residual_export, tmp_path):
    one = build(residual_export, tmp_path / "one", IN_MEMORY)
    many = build(residual_export, tmp_path / "many", IN_MEMORY, "--num_shards=60")
    require_same_bytes(many, one)
    shards = list(many.glob("postings-*-of-00060.tfrecord"))
    assert len(shards) == 60
    assert sum(shard.stat().st_size > 0 for shard in shards) == len(written_lists(one)) < 60


def test_a_scorer_needs_no_signature_but_the_one_that_is_called(residual_export, tmp_path):
    export = write_tiny_export(tmp_path / "export", signatures=["serving_default"])
    index = build(export, tmp_path / "index", IN_MEMORY)
    require_same_bytes(index, build(residual_export, tmp_path / "same", IN_MEMORY))


def test_shards_cut_the_lists_in_ascending_order_of_keys(wide_export, tmp_path):
    index = build(wide_export, tmp_path / "index", "--postings_per_code=5", "--num_shards=3", IN_MEMORY)
    names = sorted(path.name for path in index.iterdir())
    assert names == [
        *(f"block-0000{chunk}-of-00002.tfrecord" for chunk in range(2)),
        "manifest.json",
        *(f"postings-0000{shard}-of-00003.tfrecord" for shard in range(3)),
    ]
    ready = pq.read_table(wide_export / "lists.parquet")["key"].to_pylist()
    assert [each.key for each in written_lists(index)] == [*range(320), *ready]


def test_observed_codes_get_the_lists_that_they_have_among_all(wide_export, reference, tmp_path):
    index = build(wide_export, tmp_path / "index", "--postings_per_code=100", "--codes=observed", IN_MEMORY)
    everything = {each.key: each for each in written_lists(reference)}
    found = written_lists(index)
    codes = [each for each in found if each.key < 320]
    assert 0 < len(codes) < 320
    assert found[len(codes) :] == [each for each in everything.values() if each.key >= 320]
    assert len(written_block(index)[0]) == len(codes)
    for each in codes:
        assert each.items == everything[each.key].items
        np.testing.assert_allclose(each.scores, everything[each.key].scores, rtol=1e-4, atol=1e-4)

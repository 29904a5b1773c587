"""The graph that reads prepared data gives every window once a pass, in an order that a run can go on from."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.models import small_config
from trainer.data import load, split
from trainer.data.prepare.options import PrepareOptions
from trainer.data.prepare.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.prepared_batches import PreparedBatches, PreparedWindows, taken, window_lengths, window_places
from trainer.windows import WindowBatches, training_windows

SOURCE = "synthetic:users=150,items=60,interactions=3000,seed=4"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return prepare(PrepareOptions(SOURCE, tmp_path_factory.mktemp("prepared") / "out", num_shards=11))


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return training_windows(split(load(SOURCE)).train, 6)


def batches(prepared: Prepared, seed: int = 0, block: int = 50) -> PreparedBatches:
    config = small_config(data={"max_history": 6, "shuffled_windows": block}, training={"seed": seed})
    return PreparedBatches(prepared, config)


def counted(found) -> collections.Counter:
    """Windows without their padding."""
    return collections.Counter(tuple(event for event in window if event >= 0) for window in found)


sequences = st.lists(st.lists(st.integers(0, 50), max_size=25), max_size=8)


@settings(deadline=None, max_examples=40)
@given(sequences, st.integers(1, 9))
def test_windows_are_cut_as_in_memory(rows, max_history):
    lengths = np.array([len(events) for events in rows], np.int64)
    starts = np.cumsum(lengths) - lengths
    flat = np.array(list(itertools.chain(*rows)), np.int64)
    places, users = window_places(tf.constant(starts), tf.constant(lengths), max_history)
    found = taken(tf.constant(flat), places).numpy()
    expected = training_windows([np.array(events, np.int32) for events in rows], max_history)
    assert found.tolist() == expected.tolist()
    owners = [np.full(len(events), user, np.int32) for user, events in enumerate(rows)]
    assert users.numpy().tolist() == training_windows(owners, max_history).max(axis=1, initial=-1).tolist()
    known = window_lengths(collections.Counter(lengths.tolist()), max_history)
    assert collections.Counter(known) == collections.Counter(map(sum, (expected >= 0).tolist()))


@pytest.mark.parametrize("block", [1, 50, 10_000])
def test_a_pass_has_every_window_once_and_the_batches_of_memory(prepared, windows, block):
    found = list(batches(prepared, block=block).epoch(3))
    assert counted(window for batch in found for window in batch.tolist()) == counted(windows.tolist())
    in_memory = WindowBatches(windows, 56, seed=0)
    assert len(found) == batches(prepared).steps == in_memory.steps
    shapes = [collections.Counter(batch.shape for batch in each) for each in (found, in_memory.epoch(0))]
    assert shapes[0] == shapes[1]
    assert {batch.dtype for batch in found} == {np.dtype(np.int32)}


def test_pieces_for_the_memory_have_every_window_once_each_time(prepared, windows, monkeypatch):
    monkeypatch.setattr("trainer.prepared_batches._PIECE", 40)
    pieces = PreparedWindows(prepared, small_config(data={"max_history": 6}))
    for _ in range(2):
        found = list(pieces)
        assert len(found) > 3
        assert {piece.shape[1] for piece in found} == {7}
        assert counted(np.concatenate(found).tolist()) == counted(windows.tolist())


def test_passes_and_seeds_have_orders_of_their_own_and_no_other(prepared):
    def order(number: int, seed: int) -> list:
        return [batch.tolist() for batch in batches(prepared, seed).epoch(number)]

    assert order(0, 0) == order(0, 0)
    orders = [order(0, 0), order(1, 0), order(0, 1), order(1, 1)]
    assert all(left != right for left, right in itertools.combinations(orders, 2))


def test_a_run_goes_on_at_any_step(prepared):
    made = batches(prepared)
    unbroken = [batch.tolist() for batch in made.dataset(0).take(2 * made.steps + 5).as_numpy_iterator()]
    for number in (0, 1):
        of_pass = unbroken[number * made.steps : (number + 1) * made.steps]
        assert of_pass == [batch.tolist() for batch in made.epoch(number)]
    for step in (1, made.steps - 1, 2 * made.steps):
        resumed = [batch.tolist() for batch in made.dataset(step).take(4).as_numpy_iterator()]
        assert resumed == unbroken[step : step + 4], step


def test_the_graph_has_no_python_in_it(prepared):
    """What a parameter server's worker is sent."""
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=batches(prepared).dataset(5)._variant_tensor)
    definition = tf.compat.v1.GraphDef.FromString(graph.numpy())
    ops = {node.op for node in definition.node}
    ops |= {node.op for function in definition.library.function for node in function.node_def}
    assert {"TFRecordDataset", "GroupByWindowDataset"} <= ops
    assert not {op for op in ops if "PyFunc" in op or "Generator" in op}

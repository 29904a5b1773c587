"""One pass of counting: exact while all fits, within its bound beyond that, and what becomes of the rest."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.prepare.vocabulary import ItemCounts, make_catalogue, rows_of_ids

ids = st.text("abcé1", min_size=1, max_size=3)


def sketches(parts, capacity: int) -> list[bytes]:
    found = []
    for part in parts:
        counts = ItemCounts(capacity)
        for item, count in part:
            counts.add(item, count)
        found.append(counts.to_bytes())
    return found


@settings(max_examples=60)
@given(st.lists(st.lists(st.tuples(ids, st.integers(1, 9)), max_size=20), min_size=1, max_size=4), st.integers(1, 60))
def test_while_all_fits_counts_are_exact_and_ranks_are_theirs(parts, max_items):
    totals = collections.Counter()
    for part in parts:
        for item, count in part:
            totals[item] += count
    catalogue = make_catalogue(sketches(parts, 100), 100, max_items, 0)
    ranked = sorted(totals, key=lambda item: (-totals[item], len(item), item))
    assert catalogue.ids == tuple(sorted(ranked[:max_items], key=lambda item: (len(item), item)))
    assert catalogue.left_out == max(0, len(totals) - max_items)
    assert catalogue.error == 0


def test_beyond_capacity_no_frequent_item_is_missing():
    rng = np.random.default_rng(0)
    stream = (rng.zipf(1.3, 40_000) % 3_000).tolist()
    totals = collections.Counter(map(str, stream))
    parts = [collections.Counter(map(str, stream[start::4])).items() for start in range(4)]
    capacity = 192
    catalogue = make_catalogue(sketches(parts, capacity), capacity, capacity, 0)
    assert 0 < catalogue.error < 40_000 / 50
    frequent = {item for item, count in totals.items() if count > catalogue.error}
    assert len(frequent) > 10
    assert frequent <= set(catalogue.ids)
    assert make_catalogue(sketches(parts, capacity), capacity, capacity, 0) == catalogue


@pytest.mark.parametrize("tail_buckets", [0, 1, 5])
def test_what_has_no_row_of_its_own_is_hashed_or_unknown(tail_buckets):
    known, others = ["a", "bé"], [f"x{number}" for number in range(40)]
    rows = rows_of_ids(["bé", *others, "a"], pa.array(known), tail_buckets).tolist()
    assert (rows[0], rows[-1]) == (1, 0)
    if tail_buckets:
        assert set(rows[1:-1]) == set(range(2, 2 + tail_buckets))
        assert rows[1:-1] == rows_of_ids(others, pa.array(known), tail_buckets).tolist()
    else:
        assert set(rows[1:-1]) == {-1}

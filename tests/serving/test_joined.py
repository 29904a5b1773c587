"""The server's own batching is sound: requests joined along the first dimension get the rows that each gets alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.serving.worlds import PRUNED, SIGNATURES, SUMS, padded
from tests.support.exports import random_histories

SIZES = (3, 1, 4)


def requests(spec):
    """Requests of one width each input, as the server's batching joins them, with every input there is."""
    rng, ids = np.random.default_rng(3), random_histories(spec, 16, seed=12)
    size = sum(SIZES)
    categories = [["Drama"], [], ["Comedy", "nothing"], ["Comedy"], [], ["Drama"], [], ["nothing"]]
    joined = {
        "history": padded([[], ["nobody's"], *ids[: size - 2]], 12),
        "k": rng.choice([-1, 0, 2, 7, 1000], size).astype(np.int32),
        "exclude_ids": padded([*ids[8 : 8 + size - 1], []], 12),
        "allow_categories": padded(categories, 3),
        "deny_categories": padded(categories[1:] + categories[:1], 3),
        "include_seen": rng.random(size) < 0.5,
    }
    bounds = np.cumsum(SIZES)[:-1]
    parts = {name: np.split(values, bounds) for name, values in joined.items()}
    return joined, [{name: values[number] for name, values in parts.items()} for number in range(len(SIZES))]


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("sums", SUMS)
def test_joined_requests_are_answered_as_each_alone(world, sums, signature):
    served = world(index_spec=PRUNED, sums=sums)
    joined, alone = requests(served.spec)
    inputs = served.served.signatures[signature].inputs
    together = served.served.run(signature, {name: joined[name] for name in inputs})
    begin = 0
    for size, request in zip(SIZES, alone, strict=True):
        answer = served.served.run(signature, {name: request[name] for name in inputs})
        for name, values in answer.items():
            rows = together[name][begin : begin + size]
            same_rows(rows, values, exact=sums != "rescored", name=name)
        begin += size
    assert begin == len(joined["history"])


def same_rows(joined, alone, exact, name):
    """A longer answer beside it fills a row up with nothing."""
    width = alone.shape[1]
    assert not joined[:, width:].any()
    if exact or alone.dtype != np.float32:
        np.testing.assert_array_equal(joined[:, :width], alone, err_msg=name)
    else:  # a matrix product has other last bits at other widths
        np.testing.assert_allclose(joined[:, :width], alone, rtol=1e-5, atol=1e-6, err_msg=name)

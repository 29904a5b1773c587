"""What `explain` says of scores, and `encode` of queries."""

from __future__ import annotations

import numpy as np

from tests.conformance.test_answers import check_same, ranked


def test_contributions_sum_to_scores(endpoint, histories):
    outputs = endpoint.ask("explain", histories)
    sums = outputs["contributions"].astype(np.float64).sum(axis=2)
    np.testing.assert_allclose(sums, outputs["scores"], rtol=1e-5, atol=1e-6)
    assert not outputs["contributions"][~outputs["valid"]].any()
    assert outputs["valid"].any()


def test_there_is_a_contribution_for_every_token(endpoint, histories):
    outputs = endpoint.ask("explain", histories)
    batch, width = outputs["scores"].shape
    assert outputs["contributions"].shape == (batch, width, outputs["keys"].shape[1])


def test_tokens_of_events_name_items_of_the_history(endpoint, histories):
    outputs = endpoint.ask("explain", histories)
    num_tokens = outputs["codes"].shape[1]
    assert not any(outputs["sources"][:, :num_tokens].ravel())
    named = 0
    for history, sources, keys in zip(histories, outputs["sources"], outputs["keys"], strict=True):
        events = {source.decode() for source in sources if source}
        assert events <= set(history)
        assert not any(sources[keys < 0]), "where there is no list there is no event"
        named += len(events)
    assert named or outputs["keys"].shape[1] == num_tokens or not (outputs["keys"][:, num_tokens:] >= 0).any()


def test_an_explanation_is_of_what_is_recommended(endpoint, histories):
    check_same(endpoint.ask("explain", histories), endpoint.ask("recommend", histories))


def test_encode_gives_the_codes_that_are_looked_up(endpoint, histories):
    encoded, recommended = endpoint.ask("encode", histories), endpoint.ask("recommend", histories)
    for name in ("codes", "keys", "fallback"):
        np.testing.assert_array_equal(encoded[name], recommended[name])
    assert encoded["tokens"].shape[:2] == encoded["codes"].shape[:2]
    assert np.isfinite(encoded["tokens"]).all()


def test_an_item_that_is_recommended_has_a_contribution(endpoint, histories):
    outputs = endpoint.ask("explain", histories)
    rows = ranked(outputs)
    for contributions, row in zip(outputs["contributions"], rows, strict=True):
        assert (contributions[: len(row)].max(axis=1, initial=0) > 0).all()

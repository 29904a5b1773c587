"""A pruned build against the exhaustive one: what it keeps, what it leaves, and that it scores what it says."""

import numpy as np
import pytest

from beam_index.build import run_here
from beam_index.options import parse
from beam_index.pruning import SAMPLE_ITEMS, Proxy
from beam_index.scoring import Scorer
from protos.errors import UserError
from tests.beam_index.oracle import expected_lists, written_bytes, written_lists
from tests.beam_index.staged import Catalogue, all_scores, write_staged_export
from tests.beam_index.tables import write_table_export

SIZE, LIMIT = 5000, 50


def build(export, index, *options):
    fixed = ["--direct_running_mode=in_memory", f"--postings_per_code={LIMIT}", "--no_block", "--score_bits=32"]
    return run_here(["--model", str(export), "--output", str(index), "--no-progress", *fixed, *options])


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_staged_export(tmp_path_factory.mktemp("pruned") / "export", Catalogue.random(SIZE), 300)


def mass(found, exact) -> float:
    """The share of the exact lists' scores that is of items found too."""
    kept = sum(
        score
        for one, other in zip(found, exact, strict=True)
        for item, score in zip(other.items, other.scores, strict=True)
        if item in set(one.items)
    )
    return kept / sum(sum(each.scores) for each in exact)


def test_few_candidates_keep_nearly_all_of_the_mass(tmp_path):
    export = write_staged_export(tmp_path / "export", Catalogue.random(SIZE), share=0.1)
    build(export, tmp_path / "exact")
    build(export, tmp_path / "pruned", f"--candidates={8 * LIMIT}")
    assert mass(written_lists(tmp_path / "pruned"), written_lists(tmp_path / "exact")) > 0.99


def test_a_scorer_that_is_linear_loses_nothing_but_near_ties(tmp_path):
    export = write_staged_export(tmp_path / "export", Catalogue.random(SIZE), 40, share=0.0)
    build(export, tmp_path / "pruned", f"--candidates={LIMIT + 10}")
    *lists, _ = written_lists(tmp_path / "pruned")
    for one, expected in zip(lists, expected_lists(all_scores(export, 40, SIZE), 0.5, LIMIT), strict=True):
        assert len(set(one.items) & set(expected.items)) >= len(expected.items) - 1
        np.testing.assert_allclose(one.threshold, expected.threshold, rtol=1e-4)


def test_as_many_candidates_as_items_are_the_exhaustive_build(export, tmp_path):
    build(export, tmp_path / "pruned", f"--candidates={2 * SIZE}")
    *lists, _ = written_lists(tmp_path / "pruned")
    for one, expected in zip(lists, expected_lists(all_scores(export, 300, SIZE), 0.5, LIMIT), strict=True):
        # Items may change places where they tie but for the last bits.
        assert len(set(one.items) ^ set(expected.items)) <= 2
        np.testing.assert_allclose(one.scores, expected.scores, atol=1e-4)


def test_scores_are_exact_and_only_of_candidates(export, tmp_path, monkeypatch):
    pairs = []
    call = Scorer._call
    monkeypatch.setattr(
        Scorer,
        "_call",
        lambda self, codes, items: pairs.append(len(codes[0]) * len(items[0])) or call(self, codes, items),
    )
    build(export, tmp_path / "pruned", "--candidates=100")
    # One call a code, filled up to 1,024 items; and one for each 64 codes, of the 512 that the proxy is fitted to.
    assert sorted(pairs) == [1024] * 300 + [64 * 512] * 8
    scores = all_scores(export, 300, SIZE)
    *lists, _ = written_lists(tmp_path / "pruned")
    for code, one in enumerate(lists):
        np.testing.assert_allclose(np.add(one.scores, one.threshold), scores[code][one.items], rtol=1e-5, atol=1e-5)


def test_the_proxy_is_the_least_squares_fit_that_counts_good_items_more():
    rng = np.random.default_rng(0)
    inputs, exact = rng.normal(size=(2000, 3)).astype(np.float32), rng.normal(size=(2, SAMPLE_ITEMS)).astype(np.float32)
    proxy = Proxy((inputs[:, :1], inputs[:, 1:]))
    fitted = proxy.fit(exact)
    for code, scores in enumerate(exact.astype(np.float64)):
        root = np.exp((scores - scores.mean()) / scores.std() / 2)
        x = np.hstack([inputs[proxy.sample], np.ones((SAMPLE_ITEMS, 1))])
        expected = np.linalg.lstsq(root[:, None] * x, root * scores)[0]
        np.testing.assert_allclose(fitted[code], expected, rtol=1e-3, atol=1e-3)
    alike = proxy.fit(np.full((1, SAMPLE_ITEMS), 2.5, np.float32))
    np.testing.assert_allclose(alike, [[0, 0, 0, 2.5]], atol=1e-3)


def test_it_does_not_depend_on_workers_and_removed_items_are_no_candidates(tmp_path):
    catalogue = Catalogue.random(SIZE)
    export = write_staged_export(tmp_path / "export", catalogue.with_changes([], [0, 7, 4999], 0), 300)
    build(export, tmp_path / "one", "--candidates=200")
    assert not {0, 7, 4999} & {item for each in written_lists(tmp_path / "one") for item in each.items[:-3]}
    build(export, tmp_path / "many", "--candidates=200", "--num_shards=3")
    assert written_bytes(tmp_path / "many", "postings") == written_bytes(tmp_path / "one", "postings")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--candidates=99"], r"--candidates scores few pairs, the completion block holds all: add --no_block"),
        (["--no_block", "--candidates=50", "--postings_per_code=50"], r"--candidates 50 must be more than --postings_"),
        (["--no_block", "--candidates=5000", "--updatable"], r"cannot be combined with --updatable or --base_index"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        parse(["--model", "m", "--output", "o", *options])


def test_a_scorer_without_stages_is_refused(tmp_path):
    export = write_table_export(tmp_path / "export", np.ones((3, 200), np.float32))
    with pytest.raises(UserError, match=r"has no signature 'items', which --candidates needs; export the model again"):
        build(export, tmp_path / "index", "--candidates=100")

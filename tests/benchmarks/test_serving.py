"""The parts of the serving benchmark that decide what it says: the world, the truth, the tuning."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.serving.catalogue import make_catalogue, make_histories
from benchmarks.serving.peers import PEERS, exact
from benchmarks.serving.recall import least, recall
from benchmarks.serving.rounds import timed

ROOT = pathlib.Path(__file__).parents[2]
ITEMS, DIM = 3000, 16


@pytest.fixture(scope="module")
def catalogue():
    return make_catalogue(ITEMS, DIM, np.random.default_rng(0))


def test_items_of_a_cluster_are_nearer_to_one_another(catalogue):
    assert catalogue.vectors.shape == (ITEMS, DIM)
    np.testing.assert_allclose(np.linalg.norm(catalogue.vectors, axis=1), 1, rtol=1e-5)
    products = catalogue.vectors @ catalogue.vectors.T
    same = catalogue.clusters[:, None] == catalogue.clusters
    assert products[same].mean() > products[~same].mean() + 0.3


def test_histories_hold_distinct_items_of_few_clusters(catalogue):
    histories = make_histories(catalogue, 200, 50, np.random.default_rng(1))
    lengths = np.array([len(rows) for rows in histories])
    assert len(histories) == 200
    assert (lengths >= 1).all() and (lengths <= 50).all()  # noqa: PT018
    assert 8 < np.median(lengths) < 25
    for rows in histories:
        assert len(set(rows.tolist())) == len(rows)
        assert 0 <= rows.min() <= rows.max() < ITEMS
    long = [catalogue.clusters[rows] for rows in histories if len(rows) > 15]
    # Three clusters, and the strays.
    shares = [np.sort(np.bincount(clusters))[-3:].sum() / len(clusters) for clusters in long]
    assert np.mean(shares) > 0.7


def test_recall_is_the_share_found_of_what_there_is():
    found = np.array([[1, 2, 3], [4, 5, -1]])
    assert recall(found, np.array([[3, 2, 9], [5, -1, -1]])) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("enough", [1, 2, 3, 17, 100, 1000])
def test_least_is_within_a_sixteenth_of_what_is_enough(enough):
    asked = []
    found = least(lambda knob: asked.append(knob) or float(knob >= enough), 0.95, 1000)
    assert enough <= found <= max(enough + 1, enough * 17 / 16 + 1)
    assert len(asked) < 20


def test_least_of_what_is_out_of_reach():
    assert least(lambda knob: 0.9, 0.95, 50) is None


@pytest.mark.parametrize("name", PEERS)
def test_peers_find_what_is_nearest(catalogue, name, tmp_path):
    queries = catalogue.vectors[::100] + 0.1
    best = np.argsort(-queries @ catalogue.vectors.T, axis=1)[:, :10]
    assert recall(exact(catalogue.vectors, queries, 10), best) == 1
    peer = PEERS[name](catalogue.vectors, tmp_path / name)
    if peer.tune:
        peer.tune(peer.most)
    assert recall(peer.search(queries, 10), best) > 0.97
    assert peer.search(queries[:1], 10).shape == (1, 10)
    if peer.tune:  # and what was built is found again
        again = PEERS[name](catalogue.vectors, tmp_path / name)
        again.tune(peer.most)
        np.testing.assert_array_equal(again.search(queries, 10), peer.search(queries, 10))


def test_every_system_gets_the_same_queries_in_every_round():
    asked = {"one": [], "other": []}
    systems = {name: lambda batch, name=name: asked[name].append(batch.copy()) for name in asked}
    times = timed(systems, np.arange(200).reshape(100, 2), rounds=2, singles=32)
    assert set(times) == set(asked)
    assert [batch.shape[0] for batch in asked["one"]].count(32) == 2 * 2
    for one, other in zip(asked["one"], asked["other"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert times["one"].p50_ms <= times["one"].p95_ms <= times["one"].p99_ms


@pytest.mark.long
def test_the_command_measures_every_system_of_a_small_world(tmp_path):
    flags = ["--items=600", "--postings_per_code=300", "--peers", "brute_force", "--rounds=1", "--singles=16"]
    command = [sys.executable, "-m", "benchmarks.serving", *flags]
    subprocess.run([*command, "--json", tmp_path / "figures.json", "--output", tmp_path], cwd=ROOT, check=True)
    rows = {row["system"]: row for row in json.loads((tmp_path / "figures.json").read_text())}
    sums = ("sparse", "completed", "rescored")
    assert set(rows) == {*(f"sparcode_{each}" for each in sums), "two_tower+brute_force", "encoder"}
    # Half of the catalogue in every list, and what the truth is made of: what is not found is eight bits' doing.
    assert rows["sparcode_completed"]["recall"] > 0.97
    assert rows["two_tower+brute_force"]["recall"] == 1
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["qps_per_core"] > 0
    assert "sparcode_rescored" in (tmp_path / "serving.md").read_text()
    assert (tmp_path / "serving.svg").read_bytes().startswith(b"<?xml")

"""Threads by the cores that a control group allows."""

from __future__ import annotations

import os

import pytest

from serving.threads import session_config, usable_cores


@pytest.fixture
def many_cores(monkeypatch):
    """A process that may run on 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 16),
        ("400000 100000", 4),
        ("350000 100000", 3),
        ("50000 100000", 1),  # half a core is one thread
        ("3200000 100000", 16),
    ],
)
def test_the_least_of_affinity_and_limit(many_cores, tmp_path, limit, cores):
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [(-1, 16), (250_000, 2)])
def test_first_version_of_control_groups(many_cores, tmp_path, quota, cores):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path) == cores


def test_no_control_group(many_cores, tmp_path):
    assert usable_cores(tmp_path) == 16


def test_sessions_have_that_many_threads():
    config = session_config()
    assert config.intra_op_parallelism_threads == config.inter_op_parallelism_threads == usable_cores()

from __future__ import annotations

import pathlib

import pytest

from tests.trainer.report.seen import train_with_features, write_data


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="package")
def job_dir(data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A finished run of SparCode."""
    return train_with_features(data, tmp_path_factory.mktemp("run") / "job")

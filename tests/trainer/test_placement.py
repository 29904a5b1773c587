"""Processes that train together have one job directory; here they are threads that meet at a barrier."""

from __future__ import annotations

import pathlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from protos.errors import UserError
from trainer.cluster import Task
from trainer.placement import Placement

CLUSTER = {"worker": ["a:1", "a:2"]}


class Together(Placement):
    """A process whose collectives are a barrier of threads and a value that they share."""

    def __init__(self, index: int, barrier: threading.Barrier, shared: list) -> None:
        super().__init__(task=Task("worker", index, CLUSTER))
        self._barrier, self._shared = barrier, shared

    def agreed(self, value: np.ndarray | float) -> np.ndarray:
        """The chief's."""
        self._barrier.wait()
        if self.is_chief:
            self._shared[0] = value
        self._barrier.wait()
        return np.asarray(self._shared[0])


def look(chief: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What each process says to its job directory: nothing, or its error."""
    barrier, shared = threading.Barrier(2, timeout=20), [None]

    def said(index: int, directory: pathlib.Path) -> str:
        try:
            Together(index, barrier, shared).require_shared(directory)
        except (UserError, threading.BrokenBarrierError) as error:
            barrier.abort()  # as a process that ends is missed by the others
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(said, (0, 1), (chief, other)))


@pytest.mark.parametrize("left", [(), ("config.yaml", "data.sha256", "model.txt")])
def test_all_need_the_chiefs_directory_whatever_is_in_their_own(left, tmp_path):
    for name in ("chief", "other"):
        (tmp_path / name).mkdir()
        for file in left:
            (tmp_path / name / file).write_text("the same")
    before = sorted(tmp_path.rglob("*"))
    assert look(tmp_path / "chief", tmp_path / "chief") == ["", ""]
    assert "is not the chief's directory" in look(tmp_path / "chief", tmp_path / "other")[1]
    assert sorted(tmp_path.rglob("*")) == before

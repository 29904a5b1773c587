"""What a job directory remembers of the command that made it, for who looks at it later."""

from __future__ import annotations

import json
import pathlib
from typing import NamedTuple

from protos.artifact import write_whole

_FILE = "origin.json"


class Origin(NamedTuple):
    """Where a run comes from.

    Attributes:
      data: as `trainer.data.load` takes it, from anywhere on the machine.
      model: of `trainer.task.MODELS`.
    """

    data: str
    model: str


def write_origin(job_dir: pathlib.Path, data: str, model: str) -> None:
    """Remembers data and kind of model; a path is kept as an absolute one."""
    path = pathlib.Path(data).expanduser()
    source = str(path.resolve()) if path.exists() else data
    write_whole(job_dir / _FILE, json.dumps(Origin(source, model)._asdict(), indent=1) + "\n")


def read_origin(job_dir: pathlib.Path) -> Origin | None:
    """What a job directory remembers; None where it was made by other means than the command."""
    path = job_dir / _FILE
    return Origin(**json.loads(path.read_text())) if path.is_file() else None

"""What a job directory remembers of how it was made, for who looks at it later."""

from __future__ import annotations

import json
import pathlib
from typing import NamedTuple

from protos.artifact import write_whole

_FILE = "origin.json"


class Origin(NamedTuple):
    """Where a run comes from.

    Attributes:
      model: the class of the model.
      data: as `trainer.data.load` takes it, from anywhere on the machine; None where events came from elsewhere.
    """

    model: str
    data: str | None = None


def remember_model(job_dir: pathlib.Path, model: str) -> None:
    """Remembers the class of the model."""
    known = read_origin(job_dir)
    _write(job_dir, Origin(model, known.data if known else None))


def remember_data(job_dir: pathlib.Path, data: str) -> None:
    """Remembers where the data of a finished run is; a path is kept as an absolute one."""
    known = read_origin(job_dir)
    if known is None:
        return  # finished before runs remembered anything
    path = pathlib.Path(data).expanduser()
    source = str(path.resolve()) if path.exists() else data
    _write(job_dir, known._replace(data=source))


def read_origin(job_dir: pathlib.Path) -> Origin | None:
    """What a job directory remembers; None of a run that is not finished."""
    path = job_dir / _FILE
    return Origin(**json.loads(path.read_text())) if path.is_file() else None


def _write(job_dir: pathlib.Path, origin: Origin) -> None:
    write_whole(job_dir / _FILE, json.dumps(origin._asdict(), indent=1) + "\n")

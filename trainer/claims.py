"""What a run is made from, kept in its job directory: the run goes on with the same only."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from protos.errors import UserError
from trainer import config as configuration
from trainer.config import Config
from trainer.training_data import TrainingData


class Claim(NamedTuple):
    """One thing that a run is made from.

    Attributes:
      file: of the job directory, that says what it is.
      what: it is called.
      text: of the file.
      is_same: whether the file, which is there, says the same.
    """

    file: str
    what: str
    text: str
    is_same: Callable[[pathlib.Path], bool]

    def check(self, job_dir: pathlib.Path) -> None:
        """Compares it with what the job directory has, if it has any.

        Raises:
          UserError: the run there is made from another.
        """
        path = job_dir / self.file
        if path.exists() and not self.is_same(path):
            raise UserError(
                f"{path} is of a run with another {self.what}; resume it with the same flags, or give another --job-dir"
            )


def claims_of(config: Config, data: TrainingData, kind: Callable[..., Any]) -> list[Claim]:
    """What a run of a kind of model is made from; `config` has the features that the data declares."""

    def plain(file: str, what: str, text: str) -> Claim:
        return Claim(file, what, text, lambda path: path.read_text() == text)

    return [
        # Not its text: a run begun before a field was there had what is that field's default now.
        Claim("config.yaml", "configuration", config.to_yaml(), lambda path: configuration.load(str(path)) == config),
        plain("data.sha256", "data", data.checksum(config) + "\n"),
        plain("model.txt", "--model", getattr(kind, "func", kind).__name__ + "\n"),  # `func` of a partial
    ]

"""What a comparison keeps on disk, so that the same command again goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from pipeline.comparison.contenders import Run
from protos.artifact import write_whole
from protos.errors import UserError
from trainer.config import Config
from trainer.data.interactions import Interactions

_CLAIM = "comparison.json"
_ROWS = "rows.json"
_PER_USER = "per_user_ndcg.npz"


class Measured(NamedTuple):
    """A row of the result, and the NDCG@50 of each test query behind it, `[Q]`."""

    row: dict[str, Any]
    per_user: np.ndarray


class Finished(NamedTuple):
    """A run that is over, and the seconds it took."""

    measured: list[Measured]
    seconds: float


class Store:
    """The directory of one comparison.

    Args:
      output: gets `comparison.json` and `runs/`.
    """

    def __init__(self, output: pathlib.Path) -> None:
        self.output = output

    def claim(self, interactions: Interactions, config: Config) -> None:
        """Writes what is compared on, or checks that what is kept here was made from the same.

        Raises:
          UserError: data or configuration differ, the features that the data declares among it; the message names the
            fields.
        """
        config = dataclasses.replace(config, features=config.features.filled(interactions.declared))
        claim = {"data": f"{interactions.name} {checksum(interactions)[:16]}", **_flat(config)}
        path = self.output / _CLAIM
        if not path.exists():
            self.output.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(claim, indent=1) + "\n")
            return
        # Fields that came after it was written were what are their defaults now.
        kept = {**_flat(Config()), **json.loads(path.read_text())}
        changed = [
            f"{name} was {kept.get(name)!r}, now is {claim.get(name)!r}"
            for name in {**kept, **claim}
            if kept.get(name) != claim.get(name)
        ]
        if changed:
            raise UserError(
                f"{self.output} holds another comparison: {'; '.join(changed)}. Go on with the same flags, or give"
                " another --output"
            )

    def directory(self, run: Run) -> pathlib.Path:
        """Where a run leaves what it makes."""
        return self.output / "runs" / run.directory

    def keep(self, run: Run, finished: Finished) -> None:
        """Keeps what was measured; the run is finished once this is done."""
        directory = self.directory(run)
        directory.mkdir(parents=True, exist_ok=True)
        np.savez(directory / _PER_USER, *(measured.per_user for measured in finished.measured))
        kept = {"rows": [measured.row for measured in finished.measured], "seconds": finished.seconds}
        write_whole(directory / _ROWS, json.dumps(kept, indent=1, allow_nan=False) + "\n")

    def finished(self, run: Run) -> Finished | None:
        """What was kept of a run; None if it is not finished."""
        directory = self.directory(run)
        if not (directory / _ROWS).exists():
            return None
        kept = json.loads((directory / _ROWS).read_text())
        with np.load(directory / _PER_USER) as arrays:
            measured = [Measured(row, arrays[f"arr_{place}"]) for place, row in enumerate(kept["rows"])]
        return Finished(measured, kept["seconds"])


def checksum(interactions: Interactions) -> str:
    """SHA-256 of all events and ids."""
    digest = hashlib.sha256()
    for ids in (interactions.user_ids, interactions.catalogue.item_id):
        digest.update("\n".join(ids).encode())
    for column in (interactions.users, interactions.items, interactions.times, interactions.held_out):
        if column is not None:
            digest.update(np.ascontiguousarray(column, np.int64))
    return digest.hexdigest()


def _flat(config: Config) -> dict[str, Any]:
    """The fields of a configuration, but for the seed, which each run has its own of."""
    return {name: value for name, value in config.flat().items() if name != "training.seed"}

"""A split held in memory as data to train on."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from protos.errors import UserError
from trainer.config import Config
from trainer.data.features import FeatureColumns
from trainer.data.splits import EvaluationQueries, Split
from trainer.exported_queries import SampleQueries
from trainer.windows import WindowBatches, training_windows, training_windows_with_context


class SplitData:
    """The TrainingData (trainer/training_data.py) of a split: training sees `parts.train` only."""

    def __init__(self, parts: Split) -> None:
        self.parts, self.catalogue, self.declared = parts, parts.catalogue, parts.declared
        self._cut: tuple[tuple[bool, int], np.ndarray] | None = None

    def counts(self) -> np.ndarray:
        """`[I]` training events of each row of the catalogue."""
        events = np.concatenate([np.zeros(0, np.int32), *self.parts.train])
        return np.bincount(events, minlength=len(self.catalogue))

    def columns(self) -> FeatureColumns:
        """Columns of items, events and users."""
        return self.parts.columns()

    def batches(self, config: Config) -> WindowBatches:
        """The windows in batches."""
        return WindowBatches(self._windows(config), config.training.batch_events, config.training.seed)

    def windows(self, config: Config) -> list[np.ndarray]:
        """The windows in one piece."""
        return [self._windows(config)]

    def _windows(self, config: Config) -> np.ndarray:
        """The training windows, with context where features of events or users are declared; cut once."""
        kind = (bool(config.features.context), config.data.max_history)
        if self._cut is None or self._cut[0] != kind:
            with_context, length = kind
            if with_context:
                windows = training_windows_with_context(self.parts.training_histories(), length)
            else:
                windows = training_windows(self.parts.train, length)
            self._cut = kind, windows
        return self._cut[1]

    def validation(self, config: Config) -> EvaluationQueries:
        """The validation queries, or a sample of them where there are very many."""
        queries = self.parts.queries("validation")
        if not len(queries):
            raise UserError(
                "no user has the three events that training, validation and test need; bring longer histories"
            )
        return queries.sample(config.training.validation_users, config.training.seed)

    def checksum(self, config: Config) -> str:
        """SHA-256 of what training sees: the catalogue's ids, every user's events, and the declared columns."""
        digest = hashlib.sha256("\n".join(self.catalogue.item_id).encode())
        for events in (*self.parts.train, *self.parts.validation):
            digest.update(np.int64(len(events)).tobytes() + events.astype("<i4").tobytes())
        columns, declared = self.columns(), config.features
        for place in ("items", "events", "users"):
            found = getattr(columns, place)
            for name in (feature.name for feature in getattr(declared, place) if feature.name in found):
                digest.update(pa.record_batch({name: found[name]}).serialize())
        return digest.hexdigest()

    def sample_queries(self, config: Config) -> SampleQueries:
        """Each user's whole history and random prefixes of it."""
        return indexed_queries(self.parts, config)


def indexed_queries(parts: Split, config: Config) -> SampleQueries:
    """Queries whose codes an index of observed codes covers: each user's whole history and random prefixes of it.

    A query is judged by the validation events that came next: those of the user where its history is all of
    training, none where it is something else. A history with such events is whole, since none of its items may be
    answered; of others, the events that the model sees are enough.
    """
    rng = np.random.default_rng(config.training.seed)
    known, window = parts.known_histories(), config.data.max_history
    chosen = set(range(len(parts.train)))
    if 0 < config.data.indexed_users < len(chosen):
        chosen = set(rng.choice(len(chosen), config.data.indexed_users, replace=False).tolist())
    pieces, relevant = [], []
    for user, (train_events, validation_events) in enumerate(zip(parts.train, parts.validation, strict=True)):
        whole = len(train_events)
        if not whole or user not in chosen:
            continue
        prefixes = np.unique(rng.integers(0, whole, min(config.data.indexed_prefixes, whole)))
        ends = [len(known.rows[user]), *prefixes]
        pieces += [(user, 0, whole), *((user, max(0, end - window), end) for end in ends)]
        relevant += [validation_events, *([np.zeros(0, np.int32)] * len(ends))]
    return SampleQueries(known.cut(pieces), relevant, parts.columns())

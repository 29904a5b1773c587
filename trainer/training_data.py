"""What training needs of data, wherever its events are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer.config import Config, FeaturesConfig
from trainer.data.features import FeatureColumns
from trainer.data.interactions import Items
from trainer.data.splits import EvaluationQueries
from trainer.exported_queries import SampleQueries


class Batches(Protocol):
    """The order in which training sees windows; a function of the seed and the number of the step.

    Attributes:
      steps: batches of an epoch, the same of every epoch.
    """

    steps: int

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """The batches of an epoch, each `[B, t]` int32 with t <= T + 1, or `[B, t, 3]` with context."""
        ...

    def dataset(self, start_step: int) -> tf.data.Dataset:
        """Endless batches after `start_step` of them have been seen."""
        ...


class TrainingData(Protocol):
    """Events to train on, users to validate with, and queries for the export.

    Attributes:
      catalogue: the items; its order defines the rows.
      declared: the features that the data itself declares.
    """

    catalogue: Items
    declared: FeaturesConfig

    def counts(self) -> np.ndarray:
        """`[I]` training events of each row of the catalogue."""
        ...

    def columns(self) -> FeatureColumns:
        """Columns of items, events and users, among them those that are declared."""
        ...

    def checksum(self, config: Config) -> str:
        """SHA-256 of all that training sees of this data; a run goes on with the same only."""
        ...

    def batches(self, config: Config) -> Batches:
        """The training events as windows in batches, in an order of `config.training.seed`."""
        ...

    def windows(self, config: Config) -> Iterable[np.ndarray]:
        """The same windows once, in pieces `[W, T + 1]` (or `[W, T + 1, 3]`); can be gone through several times."""
        ...

    def validation(self, config: Config) -> EvaluationQueries:
        """At most `config.training.validation_users` queries that choose the epoch.

        Raises:
          UserError: no user has validation events.
        """
        ...

    def sample_queries(self, config: Config) -> SampleQueries:
        """Queries whose codes an index of observed codes covers."""
        ...

"""`python -m tests.trainer.replica_steps OUTPUT --strategy ...`: steps of small models on some devices."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tests.support.models import random_windows, small_config, small_model, walks_split
from trainer import strategy, task
from trainer.model import SparCode
from trainer.placement import Placement
from trainer.two_tower import TwoTower

# What replicas draw for themselves: with it their sum would be that of another batch.
STILL = {"dropout": 0.0, "event_dropout": 0.0}
# Everything that could depend on how a batch is split.
EVERYTHING = {
    "quantizer": {"balance_weight": 0.3, "train_encoder": True, "revive_fraction": 0.9},
    "loss": {"sparsity_weight": 0.1, "num_hard_negatives": 5, "popularity_negatives": 8},
    "training": {"weight_decay": 0.1},
}
CASES = {
    "residual": (SparCode, small_config("residual", tokenizer=STILL, **EVERYTHING), True),
    "two-tower": (
        TwoTower,
        small_config(tokenizer=STILL | {"kind": "mean_pooling"}, loss={"kind": "full_softmax"}),
        False,
    ),
}
# The second batch has one window: all replicas but one have nothing to do.
BATCHES = (8, 1, 5, 8)


def steps(placement: Placement, case: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every variable after some steps as "number replica", once a local replica, and the loss that Keras would show."""
    kind, config, active = CASES[case]
    with placement.scope():
        model = small_model(config, kind, active)
        model.optimizer.global_clipnorm = 0.05  # such that it matters
    step = tf.function(
        lambda windows: placement.strategy.run(model.train_step, args=(windows,)),
        input_signature=[tf.TensorSpec([None, 7], tf.int32)],
    )
    for size in BATCHES:
        loss = step(tf.constant(random_windows(size)))["loss"]
    yield "loss", placement.strategy.experimental_local_results(loss)[0].numpy()
    kept = {id(variable) for metric in model.metrics for variable in metric.variables}
    for number, variable in enumerate(model.variables + model.optimizer.variables):
        if id(variable) in kept:  # of a metric each replica has a part
            continue
        for replica, copy in enumerate(placement.strategy.experimental_local_results(variable)):
            yield f"{number} {replica}", copy.numpy()


def run(placement: Placement, job_dir: pathlib.Path) -> None:
    """A whole run: warm-up, k-means, codes."""
    config = small_config(tokenizer=STILL, training={"patience": 9})
    task.train(walks_split(), config, job_dir, placement=placement)


def main(argv: list[str]) -> None:
    """Writes OUTPUT/CASE.npz of every case, and OUTPUT/run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=pathlib.Path)
    strategy.add_flags(parser)
    arguments = parser.parse_args(argv)
    placement = strategy.from_flags(arguments)
    for case in CASES:
        np.savez(arguments.output / f"{case}.npz", **dict(steps(placement, case)))
    run(placement, arguments.output / "run")


if __name__ == "__main__":
    main(sys.argv[1:])

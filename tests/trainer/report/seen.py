"""A small run of data whose every title is markup, with features of events, made by the command."""

from __future__ import annotations

import pathlib

import numpy as np

from tests.support.data_files import write_movielens_csv
from trainer import task

ITEMS, USERS = 40, 60
TITLE = '<script>document.title = "owned"</script> & "Film" {}'
SMALL = {
    "data.max_history": 10,
    "tokenizer.dim": 8,
    "quantizer.num_query_tokens": 2,
    "quantizer.num_codewords": 6,
    "quantizer.warmup_epochs": 2,
    "scorer.num_item_tokens": 2,
    "scorer.product_dim": 3,
    "scorer.hidden": 4,
    "scorer.initial_bias": 2.0,
    "memory.num_events": 4,
    "memory.l2": 5.0,
    "memory.list_length": 8,
    "training.epochs": 5,
    "training.validate_every": 1,
    "training.batch_events": 100,
}
FEATURES = """\
features:
  events:
    - {name: hour, kind: category}
"""


def write_data(directory: pathlib.Path) -> pathlib.Path:
    """Ratings of users who walk round the catalogue, over two years."""
    rng = np.random.default_rng(0)
    events = []
    for user in range(1, USERS + 1):
        start, count = int(rng.integers(ITEMS)), int(rng.integers(3, 16))
        begin = 1_600_000_000 + int(rng.integers(2 * 365 * 86_400))
        events += [(str(user), str(100 + (start + step) % ITEMS), begin + 5_000 * step) for step in range(count)]
    titles = {str(100 + row): (TITLE.format(row), "Drama") for row in range(ITEMS)}
    return write_movielens_csv(directory, events, titles)


def train(data: str | pathlib.Path, job_dir: pathlib.Path, model: str = "sparcode", **flags: object) -> pathlib.Path:
    """Trains by the command, with SMALL and other flags, whose dots are two underscores."""
    values = SMALL | {name.replace("__", "."): value for name, value in flags.items()}
    flat = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    task.main(["--data", str(data), "--job-dir", str(job_dir), "--model", model, *flat])
    return job_dir


def train_with_features(data: pathlib.Path, job_dir: pathlib.Path) -> pathlib.Path:
    """A run of SparCode whose queries bring the hour of each event."""
    config = job_dir.with_name("features.yaml")
    config.write_text(FEATURES)
    return train(data, job_dir, config=config)

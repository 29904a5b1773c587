"""What can be known of a publication before any work: for checks at its start, and for --dry_run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pyarrow as pa

from pipeline.comparison.store import checksum
from pipeline.publishing.options import PublishOptions
from pipeline.publishing.retention import beyond
from pipeline.publishing.runs import Run, Runs
from protos.errors import UserError
from protos.storage import Store, open_store
from trainer.config import Config
from trainer.data import load
from trainer.data.interactions import Interactions
from trainer.data.splits import split
from trainer.forecast import forecast
from trainer.split_data import SplitData


def foresee(options: PublishOptions) -> str:
    """What publishing would do, in lines; nothing is written.

    Raises:
      UserError: it would refuse the data, the configuration or the place.
    """
    store, runs = open_store(options.to), Runs(options.work_dir)
    interactions = load(options.data)
    data = SplitData(split(interactions, options.config.data.split))
    run = runs.unfinished(asked(interactions, options), options.warm_start)
    check_numbers(store, run, options)
    published = store.published()
    version = options.version or max(published, default=0) + 1
    old = beyond({*published, version}, options.keep, {version, *options.protect})
    job_dir = run.training if run else options.work_dir / "runs" / "(new)" / "train"
    return "\n".join(
        (
            interactions.summary(),
            f"run           {f'goes on with {run.directory}' if run else 'a new one'}",
            forecast(data, _config_of(options, run), job_dir).rpartition("\n")[0],
            f"index         built with {' '.join(options.built_with)}",
            f"servable      {options.sums} sums",
            f"would publish version {version} at {store.url}, where there are {_listed(published)}",
            f"would remove  {_listed(old)}",
            "nothing was written",
        )
    )


def _config_of(options: PublishOptions, run: Run | None) -> Config:
    """The configuration with the weights that the run has started from, or a new one's own."""
    warm_start = (run and run.warm_start) or options.config.training.warm_start
    return dataclasses.replace(
        options.config, training=dataclasses.replace(options.config.training, warm_start=warm_start)
    )


def _listed(versions: Any) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"


def check_numbers(store: Store, run: Run | None, options: PublishOptions) -> None:
    """Before hours of work: whether the number is free, and whether what is protected is there."""
    there = store.published()
    ours = run is not None and options.version in there and store.publisher(options.version) == run.publisher
    if options.version in there and not ours:
        raise UserError(
            f"--version {options.version} is published at {store.url}; choose a number above {max(there)}, or leave it"
            " out"
        )
    if missing := sorted({*options.protect} - {*there}):
        print(f"note: --protect names {', '.join(map(str, missing))}, not published at {store.url}")


def asked(interactions: Interactions, options: PublishOptions) -> dict[str, Any]:
    """What makes a run the same as another: all of the data, and the configuration of the model."""
    digest = hashlib.sha256(checksum(interactions).encode())
    for columns in (interactions.catalogue.columns(), interactions.event_features, interactions.user_features):
        for name in sorted(columns):
            digest.update(pa.record_batch({name: columns[name]}).serialize())
    # With the features that training will take from the data; and as JSON reads it again.
    asked = dataclasses.replace(options.config, features=options.config.features.filled(interactions.declared))
    config = json.loads(json.dumps(dataclasses.asdict(asked)))
    return {"data": digest.hexdigest(), "config": config}

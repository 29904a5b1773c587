"""`python -m pipeline.publish`: from interactions to a published version that can be pulled into a pod."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from pipeline.publishing.foresight import asked, check_numbers, foresee
from pipeline.publishing.gate import measure_served
from pipeline.publishing.options import PublishOptions, parse
from pipeline.publishing.retention import retire
from pipeline.publishing.runs import Run, Runs
from pipeline.publishing.steps import index_of, servable_of, trained_export
from pipeline.stages import Stages
from protos.errors import run_cli
from protos.servable import read_servable_manifest
from protos.storage import open_store
from trainer.data import load
from trainer.data.splits import Split, split
from trainer.origin import remember_data


def publish(options: PublishOptions) -> int:
    """Goes from interactions to a published version, and returns its number.

    Raises:
      UserError: the data, the configuration or the place will not do, or a gate says no; nothing is published then.
    """
    store = open_store(options.to)
    stages = Stages()
    runs = Runs(options.work_dir)
    with runs.locked():
        store.check_writable()
        with stages.stage("read data"):
            interactions = load(options.data)
            print(f"   {interactions.summary()}")
            parts = split(interactions, options.config.data.split)
            run = runs.take_up(asked(interactions, options), options.warm_start)
            check_numbers(store, run, options)
        base, served = _make(run, parts, options, stages)
        with stages.stage("publish"):
            version = store.publish(base / "1", run.publisher, options.version)
            print(f"   version {version} is published at {store.url}")
        with stages.stage("remove what is old"):
            removed = retire(store, version, options.keep, options.protect)
            print(f"   removed: {', '.join(map(str, removed)) or 'none'}")
            # Last: whoever dies before it is taken up again, finds its version published, and goes on from there.
            fingerprint = read_servable_manifest(base / "1")["fingerprint"]
            run.finish({"to": options.to, "version": version, "fingerprint": fingerprint, "served": served})
            runs.clear()
    return version


def _make(run: Run, parts: Split, options: PublishOptions, stages: Stages) -> tuple[pathlib.Path, dict[str, float]]:
    """The base path of a servable that has passed the gates, and how it answers."""
    with stages.stage("train and export"):
        export_dir = trained_export(run, options.config, parts)
        remember_data(run.training, options.data)
    with stages.stage("build index"):
        index_dir = index_of(run, export_dir, options)
    with stages.stage("export servable"):
        base = servable_of(run, export_dir, index_dir, options.sums)
    with stages.stage("ask the servable"):
        served = measure_served(base, parts, options.min_ndcg)
        print("   " + ", ".join(f"{name} {value:.4g}" for name, value in served.items()))
    return base, served


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    options = parse(argv)
    if options.dry_run:
        print(foresee(options))
    else:
        publish(options)


if __name__ == "__main__":
    run_cli(main)

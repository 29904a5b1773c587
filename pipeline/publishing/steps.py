"""The steps of a run. One whose artifact is whole, and made from the same, is not done again."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from beam_index.manifest import INDEX_FORMAT
from beam_index.plan import EXPORT_FORMAT
from pipeline.publishing.options import PublishOptions
from pipeline.publishing.runs import Run, write_json
from pipeline.steps import build_index, export_servable
from protos.artifact import read_manifest
from protos.errors import UserError
from protos.servable import read_servable_manifest
from trainer.config import Config
from trainer.data.splits import Split
from trainer.task import export_trained, train

Manifest = Mapping[str, Any]


def trained_export(run: Run, config: Config, parts: Split) -> pathlib.Path:
    """Trains, going on from the run's checkpoints, and exports; returns the export."""
    export_dir = run.training / "export"

    def make() -> None:
        config_of_run = dataclasses.replace(
            config,
            training=dataclasses.replace(config.training, warm_start=run.warm_start or config.training.warm_start),
        )
        trained = train(parts, config_of_run, run.training)
        print(f"   {trained}")
        export_trained(trained, parts, export_dir)

    _unless_done(run, "export", {}, lambda: read_manifest(export_dir, EXPORT_FORMAT), make)
    return export_dir


def index_of(run: Run, export_dir: pathlib.Path, options: PublishOptions) -> pathlib.Path:
    """Builds the index of the export; one that keeps too little of exact scoring is refused; returns the index.

    Raises:
      UserError: the build says no.
    """
    index_dir = run.directory / "index"
    model = read_manifest(export_dir, EXPORT_FORMAT)["fingerprint"]

    def make() -> None:
        report = build_index(export_dir, index_dir, options.built_with)
        print(textwrap.indent(str(report), "   "))

    made_from = {"model": model, "flags": list(options.built_with)}
    _unless_done(run, "index", made_from, lambda: read_manifest(index_dir, INDEX_FORMAT), make)
    return index_dir


def servable_of(run: Run, export_dir: pathlib.Path, index_dir: pathlib.Path, sums: str) -> pathlib.Path:
    """Exports the servable; returns the base path under which it is version 1."""
    base = run.directory / "servable"
    made_from = {
        "model": read_manifest(export_dir, EXPORT_FORMAT)["fingerprint"],
        "index": read_manifest(index_dir, INDEX_FORMAT)["fingerprint"],
        "sums": sums,
    }

    def make() -> None:
        export_servable(export_dir, index_dir, base, sums)

    _unless_done(run, "servable", made_from, lambda: read_servable_manifest(base / "1"), make)
    return base


def _unless_done(
    run: Run, name: str, made_from: Mapping[str, Any], read: Callable[[], Manifest], make: Callable[[], None]
) -> None:
    """Makes an artifact, unless it is whole and the note beside it says that it was made from the same.

    The note comes after the artifact: a process that dies between the two makes it again.
    """
    note = run.directory / f"{name}.json"
    if note.exists():
        try:
            if json.loads(note.read_text()) == {**made_from, "fingerprint": read()["fingerprint"]}:
                print("   done before")
                return
        except UserError as error:
            print(f"   not as it was left, made again: {error}")
    make()
    write_json(note, {**made_from, "fingerprint": read()["fingerprint"]})

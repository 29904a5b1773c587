"""The steps from an export to answers over gRPC, which the demo and the comparison share."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator, Sequence

from beam_index import build as index_build
from pipeline.served import ServedRanker
from protos.query_inputs import query_inputs
from protos.servable import SERVABLE_MANIFEST
from serving import export as serving_export
from serving.client import RecommendClient
from serving.server import EmbeddedServer
from trainer.data.splits import Split

_MODEL_NAME = "sparcode"
_TIMEOUT_SECONDS = 60


def build_index(export_dir: pathlib.Path, index_dir: pathlib.Path, flags: Sequence[str] = ()) -> index_build.Report:
    """Builds the index of an export; `flags` are more of the build's options."""
    return index_build.run(["--model", str(export_dir), "--output", str(index_dir), *flags])


def export_servable(export_dir: pathlib.Path, index_dir: pathlib.Path, base: pathlib.Path, sums: str) -> None:
    """Exports version 1 of a servable under a base path."""
    options = serving_export.ExportOptions(export_dir, index_dir, base / "1", sums=sums, overwrite=True)
    serving_export.export(options)


@contextlib.contextmanager
def served(base: pathlib.Path, parts: Split) -> Iterator[ServedRanker]:
    """Serves version 1 under a base path over gRPC while the block runs; yields a ranker that asks it.

    Args:
      base: as `export_servable` filled it.
      parts: the data of the model, from which queries bring what the model takes beside histories.
    """
    manifest = json.loads((base / "1" / SERVABLE_MANIFEST).read_text())
    with (
        EmbeddedServer(model_base_path=base, model_name=_MODEL_NAME, port=0) as server,
        RecommendClient(server.address, _MODEL_NAME, timeout=_TIMEOUT_SECONDS) as client,
    ):
        yield ServedRanker(client, parts.catalogue.item_id, query_inputs(manifest["model"]), parts.columns())

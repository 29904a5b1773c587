"""The versions that a rehearsal publishes: two that are trained, one that is damaged, one that answers badly."""

from __future__ import annotations

import pathlib

from beam_index import build as index_build
from serving.export import EXTRA, ExportOptions, export
from serving.retrieval import AnswerOptions
from tests.support.exports import TinySpec, write_tiny_export
from tests.support.indexes import write_tiny_index
from tests.support.models import small_config, walks_split
from trainer.model import SparCode
from trainer.task import export_trained, train

NUM_ITEMS = 120
USERS = (80, 120)
GOOD, NEXT, DAMAGED, OTHER = 1, 2, 3, 4
_ANSWERS = AnswerOptions(default_k=20)


def publish_trained(published: pathlib.Path, run: pathlib.Path) -> None:
    """Versions GOOD and NEXT, which has seen more users; `run/export` is that of GOOD."""
    for version, users in zip((GOOD, NEXT), USERS, strict=True):
        split = walks_split(users, num_items=NUM_ITEMS)
        directory = run if version == GOOD else run.with_name(f"{run.name}-{version}")
        trained = train(split, small_config(), directory, SparCode)
        model = export_trained(trained, split, directory / "export")
        index = directory / "index"
        index_build.run(["--model", str(model), "--output", str(index)])
        export(ExportOptions(model, index, published / str(version), answers=_ANSWERS))


def publish_tiny(published: pathlib.Path, version: int, scratch: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """A version made by hand, of items of the same names whose answers have nothing to do with them; its export."""
    spec = TinySpec(num_items=NUM_ITEMS, seed=seed)
    model = write_tiny_export(scratch / f"model-{version}", spec)
    index = write_tiny_index(scratch / f"index-{version}", model)
    export(ExportOptions(model, index, published / str(version), answers=_ANSWERS))
    return model


def damage(published: pathlib.Path, version: int) -> None:
    """One bit of a variable is another than was published."""
    (file,) = (published / str(version) / "variables").glob("*.data-*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def describe(version: int) -> str:
    """What is wrong with it, if anything."""
    return {DAMAGED: "damaged", OTHER: "answers badly"}.get(version, "good")


def manifest(published: pathlib.Path, version: int) -> pathlib.Path:
    """Where a version's manifest is."""
    return published / str(version) / EXTRA / "manifest.json"

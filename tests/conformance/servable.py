"""The servable that the suite asks where it is given no endpoint: small, with every kind of list and category."""

from __future__ import annotations

import pathlib

from serving.export import ExportOptions, export
from serving.retrieval import AnswerOptions
from tests.support.exports import TinySpec, write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index

CATEGORIES = "Comedy,Drama"  # of the tiny export's items


def write_servable(directory: pathlib.Path) -> pathlib.Path:
    """Writes version 1 of a servable into `directory / "servable"` and returns that, a model base path."""
    model = write_tiny_export(directory / "model", TinySpec())
    index = write_tiny_index(directory / "index", model, TinyIndexSpec(keys=(0, 1, 5, 6, 8, 9, 11)))
    export(ExportOptions(model, index, directory / "servable" / "1", answers=AnswerOptions(10)))
    return directory / "servable"

"""`python -m tests.serving.golden`: writes the signatures of servables anew, to be looked at and committed.

Clients depend on them. A change that `tests/serving/test_golden.py` finds is one that they will see.
"""

from __future__ import annotations

import pathlib
import tempfile

import trainer  # noqa: F401  # before TensorFlow: it chooses the Keras

# isort: split
from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.export import ExportOptions, export
from tests.support.exports import write_tiny_export
from tests.support.featured_models import write_featured_export
from tests.support.indexes import write_tiny_index

DIRECTORY = pathlib.Path(__file__).parent / "golden"
MODELS = {"plain": write_tiny_export, "features": write_featured_export}


def text_of(servable: pathlib.Path) -> str:
    """The signatures of a SavedModel that are for callers, as text, in a fixed order."""
    saved = saved_model_pb2.SavedModel.FromString((servable / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    return "\n".join(
        f"# {name}\n{_text(signatures[name])}" for name in sorted(signatures) if signatures[name].method_name
    )


def _text(signature: meta_graph_pb2.SignatureDef) -> str:
    for tensor in (*signature.inputs.values(), *signature.outputs.values()):
        tensor.ClearField("name")  # of the graph's own: no client sees it
    return text_format.MessageToString(signature)


def write_servable(directory: pathlib.Path, model: str) -> pathlib.Path:
    """Exports a small servable with the default options and returns its version directory."""
    source = MODELS[model](directory / "model")
    index = write_tiny_index(directory / "index", source)
    export(ExportOptions(source, index, directory / "servable" / "1"))
    return directory / "servable" / "1"


def main() -> None:
    """Writes every golden file."""
    for model in MODELS:
        with tempfile.TemporaryDirectory() as scratch:
            text = text_of(write_servable(pathlib.Path(scratch), model))
        DIRECTORY.mkdir(exist_ok=True)
        (DIRECTORY / f"{model}.pbtxt").write_text(text)


if __name__ == "__main__":
    main()

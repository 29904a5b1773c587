"""Contract with TensorFlow Serving, without its binary: what a servable is made of, and that every signature runs."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from protos.artifact import read_manifest, write_manifest
from protos.errors import UserError
from serving.export import NEWEST_SERVER, ExportOptions, export
from serving.list_stock_ops import TARGET, module_text
from serving.ops import require_stock_ops
from serving.stock_ops import STOCK_OPS, TENSORFLOW
from tests.serving.worlds import SUMS
from tests.support.exports import EXPORT_FORMAT, write_tiny_export
from tests.support.indexes import write_tiny_index

ROOT = pathlib.Path(__file__).parents[2]
PYTHON_ONLY = {"EagerPyFunc", "PyFunc", "PyFuncStateless", "AudioMicrofrontend"}


def batch_of(info, batch):
    """A batch of what is empty: "" and zeros, in the signature's widths, 3 where they are open."""
    dtype = tf.dtypes.as_dtype(info.dtype)
    sizes = [3 if dim.size == -1 else dim.size for dim in info.tensor_shape.dim]
    return np.full([batch, *sizes[1:]], "" if dtype == tf.string else 0, dtype.as_numpy_dtype)


@pytest.mark.parametrize("sums", SUMS)
def test_every_signature_of_a_servable_runs_in_a_session_and_its_ops_are_stock(world, sums):
    directory = world(sums=sums).directory
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(directory))
        signatures = {name: signature for name, signature in meta_graph.signature_def.items() if signature.method_name}
        assert "serving_default" in signatures
        for name, signature in signatures.items():
            feeds = {info.name: batch_of(info, 2) for info in signature.inputs.values()}
            outputs = session.run({alias: info.name for alias, info in signature.outputs.items()}, feeds)
            assert {alias: len(values) for alias, values in outputs.items()} == dict.fromkeys(outputs, 2), name
    library = meta_graph.graph_def.library.function
    ops = {node.op for nodes in (meta_graph.graph_def.node, *(body.node_def for body in library)) for node in nodes}
    assert {"LookupTableFindV2", "TopKV2"} <= ops
    assert ops - {body.signature.name for body in library} <= STOCK_OPS
    require_stock_ops(directory)


def test_the_list_is_that_of_the_installed_tensorflow():
    code = "import sys; from serving.list_stock_ops import module_text; sys.stdout.write(module_text())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == TARGET.read_text(), "run `python -m serving.list_stock_ops`"
    assert tf.__version__ == TENSORFLOW
    assert TENSORFLOW.startswith(".".join(map(str, NEWEST_SERVER)))


def test_the_list_is_not_made_where_python_has_added_ops():
    with pytest.raises(UserError, match="this process has imported tensorflow"):
        module_text()


def test_the_list_leaves_out_what_only_python_can_run():
    registered_here = {name for name in PYTHON_ONLY if op_def_registry.get(name)}
    assert registered_here == PYTHON_ONLY
    assert not PYTHON_ONLY & STOCK_OPS
    assert {"NoOp", "Assert", "Identity", "StatefulPartitionedCall", "If", "While"} <= STOCK_OPS
    assert not [name for name in STOCK_OPS if op_def_registry.get(name) is None]


class Shouting(tf.Module):
    """Passes its strings through Python."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")])
    def __call__(self, history: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.py_function(lambda ids: ids, [history], tf.string), [None, None])


class PythonQuery(tf.Module):
    """A query model that passes its histories through Python first."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self.query, self.shouting = tf.saved_model.load(str(directory)), Shouting()

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")])
    def __call__(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.query.signatures["serving_default"](history=self.shouting(history))


def test_the_export_refuses_a_model_that_runs_python(tmp_path):
    model = write_tiny_export(tmp_path / "model")
    manifest = read_manifest(model, EXPORT_FORMAT)
    query = PythonQuery(model / "query")
    tf.saved_model.save(query, str(model / "query"), signatures=query.__call__.get_concrete_function())
    write_manifest(model, EXPORT_FORMAT, model=manifest["model"], versions=manifest["versions"])
    index = write_tiny_index(tmp_path / "index", model)
    with pytest.raises(UserError, match=r"cannot run EagerPyFunc \(node EagerPyFunc of function __inference_.*\)"):
        export(ExportOptions(model, index, tmp_path / "servable" / "1"))
    assert list((tmp_path / "servable").iterdir()) == []


@pytest.mark.parametrize("in_function", [True, False])
def test_an_op_that_nobody_knows_is_named_with_its_place(world, tmp_path, in_function):
    saved = saved_model_pb2.SavedModel.FromString((world().directory / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    body = graph.library.function[0]
    nodes, place = (body.node_def, f"function {body.signature.name}") if in_function else (graph.node, "the graph")
    nodes.extend(node_def_pb2.NodeDef(name=f"fast_{number}", op="FastTopK") for number in range(7))
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(UserError) as raised:
        require_stock_ops(tmp_path)
    found = ", ".join(f"FastTopK (node fast_{number} of {place})" for number in range(5))
    assert (
        f"{tmp_path}: TensorFlow Serving {TENSORFLOW} cannot run {found} and 2 more; make the model of stock ops"
        in str(raised.value)
    )

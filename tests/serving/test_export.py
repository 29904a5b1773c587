"""`python -m serving.export`: what it writes, loaded as TensorFlow Serving loads it, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from protos.artifact import MANIFEST, fingerprint, sha256
from protos.errors import UserError
from serving.export import EXTRA, main
from tests.support.exports import PRODUCT, TinySpec, write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index

REPOSITORY = pathlib.Path(__file__).parents[2]
INDEX = TinyIndexSpec(keys=[0, 1, 5, 6, 8, 9, 11], postings_per_code=9)
HISTORIES = [["item-3", "", "nobody's"], ["item-1", "item-2", "item-1"]]

# Loads a servable through the Session loader in a process that imports nothing but TensorFlow, so that
# its op registry is the stock one, and prints every op of the graph and its functions, and an answer.
LOAD = """
import json, sys
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

directory, histories = json.loads(sys.argv[1])
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], directory)
    signature = meta_graph.signature_def["serving_default"]
    outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
    answer = session.run(outputs, {signature.inputs["history"].name: histories})
library = meta_graph.graph_def.library.function
nodes = [*meta_graph.graph_def.node, *(node for function in library for node in function.node_def)]
functions = {function.signature.name for function in library}
ops = {node.op for node in nodes} - functions
shapes = {
    name: [dim.size for dim in tensor.tensor_shape.dim]
    for name, tensor in [*signature.inputs.items(), *signature.outputs.items()]
}
print(json.dumps({
    "answer": {name: values.tolist() for name, values in answer.items()},
    "shapes": shapes,
    "ops": sorted(ops),
    "unregistered": sorted(op for op in ops if op_def_registry.get(op) is None),
    "largest_constant": max(node.attr["value"].tensor.ByteSize() for node in nodes if node.op == "Const"),
}, default=bytes.decode))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_export(tmp_path_factory.mktemp("export") / "model", PRODUCT)


@pytest.fixture(scope="module")
def index(model, tmp_path_factory):
    return write_tiny_index(tmp_path_factory.mktemp("index") / "index", model, INDEX)


@pytest.fixture
def arguments(model, index, tmp_path):
    return ["--model", str(model), "--index", str(index), "--output", str(tmp_path / "servable" / "1")]


def served(directory):
    return tf.saved_model.load(str(directory)).signatures["serving_default"]


@pytest.mark.parametrize("sums", ["sparse", "completed", "rescored"])
def test_the_session_loader_loads_stock_ops_only_with_the_sources_gone(tmp_path, sums):
    large = dataclasses.replace(PRODUCT, num_items=6000)
    model = write_tiny_export(tmp_path / "made" / "model", large)
    index = write_tiny_index(tmp_path / "made" / "index", model, dataclasses.replace(INDEX, postings_per_code=1000))
    directory = tmp_path / "servable" / "1"
    options = ["--default_k", "7", "--sums", sums]
    main(["--model", str(model), "--index", str(index), "--output", str(directory), *options])
    shutil.rmtree(tmp_path / "made")

    command = [sys.executable, "-c", LOAD, json.dumps([str(directory), HISTORIES])]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)

    assert found["unregistered"] == []
    assert [op for op in found["ops"] if "Py" in op] == []
    assert {"MutableDenseHashTableV2", "LookupTableFindV2", "ResourceGather", "TopKV2"} <= set(found["ops"])
    assert found["largest_constant"] < 6000, "tables and arrays belong in variables: a graph may not pass 2 GB"
    assert found["shapes"] == {
        "history": [-1, -1],
        "item_ids": [-1, 7],
        "scores": [-1, 7],
        "valid": [-1, 7],
        "codes": [-1, 3, 2],
        "keys": [-1, 6],
        "fallback": [-1, 6],
    }
    for name, values in served(directory)(history=tf.constant(HISTORIES)).items():
        assert found["answer"][name] == np.vectorize(_text)(values.numpy()).tolist(), name


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def test_the_command_says_what_it_exported(arguments, capsys):
    main([*arguments, "--sums", "sparse"])
    assert re.search(r"7 lists, [23]\d ready lists, \d+ postings, sparse sums", capsys.readouterr().out)


def test_the_manifest_names_what_was_served(arguments, model, index):
    main([*arguments, "--keep_seen", "--default_k", "12", "--max_k", "30"])
    directory = pathlib.Path(arguments[-1])
    manifest = json.loads((directory / EXTRA / MANIFEST).read_text())
    fingerprints = [json.loads((made / MANIFEST).read_text())["fingerprint"] for made in (model, index)]
    assert [manifest["model_fingerprint"], manifest["index_fingerprint"]] == fingerprints
    assert (manifest["sums"], manifest["default_k"], manifest["keep_seen"]) == ("completed", 12, True)
    assert (manifest["max_k"], manifest["category_column"], manifest["categories"]) == (30, "genres", 2)
    assert manifest["widths"] == {"history": 6, "exclude_ids": 64, "allow_categories": 8, "deny_categories": 8}
    assert set(manifest["signatures"]) == {"serving_default", "recommend", "explain", "encode"}
    history = {"dtype": "string", "shape": [None, None], "optional": False}
    assert manifest["signatures"]["encode"] == {"history": history}
    assert manifest["signatures"]["recommend"]["k"] == {"dtype": "int32", "shape": [None], "optional": True}
    made = json.loads((index / MANIFEST).read_text())
    counts = [manifest[name] for name in ("items", "lists", "ready_lists", "postings")]
    assert counts == [PRODUCT.num_items, 7, made["ready_lists"], made["postings"]]
    assert manifest["format"] == "sparcode.servable/3"
    assert manifest["versions"]["tensorflow"] == tf.__version__
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert files == {*manifest["files"], f"{EXTRA}/{MANIFEST}"}
    assert all(sha256(directory / name) == entry["sha256"] for name, entry in manifest["files"].items())
    assert manifest["fingerprint"] == fingerprint(manifest["files"])


def refused(arguments):
    with pytest.raises(UserError) as raised:
        main(arguments)
    return str(raised.value)


@pytest.mark.parametrize("name", ["latest", "0", "01", "-1", "1.5", "²"])
def test_the_version_must_be_a_positive_integer(arguments, tmp_path, name):
    message = refused([*arguments[:-1], str(tmp_path / "servable" / name)])
    assert f"must be a positive integer, found {name!r}" in message
    assert list(tmp_path.iterdir()) == []


def test_an_existing_version_is_kept_unless_told_otherwise(arguments):
    directory = pathlib.Path(arguments[-1])
    directory.mkdir(parents=True)
    assert "exists; choose the next version, or replace it by --overwrite" in refused(arguments)
    assert list(directory.iterdir()) == []
    main([*arguments, "--overwrite"])
    assert (directory / "saved_model.pb").is_file()
    assert [path.name for path in directory.parent.iterdir()] == ["1"]


def test_an_index_of_another_model_is_refused(arguments, tmp_path):
    other = write_tiny_export(tmp_path / "other", TinySpec(seed=9))
    message = refused(["--model", str(other), *arguments[2:]])
    assert f"{arguments[3]} was built from another model" in message
    assert "build the index again from this export" in message


def test_completed_sums_need_a_block(arguments, model, tmp_path):
    index = write_tiny_index(tmp_path / "index", model, TinyIndexSpec(keys=[0], block=False))
    message = refused([*arguments, "--index", str(index)])
    assert "--sums completed needs the completion block" in message
    assert "without --no_block, or export with --sums sparse or rescored" in message
    assert not pathlib.Path(arguments[-1]).parent.exists()
    main([*arguments, "--index", str(index), "--sums", "sparse"])
    main([*arguments, "--index", str(index), "--sums", "rescored", "--overwrite"])
    assert json.loads((pathlib.Path(arguments[-1]) / EXTRA / MANIFEST).read_text())["sums"] == "rescored"


def test_rescored_sums_need_a_scorer_that_rescores(tmp_path):
    model = write_tiny_export(tmp_path / "model", PRODUCT, signatures=["serving_default"])
    index = write_tiny_index(tmp_path / "index", model, INDEX)
    arguments = ["--model", str(model), "--index", str(index), "--output", str(tmp_path / "servable" / "1")]
    message = refused([*arguments, "--sums", "rescored"])
    assert "--sums rescored needs the signature 'rescore' (tokens, items to scores, contributions)" in message
    assert f"the scorer {model / 'scorer'}, which has 'serving_default' to scores; it was exported by an" in message
    assert "export the model again, or choose other --sums" in message
    assert list((tmp_path / "servable").iterdir()) == []
    main(arguments)


def test_a_truncated_index_is_refused_and_nothing_written(arguments, model, tmp_path):
    index = write_tiny_index(tmp_path / "index", model, INDEX)
    path = index / "postings-00000-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:20])
    assert f"{path} has 20 bytes, its manifest says" in refused([*arguments, "--index", str(index)])
    assert not pathlib.Path(arguments[-1]).parent.exists()


def test_an_index_of_ready_lists_alone_is_refused(arguments, model, tmp_path):
    index = write_tiny_index(tmp_path / "index", model, TinyIndexSpec(keys=[]))
    assert f"index {index} has no postings of codes" in refused([*arguments, "--index", str(index)])


def test_no_items_to_return_is_refused(arguments):
    assert "--default_k is 0; at least 1" in refused([*arguments, "--default_k", "0"])


def test_a_most_that_is_less_than_the_default_is_refused(arguments):
    assert "--max_k is 50, less than --default_k 100: it must be as many" in refused([*arguments, "--max_k", "50"])


def test_a_column_of_categories_is_chosen_or_none(arguments):
    manifest = pathlib.Path(arguments[-1]) / EXTRA / MANIFEST
    for asked, column, categories in (("title", "title", PRODUCT.num_items), ("", None, 0)):
        main([*arguments, "--overwrite", "--category_column", asked])
        found = json.loads(manifest.read_text())
        assert (found["category_column"], found["categories"]) == (column, categories)
    message = refused([*arguments, "--overwrite", "--category_column", "colour"])
    assert "has no such column; it has item_id, title, genres; choose one of them, or '' for none" in message
    assert manifest.is_file()


def test_a_tensorflow_newer_than_the_server_is_refused(arguments, monkeypatch):
    monkeypatch.setattr(tf, "__version__", "2.21.0-rc1")
    assert "TensorFlow is 2.21.0-rc1, but the newest TensorFlow Serving is 2.20" in refused(arguments)


def test_the_command_ends_with_a_message_not_a_stack_trace(tmp_path):
    arguments = ["--model", "nowhere", "--index", "nowhere", "--output", str(tmp_path / "1")]
    command = [sys.executable, "-m", "serving.export", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "error: nowhere does not exist; expected a directory holding a sparcode.export/2 artifact" in done.stderr
    assert "Traceback" not in done.stderr

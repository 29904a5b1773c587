"""Refuses a SavedModel with an op that TensorFlow Serving does not have."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

from protos.errors import UserError
from serving.stock_ops import STOCK_OPS, TENSORFLOW

_SHOWN = 5


def require_stock_ops(servable: pathlib.Path) -> None:
    """Checks every node of the graphs and functions of a SavedModel; calls of functions among them are not ops.

    Args:
      servable: the directory of `saved_model.pb`.

    Raises:
      UserError: an op is not among `serving.stock_ops.STOCK_OPS`; names it and the nodes that have it.
    """
    saved = saved_model_pb2.SavedModel.FromString((servable / "saved_model.pb").read_bytes())
    foreign = [f"{node.op} ({place})" for place, node in _nodes(saved) if node.op not in STOCK_OPS]
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise UserError(
            f"{servable}: TensorFlow Serving {TENSORFLOW} cannot run {', '.join(foreign[:_SHOWN])}{more}; make the"
            " model of stock ops, those of serving/stock_ops.py"
        )


def _nodes(saved: saved_model_pb2.SavedModel) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
    """Where each node is, and the node."""
    for meta_graph in saved.meta_graphs:
        functions = meta_graph.graph_def.library.function
        names = {function.signature.name for function in functions}
        bodies = [("the graph", meta_graph.graph_def.node)]
        bodies += [(f"function {function.signature.name}", function.node_def) for function in functions]
        for body, nodes in bodies:
            yield from ((f"node {node.name} of {body}", node) for node in nodes if node.op not in names)

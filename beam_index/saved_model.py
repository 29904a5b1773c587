"""SavedModels run so that equal inputs give equal bits, on however many cores and workers.

Two things in TensorFlow change the last bits of a float from run to run or machine to machine:

- A matrix product is cut by the number of threads an op may use, and the cut moves some sums to
  another kernel. So every op here has one thread; the cores are used by many calls at once.
- Optimised by Grappler and run on several threads, a sum of three terms was seen to take any of
  three values from call to call. So the ops of one call run one after the other, in the thread of
  its caller.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from protos.errors import UserError


def one_thread_per_op() -> bool:
    """Makes this process's TensorFlow use one thread an op, if it has not yet started with more.

    Returns:
      Whether it does. The number is fixed for a process when TensorFlow runs its first op.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:  # started already, by default with as many threads as there are cores
        return os.environ.get("TF_NUM_INTRAOP_THREADS") == "1"
    return True


class Signature:
    """Outputs of the serving signature of a SavedModel. Calls may come from several threads at once."""

    def __init__(self, directory: str, inputs: Sequence[str], output: str | Sequence[str]) -> None:
        """Loads the model.

        Args:
          directory: of the SavedModel.
          inputs: names of its inputs, in the order in which calls give them.
          output: name of the output to compute, or names of several.

        Raises:
          UserError: the signature has other names, or this process cannot hold TensorFlow to one
            thread an op.
        """
        if not one_thread_per_op():
            raise UserError(
                "TensorFlow has started in this process with several threads an op, which changes the last bits of"
                " scores; build in a process of its own (python -m beam_index.build), or with"
                " --direct_running_mode=multi_processing"
            )
        # One thread an op; negative: all ops of a call in the thread of the caller. No GPU: its bits differ.
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1, device_count={"GPU": 0}
        )
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], directory)
        signature = loaded.signature_def["serving_default"]
        wanted = [output] if isinstance(output, str) else list(output)
        expected = ", ".join(map(repr, wanted))
        if set(signature.inputs) != set(inputs) or not set(wanted) <= set(signature.outputs):
            raise UserError(
                f"the SavedModel {directory} takes {sorted(signature.inputs)} and gives {sorted(signature.outputs)};"
                f" expected {sorted(inputs)} and {expected} among what it gives; export the model again"
            )
        feeds = [signature.inputs[name].name for name in inputs]
        fetches = [signature.outputs[name].name for name in wanted]
        self._call = self._session.make_callable(fetches[0] if isinstance(output, str) else fetches, feeds)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """The output, or the list of the outputs, for the inputs given in the order of the constructor's `inputs`."""
        return self._call(*inputs)

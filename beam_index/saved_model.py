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
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from protos.errors import UserError
from protos.quiet import standard_error_discarded


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


def one_thread_session(graph: tf.Graph) -> tf.compat.v1.Session:
    """A session whose calls run in the threads of their callers, one op after the other, on no GPU: its bits differ."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1, device_count={"GPU": 0}
    )
    _hear_notices(config)
    return tf.compat.v1.Session(graph=graph, config=config)


def _hear_notices(config: tf.compat.v1.ConfigProto) -> None:
    """Runs a session for nothing: the first one of a process says that it does without MLIR."""
    with standard_error_discarded(), tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        session.run(tf.constant(0))


def compiled(
    session: tf.compat.v1.Session, feeds: Sequence[str], fetches: Sequence[str]
) -> Callable[..., list[np.ndarray]]:
    """A function of the tensors `feeds`, by name and in this order, that returns the tensors `fetches`."""
    # Not Session.make_callable, which looks at every argument of every call: as long as scoring 10,000 pairs.
    return session._make_callable_from_options(CallableOptions(feed=feeds, fetch=fetches))


class SavedModel:
    """A SavedModel, loaded once; its signatures may be called from several threads at once."""

    def __init__(self, directory: str) -> None:
        """Loads the model.

        Raises:
          UserError: this process cannot hold TensorFlow to one thread an op.
        """
        if not one_thread_per_op():
            raise UserError(
                "TensorFlow has started in this process with several threads an op, which changes the last bits of"
                " scores; build in a process of its own (python -m beam_index.build), or with"
                " --direct_running_mode=multi_processing"
            )
        self._directory = directory
        graph = tf.Graph()
        self._session = one_thread_session(graph)
        with graph.as_default():
            self._signatures = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], directory).signature_def

    def names(self, signature: str) -> tuple[list[str], list[str]] | None:
        """Names of the inputs and of the outputs of a signature, in order; None if the model does not have it."""
        found = self._signatures.get(signature)
        return found and (sorted(found.inputs), sorted(found.outputs))

    def signature(
        self, inputs: Sequence[str], outputs: Sequence[str], name: str = "serving_default"
    ) -> Callable[..., list[np.ndarray]]:
        """A function of the inputs, given in this order, that returns the outputs.

        Raises:
          UserError: the signature takes other inputs, or does not give such outputs.
        """
        takes, gives = self.names(name) or ([], [])
        if takes != sorted(inputs) or not set(outputs) <= set(gives):
            raise UserError(
                f"the SavedModel {self._directory} takes {takes} and gives {gives} ({name}); expected {sorted(inputs)}"
                f" and {', '.join(map(repr, outputs))} among what it gives; export the model again"
            )
        found = self._signatures[name]
        return compiled(
            self._session,
            [found.inputs[each].name for each in inputs],
            [found.outputs[each].name for each in outputs],
        )

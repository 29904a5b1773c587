"""The client that blocks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from serving.client.answers import Encoding, Explanation, Recommendation
from serving.client.channel import PredictError, Tls, connect
from serving.client.conversation import Call, Conversation, Pause, Steps
from serving.client.messages import DEFAULT_SIGNATURE, ModelMetadata, Target, VersionStatus
from serving.client.queries import Row

if TYPE_CHECKING:
    import numpy as np

DEFAULT_ADDRESS = "127.0.0.1:8500"
DEFAULT_MODEL = "sparcode"
DEFAULT_TIMEOUT_SECONDS = 5.0
_Result = TypeVar("_Result")


class RecommendClient:
    """Asks one served model, over one channel, from as many threads as you like.

    Calls go to all addresses of the name in turn. One that a server cannot take (UNAVAILABLE) is tried again, up
    to 5 times in all, with pauses that double, each longer or shorter by chance; the timeout spans all of it.

    Example:
      with RecommendClient("dns:///sparcode:8500") as client:
          for answer in client.recommend([["1", "260"], Query(["527"], k=10, deny_categories=["Horror"])]):
              print(answer.item_ids, answer.scores)
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        model: str = DEFAULT_MODEL,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        tls: Tls | None = None,
    ) -> None:
        """Connects with the first call.

        Args:
          address: `host:port`; `dns:///host:port`, which is resolved again when connections end; or
            `ipv4:a:port,b:port`.
          model: what the server calls the model.
          timeout: seconds that a method may take where it is not told otherwise.
          tls: None is an unencrypted channel.

        Raises:
          UserError: a file of `tls` cannot be read.
        """
        self.address = address
        self.model = model
        self.timeout = timeout
        self._conversation = Conversation(address, model)
        self._channel = connect(address, tls)

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> RecommendClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def recommend(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> list[Recommendation]:
        """Recommendations for a batch of queries, in one request.

        Where all of them are histories and nothing else, it asks the signature `serving_default`, which every
        servable has; else `recommend`, after asking once what that takes.

        Args:
          queries: each a `Query`, or a history alone: public item ids, oldest first.
          version: the model's version; None is the newest.
          timeout: seconds; None is the client's.

        Returns:
          One recommendation a query.

        Raises:
          PredictError: there was no answer.
          QueryError: a query gives what the model does not take, or in a wrong form.
          TensorError: a value that is of no type that the model takes.
        """
        return self._run(self._conversation.recommend(queries, version), timeout)

    def explain(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> list[Explanation]:
        """As `recommend`, with what each token and each event added to every score."""
        return self._run(self._conversation.explain(queries, version), timeout)

    def encode(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> list[Encoding]:
        """What the queries become before anything is looked up; takes histories and features. Raises as `recommend`."""
        return self._run(self._conversation.encode(queries, version), timeout)

    def predict(
        self,
        inputs: Mapping[str, np.ndarray | Sequence[Any]],
        signature: str = DEFAULT_SIGNATURE,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs any signature, on arrays: needs NumPy, which the client's own environment does not have.

        Args:
          inputs: by name. Lists of Python's integers are sent as int64, of its floats as float64.
          signature: its name.
          output_filter: the outputs wanted; none means all.
          timeout: seconds; None is the client's.
          version: the model's version; None is the newest.

        Returns:
          The outputs by name; strings are arrays of bytes.

        Raises:
          PredictError: there was no answer.
          TensorError: an input that is no array, or of no type of TensorFlow's.
        """
        target = Target(self.model, signature, version)
        return self._run(self._conversation.predict(inputs, target, output_filter), timeout)

    def metadata(self, timeout: float | None = None) -> ModelMetadata:
        """The signatures of the newest version.

        Raises:
          PredictError: there was no answer.
        """
        return self._run(self._conversation.metadata(), timeout)

    def status(self, timeout: float | None = None) -> list[VersionStatus]:
        """How the versions stand that the server has seen, newest first.

        Raises:
          PredictError: there was no answer; NOT_FOUND where the server has no such model.
        """
        return self._run(self._conversation.status(), timeout)

    def wait_until_ready(self, timeout: float = 60.0) -> int:
        """Waits until the server is up and a version answers; returns the newest such version.

        Raises:
          PredictError: what stood in the way when `timeout` seconds were over, or an answer that no waiting
            will change.
        """
        return self._run(self._conversation.wait_until_ready(timeout, self.timeout), float("inf"))

    def _run(self, steps: Steps[_Result], timeout: float | None) -> _Result:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        resume, value = steps.send, None
        while True:
            try:
                step = resume(value)
            except StopIteration as end:
                return end.value
            try:
                resume, value = steps.send, self._carry_out(step, deadline)
            except PredictError as error:
                resume, value = steps.throw, error

    def _carry_out(self, step: Call | Pause, deadline: float) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        stub = self._channel.unary_unary(step.method, type(step.request).SerializeToString, step.response.FromString)
        try:
            return stub(step.request, timeout=step.seconds_until(deadline))
        except grpc.RpcError as error:
            raise step.failed(error, self.address) from error

"""The client that awaits: the same calls on asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from serving.client.answers import Encoding, Explanation, Recommendation
from serving.client.channel import PredictError, Tls, connect_async
from serving.client.conversation import Call, Conversation, Pause, Steps
from serving.client.messages import DEFAULT_SIGNATURE, ModelMetadata, Target, VersionStatus
from serving.client.queries import Row
from serving.client.sync import DEFAULT_ADDRESS, DEFAULT_MODEL, DEFAULT_TIMEOUT_SECONDS

if TYPE_CHECKING:
    import numpy as np

_Result = TypeVar("_Result")


class AsyncRecommendClient:
    """`RecommendClient` for asyncio: every method takes, returns and raises the same. Made inside a running loop.

    Example:
      async with AsyncRecommendClient("dns:///sparcode:8500") as client:
          answers = await client.recommend([["1", "260"]])
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        model: str = DEFAULT_MODEL,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        tls: Tls | None = None,
    ) -> None:
        """As `RecommendClient`."""
        self.address = address
        self.model = model
        self.timeout = timeout
        self._conversation = Conversation(address, model)
        self._channel = connect_async(address, tls)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncRecommendClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def recommend(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> list[Recommendation]:
        """As `RecommendClient.recommend`."""
        return await self._run(self._conversation.recommend(queries, version), timeout)

    async def explain(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> list[Explanation]:
        """As `RecommendClient.explain`."""
        return await self._run(self._conversation.explain(queries, version), timeout)

    async def encode(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> list[Encoding]:
        """As `RecommendClient.encode`."""
        return await self._run(self._conversation.encode(queries, version), timeout)

    async def predict(
        self,
        inputs: Mapping[str, np.ndarray | Sequence[Any]],
        signature: str = DEFAULT_SIGNATURE,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """As `RecommendClient.predict`."""
        target = Target(self.model, signature, version)
        return await self._run(self._conversation.predict(inputs, target, output_filter), timeout)

    async def metadata(self, timeout: float | None = None) -> ModelMetadata:
        """As `RecommendClient.metadata`."""
        return await self._run(self._conversation.metadata(), timeout)

    async def status(self, timeout: float | None = None) -> list[VersionStatus]:
        """As `RecommendClient.status`."""
        return await self._run(self._conversation.status(), timeout)

    async def wait_until_ready(self, timeout: float = 60.0) -> int:
        """As `RecommendClient.wait_until_ready`."""
        return await self._run(self._conversation.wait_until_ready(timeout, self.timeout), float("inf"))

    async def _run(self, steps: Steps[_Result], timeout: float | None) -> _Result:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        resume, value = steps.send, None
        while True:
            try:
                step = resume(value)
            except StopIteration as end:
                return end.value
            try:
                resume, value = steps.send, await self._carry_out(step, deadline)
            except PredictError as error:
                resume, value = steps.throw, error

    async def _carry_out(self, step: Call | Pause, deadline: float) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        stub = self._channel.unary_unary(step.method, type(step.request).SerializeToString, step.response.FromString)
        try:
            return await stub(step.request, timeout=step.seconds_until(deadline))
        except grpc.RpcError as error:
            raise step.failed(error, self.address) from error

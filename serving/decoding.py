"""Requests that are no messages: refused as what they are, wrong requests."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError, Message

from serving.status import truncated

_Handler = grpc.RpcMethodHandler


class RefuseUndecodable(grpc.ServerInterceptor):
    """Answers INVALID_ARGUMENT to bytes that the request's message cannot be read from.

    gRPC itself answers INTERNAL, and so does TensorFlow Serving, as if the server had failed.
    """

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wraps the methods that take one request and give one answer."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _behaviour(handler.unary_unary, handler_call_details.method),
            request_deserializer=_or_error(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def _or_error(read: Callable[[bytes], Message]) -> Callable[[bytes], Message | DecodeError]:
    def read_or_error(data: bytes) -> Message | DecodeError:
        try:
            return read(data)
        except DecodeError as error:
            return error

    return read_or_error


def _behaviour(
    answer: Callable[[Message, grpc.ServicerContext], Message], method: str
) -> Callable[[Message | DecodeError, grpc.ServicerContext], Message]:
    def answer_or_refuse(request: Message | DecodeError, context: grpc.ServicerContext) -> Message:
        if isinstance(request, DecodeError):
            message = f"the request is no message that {method} takes: {request}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, truncated(message))
        return answer(request, context)

    return answer_or_refuse

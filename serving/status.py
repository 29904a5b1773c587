"""How calls fail: gRPC status codes with TensorFlow Serving's messages."""

from __future__ import annotations

import grpc

MAX_MESSAGE_BYTES = 1024
_TRUNCATED = "...TRUNCATED"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
    """A call that fails with a gRPC status.

    Attributes:
      code: the status code.
      message: what the caller is told, before it is cut.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


def invalid_argument(message: str) -> StatusError:
    """The request is wrong, whatever the state of the server."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """The model or version is not loaded."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def code_of(number: int) -> grpc.StatusCode:
    """The code of a number; TensorFlow's error codes are gRPC's."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


def truncated(message: str) -> str:
    """The message as it is sent: TensorFlow Serving cuts what is longer than 1,024 bytes."""
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    return encoded[:MAX_MESSAGE_BYTES].decode(errors="ignore") + _TRUNCATED

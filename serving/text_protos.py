"""Configuration files in protobuf's text format, which is how TensorFlow Serving takes them."""

from __future__ import annotations

import os
import pathlib
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from protos.errors import UserError

_Message = TypeVar("_Message", bound=Message)


def read_text_proto(path: str | os.PathLike[str], message: type[_Message], flag: str) -> _Message:
    """The message in a file that was given by `flag`.

    Raises:
      UserError: the file cannot be read, or is not such a message.
    """
    name = message.DESCRIPTOR.name
    try:
        text = pathlib.Path(path).read_text()
        return text_format.Parse(text, message())
    except OSError as error:
        raise UserError(f"{flag} {path}: {error.strerror}; expected a file with the text of a {name}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {path} is not the text of a {name}: {error}") from error

"""Text whose fields are parted by several characters, as a stream with a separator of one."""

from __future__ import annotations

import io
from typing import BinaryIO

# Arrow splits at single characters; this one does not occur in text.
UNUSED = "\x1f"


def quote_of(separator: str, wanted: str = "") -> str | None:
    """The character around fields that hold separators; None where none has a meaning.

    Args:
      separator: of the fields.
      wanted: `Source.quote`.
    """
    if len(separator) > 1 or wanted == "none":
        return None
    # TSV has no quotes: one that begins a field is part of it, and as a quote would swallow all rows up to the next.
    return wanted or (None if separator == "\t" else '"')


class OneCharacter(io.RawIOBase):
    """A stream in which every separator of another is replaced by UNUSED.

    Args:
      stream: to be read, from where it stands.
      separator: of two bytes or more.
    """

    def __init__(self, stream: BinaryIO, separator: bytes) -> None:
        super().__init__()
        self._stream, self._separator, self._held = stream, separator, b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray) -> int:
        """Fills a buffer, or some of it; 0 at the end of the stream."""
        out = b""
        while not out:
            read = self._stream.read(max(1, len(buffer) - len(self._held)))
            *parts, rest = (self._held + read).split(self._separator)
            # What may be the beginning of a separator waits for what follows.
            held = self._begun(rest) if read else 0
            self._held = rest[len(rest) - held :]
            out = UNUSED.encode().join([*parts, rest[: len(rest) - held]])
            if not read:
                break
        buffer[: len(out)] = out
        return len(out)

    def _begun(self, rest: bytes) -> int:
        lengths = range(len(self._separator) - 1, 0, -1)
        return next((length for length in lengths if rest.endswith(self._separator[:length])), 0)

"""What gathering the log and gathering a table have in common."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from protos.errors import UserError
from trainer.data.schema.reading import Part, SourceReader
from trainer.data.schema.values import identifiers, without_point


def id_column(reader: SourceReader, part: Part, name: str) -> pa.Array:
    """Ids of some rows, of which rows without one are reported."""
    column = reader.plain(part, name)
    converted = identifiers(without_point(column) if part.rows.file.is_text else column)
    return reader.checked(part, name, converted, "id", needed=True)


def joined(parts: Sequence[dict[str, pa.Array]], place: str) -> dict[str, pa.Array]:
    """Columns of all parts of `interactions`, `items` or `users`, one below the other; none of no part.

    Raises:
      UserError: see `concatenated`.
    """
    if not parts:
        return {}
    return {
        name: concatenated([part[name] for part in parts], column.type, f"{place}: feature {name!r}")
        for name, column in parts[0].items()
    }


def concatenated(arrays: Sequence[pa.Array], kind: pa.DataType, what: str) -> pa.Array:
    """Arrays of a type as one, also none of them.

    Raises:
      UserError: they hold more than an array can; the message begins with `what`.
    """
    try:
        return pa.concat_arrays(arrays) if arrays else pa.array([], kind)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{what} does not fit into one column: {error}; it holds at most 2 GiB of text, and 2^31"
            " values in lists: leave it out, or shorten its values"
        ) from error

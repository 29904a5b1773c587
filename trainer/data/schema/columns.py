"""What gathering the log and gathering a table have in common."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from trainer.data.schema.reading import Part, SourceReader
from trainer.data.schema.values import identifiers, without_point


def id_column(reader: SourceReader, part: Part, name: str) -> pa.Array:
    """Ids of some rows, of which rows without one are reported."""
    column = reader.plain(part, name)
    converted = identifiers(without_point(column) if part.rows.file.is_text else column)
    return reader.checked(part, name, converted, "id", needed=True)


def joined(parts: Sequence[dict[str, pa.Array]]) -> dict[str, pa.Array]:
    """Columns of all parts, one below the other; none of no part."""
    return (
        {name: concatenated([part[name] for part in parts], parts[0][name].type) for name in parts[0]} if parts else {}
    )


def concatenated(arrays: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    """Arrays of a type as one, also none of them."""
    return pa.concat_arrays(arrays) if arrays else pa.array([], kind)

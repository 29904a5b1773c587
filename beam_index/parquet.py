"""Opens the parquet files that a build reads, with errors in the user's words."""

from __future__ import annotations

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from protos.errors import UserError


def open_parquet(path: pathlib.Path, name: str, cure: str) -> pq.ParquetFile:
    """Opens a file; a context manager.

    Args:
      path: of the file.
      name: what errors call it.
      cure: what errors say to do.

    Raises:
      UserError: there is no such file, or it is not parquet.
    """
    if not path.is_file():
        raise UserError(f"{name} does not exist; {cure}")
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{name} is not a parquet file: {error}; {cure}") from error


def is_list_of(kind: pa.DataType, value: pa.DataType) -> bool:
    """Whether a column's type is a list of such values, whatever its elements are called."""
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and kind.value_type == value

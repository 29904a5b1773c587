"""Files of one's own, in every format that a schema can name."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Columns = Mapping[str, Sequence[Any]]

# A format by the ending of its files, and what a schema says of them beside.
FORMATS = {
    "parquet": {},
    "csv": {},
    "csv.gz": {},
    "tsv": {},
    "dat": {"separator": "::", "names": ["user", "item", "time"]},
    "jsonl": {},
    "tfrecord": {},
    "tfrecord.gz": {},
}


def write(path: pathlib.Path, columns: Columns, names: Sequence[str] = (), separator: str = "") -> pathlib.Path:
    """Writes columns in the format of the path's ending; CSV with a header unless there are names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
    elif ".tfrecord" in path.name:
        _write_examples(path, rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = separator or ("\t" if ".tsv" in path.name else ",")
        content = _text(rows, [] if names else list(columns), separator).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def _text(rows: Sequence[Mapping[str, Any]], header: Sequence[str], separator: str) -> str:
    if len(separator) > 1:
        lines = [header, *(row.values() for row in rows)] if header else [row.values() for row in rows]
        return "".join(separator.join("" if cell is None else str(cell) for cell in line) + "\n" for line in lines)
    out = io.StringIO()
    tabs = {"quoting": csv.QUOTE_NONE, "quotechar": None} if separator == "\t" else {}  # TSV has no quotes
    writer = csv.writer(out, delimiter=separator, **tabs)
    writer.writerows([header, *(row.values() for row in rows)] if header else [row.values() for row in rows])
    return out.getvalue()


def _write_examples(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), "GZIP" if path.suffix == ".gz" else "") as writer:
        for row in rows:
            features = {name: _feature(value) for name, value in row.items() if value is not None}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def _feature(value: Any):
    import tensorflow as tf

    values = list(value) if isinstance(value, list | tuple) else [value]
    if isinstance(values[0], str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[each.encode() for each in values]))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def write_schema(path: pathlib.Path, schema: Mapping[str, Any]) -> pathlib.Path:
    """A schema file; JSON is YAML."""
    path.write_text(json.dumps(schema))
    return path

"""Small indexes written by hand, for tests of what reads them: the contract of `index/` in plain NumPy.

Slow and straightforward on purpose; it shares no code with beam_index.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from protos.artifact import new_artifact, read_manifest, write_manifest
from protos.index_pb2 import BlockTile, PostingList
from tests.support.exports import EXPORT_FORMAT

INDEX_FORMAT = "sparcode.index/3"


@dataclasses.dataclass(frozen=True)
class TinyIndexSpec:
    """What a hand-made index holds.

    Attributes:
      keys: code keys to index; None means all of the model's code space. Ready lists are all in it.
      postings_per_code: L; None means nothing is pruned.
      block: whether there is a completion block.
      tile_items: width of the block's tiles (4096 in indexes of beam_index).
    """

    keys: Sequence[int] | None = None
    postings_per_code: int | None = None
    block: bool = True
    tile_items: int = 16


def all_keys(model: dict) -> np.ndarray:
    """Every key of the model's code space."""
    return np.arange(model["num_slots"] * model["num_codewords"] ** model["num_codebooks"], dtype=np.int64)


def score_matrix(model_dir: pathlib.Path, keys: Sequence[int]) -> np.ndarray:
    """Scores `[C, I]` of the export's scorer, before bias and relu."""
    num_items = read_manifest(model_dir, EXPORT_FORMAT)["model"]["num_items"]
    scorer = tf.saved_model.load(str(model_dir / "scorer")).signatures["serving_default"]
    items = tf.range(num_items, dtype=tf.int32)
    return scorer(keys=tf.constant(keys, tf.int64), items=items)["scores"].numpy()


def posting_list(key: int, scores: np.ndarray, bias: float, limit: int) -> PostingList:
    """The best `limit` items of one code with S + bias > 0, the threshold taken off their scores."""
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    threshold = np.float32(-bias)
    if limit < len(order):
        threshold = max(threshold, scores[order[limit]])
    kept = [row for row in order[:limit] if scores[row] > threshold]
    return PostingList(key=key, threshold=threshold, items=kept, scores=[scores[row] - threshold for row in kept])


def ready_lists(model_dir: pathlib.Path, bias: float) -> list[PostingList]:
    """The ready lists of the export, as they are."""
    rows = pq.read_table(model_dir / "lists.parquet").to_pylist()
    return [PostingList(threshold=-bias, **row) for row in rows]


def block_tile(scores: np.ndarray, bias: float, first: int, width: int) -> BlockTile:
    """relu(S + bias) of one tile, 8 bits a value."""
    values = np.maximum(scores[:, first : first + width] + np.float32(bias), 0).astype(np.float32)
    offset = values.min(axis=1)
    scale = ((values.max(axis=1) - offset) / 255).astype(np.float32)
    safe = np.where(scale > 0, scale, 1)
    levels = np.where(scale[:, None] > 0, np.round((values - offset[:, None]) / safe[:, None]), 0)
    content = levels.astype(np.uint8).tobytes()
    return BlockTile(first_item=first, num_items=values.shape[1], offset=offset, scale=scale, values=content)


def _write(path: pathlib.Path, messages: Sequence[PostingList | BlockTile]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for message in messages:
            writer.write(message.SerializeToString())


def write_tiny_index(
    directory: pathlib.Path, model_dir: pathlib.Path, spec: TinyIndexSpec | None = None
) -> pathlib.Path:
    """Writes an index of the export at `model_dir`, its postings in two shards."""
    spec = spec or TinyIndexSpec()
    manifest = read_manifest(model_dir, EXPORT_FORMAT)
    model = manifest["model"]
    keys = sorted(all_keys(model).tolist() if spec.keys is None else spec.keys)
    scores = score_matrix(model_dir, keys)
    limit = spec.postings_per_code or model["num_items"]
    lists = [posting_list(key, row, model["bias"], limit) for key, row in zip(keys, scores, strict=True)]
    lists += ready_lists(model_dir, model["bias"])
    starts = range(0, model["num_items"], spec.tile_items)
    tiles = [block_tile(scores, model["bias"], first, spec.tile_items) for first in starts]
    with new_artifact(directory) as building:
        half = len(lists) // 2
        _write(building / "postings-00000-of-00002.tfrecord", lists[:half])
        _write(building / "postings-00001-of-00002.tfrecord", lists[half:])
        if spec.block:
            _write(building / "block-00000-of-00001.tfrecord", tiles)
        write_manifest(
            building,
            INDEX_FORMAT,
            model_fingerprint=manifest["fingerprint"],
            model=model,
            items=model["num_items"],
            codes=len(keys),
            ready_lists=len(lists) - len(keys),
            postings=sum(len(entry.items) for entry in lists),
            block={"bits": 8, "tile_items": spec.tile_items} if spec.block else None,
            options={"postings_per_code": spec.postings_per_code},
            versions={"tensorflow": tf.__version__},
        )
    return directory

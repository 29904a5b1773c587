"""From a log to a prepared directory."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import pickle
import shutil
from collections.abc import Sequence

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from protos.artifact import MANIFEST, new_artifact, write_manifest
from protos.beam.options import beam_options, quiet_beam
from protos.errors import UserError
from protos.lock import lock_writer
from trainer.data.interactions import Items
from trainer.data.prepare.arrange import PLACES, Arrange, counts_path, distinct_path, write_piece_names
from trainer.data.prepare.distinct import DistinctRows, joined_rows, read_rows, require_kinds
from trainer.data.prepare.options import PrepareOptions, own_names
from trainer.data.prepare.source import KnownSource, SchemaSource, source_of
from trainer.data.prepare.tasks import run_tasks
from trainer.data.prepare.vocabulary import Catalogue, make_catalogue
from trainer.data.prepare.write import Numbers, Write, numbers_path, read_counts, write_ids
from trainer.data.prepared import (
    EVENT_FEATURES,
    FORMAT,
    REMOVED,
    USER_FEATURES,
    Prepared,
    is_prepared,
    manifest_fields,
    read_prepared,
    write_catalogue,
    write_features,
)

_LOG = logging.getLogger(__name__)
_SCRATCH = ".scratch"
# Items counted exactly in any case: with fewer places a short catalogue would be one of chance, and they are cheap.
_COUNTED = 50_000


def prepare(options: PrepareOptions, beam_flags: Sequence[str] = ()) -> Prepared:
    """Writes the prepared directory `options.output`, whole or not at all.

    Args:
      options: see --help.
      beam_flags: for Apache Beam.

    Raises:
      UserError: an option, the data, or the output will not do.
    """
    quiet_beam()
    runner = beam_options(beam_flags, [*own_names(), "no_context"], "the preparation")
    _require_replaceable(options.output)
    source = source_of(options.data, options.context)
    with _unread(options.output), new_artifact(options.output.absolute()) as directory:
        prepared = _prepare(source, options, runner, directory)
        shutil.rmtree(directory / _SCRATCH)
        write_manifest(directory, FORMAT, **manifest_fields(prepared))
    return read_prepared(options.output)


def _prepare(
    source: SchemaSource | KnownSource, options: PrepareOptions, runner: PipelineOptions, directory: pathlib.Path
) -> Prepared:
    (directory / _SCRATCH).mkdir()
    scratch, shards = str(directory / _SCRATCH), options.num_shards or source.default_shards
    capacity = max(2 * options.max_items, _COUNTED)

    def run(tasks: list) -> list:
        return run_tasks(tasks, runner, options.progress)

    write_piece_names(scratch, source.scatter(scratch, shards, run))
    source.judge_users(run([Arrange(scratch, shard, options.split, capacity) for shard in range(shards)]))
    events, users = _distinct(source, scratch, shards, options.max_distinct)
    counts = (counts_path(scratch, shard).read_bytes() for shard in range(shards))
    catalogue = make_catalogue(counts, capacity, options.max_items, options.tail_buckets)
    _say(catalogue, options)
    items = _with_tail(source.items(catalogue.ids), catalogue.tail)
    write_ids(scratch, catalogue.ids)
    found = run([Write(scratch, shard, str(directory), shards, options.tail_buckets) for shard in range(shards)])
    counts = read_counts(scratch, shards)
    write_catalogue(directory, items, counts.rows)
    write_features(directory, EVENT_FEATURES, events.columns, counts.events)
    write_features(directory, USER_FEATURES, users.columns, counts.users)
    return Prepared(directory, source.name, options.split, "", source.declared, tuple(found), options.tail_buckets)


def _distinct(
    source: SchemaSource | KnownSource, scratch: str, shards: int, most: int
) -> tuple[DistinctRows, DistinctRows]:
    """The distinct rows of features of events and of users; which of them each partition's are is left for Write."""
    tables, numbers = {}, {}
    for place in PLACES:
        found = read_rows(distinct_path(scratch, place, shard) for shard in range(shards))
        tables[place], numbers[place] = joined_rows(found, place, most)
        require_kinds(tables[place], getattr(source.declared, place), place)
    events, users = (tables[place] for place in PLACES)
    for shard, of_partition in enumerate(zip(*numbers.values(), strict=True)):
        content = pickle.dumps(Numbers((events.count, users.count), *of_partition))
        numbers_path(scratch, shard).write_bytes(content)
    return events, users


def _say(catalogue: Catalogue, options: PrepareOptions) -> None:
    """Says what the catalogue leaves out."""
    if catalogue.left_out or catalogue.error:
        fate = "are hashed into the rows of the tail" if options.tail_buckets else "are left out (--tail_buckets)"
        bound = f"; counts are within {catalogue.error:,}" if catalogue.error else ""
        more = "or more " if catalogue.error else ""
        _LOG.warning(
            "the %d most frequent items have rows of their own; %d %sothers %s%s",
            *(len(catalogue.ids), catalogue.left_out, more, fate, bound),
        )


def _with_tail(items: Items, tail: tuple[str, ...]) -> Items:
    """The catalogue with the buckets' rows, marked as what is never recommended."""
    if not tail:
        return items
    features = {
        name: pa.concat_arrays([column, pa.nulls(len(tail), column.type)]) for name, column in items.features.items()
    }
    removed = pa.array([False] * len(items) + [True] * len(tail))
    genres = items.genres + ((),) * len(tail)
    return Items(items.item_id + tail, items.title + tail, genres, features | {REMOVED: removed})


def _unread(output: pathlib.Path) -> contextlib.AbstractContextManager:
    """While the block runs, nobody begins to read what is there and will be replaced; nobody is reading it now.

    Raises:
      UserError: a run is reading it, or another preparation is at work.
    """
    if not is_prepared(output):
        return contextlib.nullcontext()
    message = f"--output {output} is read by a run, or being prepared; wait for its end, or give another directory"
    return lock_writer(output / MANIFEST, message)


def _require_replaceable(output: pathlib.Path) -> None:
    """The output is replaced as a whole, so nothing but prepared data may stand there."""
    if output.exists() and not (output.is_dir() and (is_prepared(output) or not any(output.iterdir()))):
        raise UserError(f"--output {output} exists and holds no prepared data; give another directory, or remove it")

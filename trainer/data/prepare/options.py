"""The command line of the preparation."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

from protos.errors import UserError
from trainer.data.sources import DATA_HELP

MAX_SHARDS = 99_999  # names of shards have five digits
_MOST = 2**30
SPLITS = ("chronological", "leave_last_out")

DESCRIPTION = """\
Turns a log into a directory that `python -m trainer.task --data DIR` trains from without reading it into memory: users
as records in shards, split into training, validation and test, and the catalogue. It is for logs that are larger than
memory; of smaller ones, --data takes the schema itself, and both see the same sequences.

Memory is that of a batch of rows, of one of the shards, of the catalogue, and of what features of events and users make
in distinct rows, however many events there are. Items are counted in one pass: the most frequent --max_items have rows
of their own. All others are left out of training, or, with --tail_buckets, hashed into rows that they share: those say
something in a history and are never recommended.
"""
EPILOG = """\
Every other option goes to Apache Beam. By default the work is done in this process;
  --direct_running_mode=multi_processing --direct_num_workers=4   does it in four processes,
  --runner=FlinkRunner --flink_master=HOST:PORT                   on a cluster; its workers must see the files of the
                                                                  schema and --output by the same paths.
However the work is spread, the shards are the same, byte for byte.

examples:
  python -m trainer.data prepare --data shop.yaml --output prepared
  python -m trainer.data prepare --data shop.yaml --output prepared --max_items 100000 --tail_buckets 5000
  python -m trainer.task --data prepared --job-dir run --training.steps_per_epoch 5000
"""


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """The preparation's own options; see --help.

    `num_shards` is None where the size of the files decides. Without `context`, features of events and users are left
    out.
    """

    data: str
    output: pathlib.Path
    split: str = SPLITS[0]
    max_items: int = 1_000_000
    tail_buckets: int = 0
    num_shards: int | None = None
    max_distinct: int = 1_000_000
    context: bool = True
    progress: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (
            *(("max_items", 1, _MOST), ("tail_buckets", 0, _MOST)),
            *(("num_shards", 1, MAX_SHARDS), ("max_distinct", 1, _MOST)),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UserError(f"--{name} is {value:,}; expected {least} to {most:,}")
        if self.split not in SPLITS:
            raise UserError(f"--split {self.split!r} cannot be prepared; expected one of {', '.join(SPLITS)}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the preparation's own flags."""
    defaults = PrepareOptions("", pathlib.Path())
    parser.add_argument("--data", required=True, metavar="SOURCE", help=DATA_HELP)
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR", help="directory to write")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default=defaults.split,
        help="what is held out of each user: the last tenth and the tenth before it, or the last event and the one"
        " before it (default: %(default)s); training takes it as --data.split",
    )
    parser.add_argument(
        "--max_items",
        type=int,
        default=defaults.max_items,
        metavar="N",
        help="items with rows of their own, the most frequent ones (default: %(default)s). Counts are exact while there"
        " are no more than twice as many, or 50,000; of more, the rarest are estimated",
    )
    parser.add_argument(
        "--tail_buckets",
        type=int,
        default=defaults.tail_buckets,
        metavar="N",
        help="rows that all other items share by a hash of their id (default: %(default)s, they are unknown)",
    )
    parser.add_argument(
        "--num_shards", type=int, metavar="N", help="files of records; memory holds one (default: by the size of files)"
    )
    parser.add_argument(
        "--max_distinct",
        type=int,
        default=defaults.max_distinct,
        metavar="N",
        help="distinct rows that the features of events may make, and those of users: the model holds each of them, and"
        " more are an error (default: %(default)s)",
    )
    parser.add_argument(
        "--no_context",
        dest="context",
        action="store_false",
        help="leave out the features of events and users; those of items are kept",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show progress on standard error: a bar on a terminal, elsewhere a line now and then (default: yes)",
    )


def options_of(arguments: argparse.Namespace) -> PrepareOptions:
    """The options that flags made by `add_flags` say.

    Raises:
      UserError: a value is out of range.
    """
    return PrepareOptions(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(PrepareOptions)}
    )


def own_names() -> Sequence[str]:
    """Names of the preparation's own options."""
    return [field.name for field in dataclasses.fields(PrepareOptions)]

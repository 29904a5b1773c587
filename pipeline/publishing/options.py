"""What is to be published, from what and whereto: checked before any work."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

from beam_index.options import parse as parse_index_flags
from beam_index.options import require_share
from protos.command_line import CommandParser
from protos.errors import UserError
from trainer import config as configuration
from trainer.config import Config
from trainer.data.sources import DATA_HELP

_LEAST_KEPT = 2
_OURS = ("model", "output", "base_index")  # flags of the index build that the run itself gives


@dataclasses.dataclass(frozen=True)
class PublishOptions:
    """See --help. `config` is the model's, `index_flags` are those of the index build and of Beam."""

    data: str
    work_dir: pathlib.Path
    to: str
    keep: int
    protect: tuple[int, ...]
    version: int | None
    min_fidelity: float
    min_ndcg: float
    sums: str
    warm_start: bool
    dry_run: bool
    config: Config
    index_flags: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.keep < _LEAST_KEPT:
            raise UserError(
                f"--keep is {self.keep}; expected {_LEAST_KEPT} or more: the newest version, and one to go back to"
            )
        if self.version is not None and self.version < 1:
            raise UserError(f"--version is {self.version}; expected 1 or more")
        require_share(self.min_fidelity)
        if not 0 <= self.min_ndcg <= 1:
            raise UserError(f"--min_ndcg is {self.min_ndcg:g}; expected 0 (only report) to 1")
        if self.warm_start and self.config.training.warm_start:
            raise UserError("--warm_start and --training.warm_start say two things; leave one of them out")
        given = [flag for flag in self.index_flags if flag.partition("=")[0].replace("-", "_")[2:] in _OURS]
        if given:
            raise UserError(f"{given[0]} cannot be given: each run has a model and an index of its own")
        fields = [flag for flag in self.index_flags if flag.startswith("--") and "." in flag.partition("=")[0]]
        if fields:  # Beam would take it for something of its own
            raise UserError(f"{fields[0]} is no field of the configuration; --help lists them")
        index, _ = parse_index_flags(["--model=model", "--output=index", *self.built_with])
        if self.sums == "completed" and not index.block:
            raise UserError("--no_block leaves out what --sums completed needs; add --sums sparse or --sums rescored")

    @property
    def built_with(self) -> tuple[str, ...]:
        """All flags of the index build that say what the index is."""
        return (*self.index_flags, f"--min_fidelity={self.min_fidelity:g}")


def parse(argv: Sequence[str]) -> PublishOptions:
    """The options of a command line.

    Raises:
      UserError: a value is out of range, or nobody knows an option.
    """
    known, index_flags = _parser().parse_known_args(argv)
    names = {field.name for field in dataclasses.fields(PublishOptions)} - {"config", "index_flags"}
    own = {name: value for name, value in vars(known).items() if name in names}
    return PublishOptions(**own, config=configuration.from_flags(known), index_flags=tuple(index_flags))


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [number.strip() for number in text.split(",") if number.strip()]
    if wrong := [number for number in numbers if not number.isdecimal()]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not a version; expected numbers, as in 12,14")
    return tuple(map(int, numbers))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m pipeline.publish",
        description="Trains on a log of interactions, builds the index, exports the servable, asks it, and publishes it"
        " as the next version, all of it or nothing; then removes versions beyond the last few.",
        epilog="""\
Options that are not listed here go to the index build, and what that does not know, to Beam (--runner=FlinkRunner).
Run the same command again after it was stopped: it goes on where it was.

examples:
  python -m pipeline.publish --data shop.yaml --work_dir work --to published --dry-run
  python -m pipeline.publish --data shop.yaml --work_dir work --to published --keep 5
  python -m pipeline.publish --data shop.yaml --work_dir work --to s3://BUCKET/shop --warm_start --protect 12
""",
    )
    parser.add_argument(
        "--data",
        required=True,
        help=DATA_HELP,
    )
    parser.add_argument(
        "--work_dir", required=True, type=pathlib.Path, help="gets runs/: one at a time is at work in it"
    )
    parser.add_argument(
        "--to", required=True, metavar="PATH_OR_URL", help="where versions are: a directory, gs://... or s3://..."
    )
    parser.add_argument("--version", type=int, help="number of the version (default: one above the largest there)")
    parser.add_argument(
        "--keep", type=int, default=5, help="versions to keep, the newest (default %(default)s); at least 2"
    )
    parser.add_argument(
        "--protect",
        type=_numbers,
        default=(),
        metavar="V,...",
        help="versions that are never removed: those that a Deployment is pinned to",
    )
    parser.add_argument(
        "--min_fidelity",
        type=float,
        default=0.9,
        help="least overlap of the index's 50 best answers with those of exact scoring (default %(default)s)",
    )
    parser.add_argument(
        "--min_ndcg",
        type=float,
        default=0.0,
        help="least NDCG@50 of the served answers on the test split (default: only report)",
    )
    parser.add_argument(
        "--sums",
        choices=["sparse", "completed", "rescored"],
        default="completed",
        help="how the servable makes scores, see serving.export (default %(default)s)",
    )
    parser.add_argument(
        "--warm_start", action="store_true", help="start from the weights of the last published run in --work_dir"
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="check what can be checked, say what would be done, and do nothing",
    )
    configuration.add_flags(parser)
    return parser

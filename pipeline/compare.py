"""`python -m pipeline.compare`: SparCode and what it must beat, on one data set, under one budget."""

from __future__ import annotations

import argparse
import pathlib
import shlex
import time
from collections.abc import Sequence

from pipeline.comparison import report
from pipeline.comparison.contenders import MODELS, Run, parse_models, parse_seeds, parse_variations, runs
from pipeline.comparison.measuring import SELECTED_BY, Bench, execute
from pipeline.comparison.picture import require_matplotlib
from pipeline.comparison.store import Store
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from trainer import config as configuration
from trainer import workers
from trainer.data.sources import DATA_HELP

_DESCRIPTION = """\
Trains models on one data set under one budget, ranks the whole catalogue for every test user, and
writes what came out: compare.md (a table, to read), compare.csv, compare.json and compare.png.

A user's last events are hidden; a model that ranks them high scores high. NDCG@50 and Recall@50 look at
the first 50 items, HR@10 and NDCG@10 at the first 10; 1 is perfect, and no item that the user has seen
competes. Validation chooses epochs and the baselines' settings, test users only judge.

models:
"""
_EPILOG = """\
examples:
  # Something to look at in a few minutes, without any data at hand:
  python -m pipeline.compare --data synthetic --output build/compare \\
      --models popularity,two_tower,sparcode --seeds 0 --training.epochs 8

  # Everything, three seeds each:
  python -m pipeline.compare --data path/to/ml-latest-small --output build/compare

  # Does SparCode get better with another gradient, or with shorter lists in its index?
  python -m pipeline.compare --data path/to/ml-latest-small --output build/compare --models sparcode \\
      --vary quantizer.gradient=rotation,commit_only --vary index.postings_per_code=100,300

Every finished run is kept in OUTPUT/runs. Stopped? The same command goes on from there. Models, seeds and
variations may be added later; data and configuration must stay the same.
"""


def _parser() -> argparse.ArgumentParser:
    models = "".join(f"  {name:<20} {text}\n" for name, text in MODELS.items())
    parser = CommandParser(
        prog="python -m pipeline.compare",
        description=_DESCRIPTION + models,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--data",
        required=True,
        help=DATA_HELP,
    )
    parser.add_argument("--output", required=True, type=pathlib.Path, help="directory for the results and the runs")
    parser.add_argument("--models", default=",".join(MODELS), help="names with commas between (default: all of them)")
    parser.add_argument(
        "--seeds", default="0,1,2", help="one training each of every model that is trained (default: %(default)s)"
    )
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="SECTION.FIELD=V1,V2",
        help="sparcode once more for each value of this one field; may be given several times, each list by itself."
        " index.postings_per_code changes the index only and trains nothing",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="runs side by side, each on a share of the cores (default: %(default)s)",
    )
    configuration.add_flags(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Compares as the flags say."""
    start = time.perf_counter()
    arguments = _parser().parse_args(argv)
    bench, planned = _prepare(arguments)
    print(f"{bench.interactions.summary()}\n{bench.parts.summary()}", flush=True)
    bench.store.claim(bench.interactions, bench.config)
    _finish(planned, bench, arguments.jobs)
    finished = [bench.store.finished(run) for run in planned]
    about = report.Circumstances(
        data=bench.interactions.summary(),
        split=bench.parts.summary(),
        queries=len(bench.parts.queries("test")),
        command=f"python -m pipeline.compare {shlex.join(argv)}",
        seconds=time.perf_counter() - start,
        run_seconds=sum(run.seconds for run in finished),
    )
    measured = [one for run in finished for one in run.measured]
    print(f"\n{report.write(measured, about, arguments.output)}\n\nall of it in {arguments.output / 'compare.md'}")


def _prepare(arguments: argparse.Namespace) -> tuple[Bench, list[Run]]:
    """What is compared on, and the runs asked for; whatever is wrong with the flags is found here."""
    if arguments.jobs < 1:
        raise UserError(f"--jobs is {arguments.jobs}; expected at least 1")
    if getattr(arguments, "training.seed") is not None:
        raise UserError("--training.seed: a comparison trains every model with each of --seeds; give that")
    config = configuration.from_flags(arguments)
    models = parse_models(arguments.models)
    variations = parse_variations(arguments.vary, config)
    if variations and "sparcode" not in models:
        raise UserError(f"--vary changes sparcode, which --models {arguments.models} leaves out; add it")
    if "sparcode" in models and config.quantizer.structure == "none":
        raise UserError(
            "quantizer.structure is 'none': no index can serve tokens without codes; that model is all_to_all"
        )
    require_matplotlib()
    bench = Bench(arguments.data, config, Store(arguments.output))
    return bench, runs(models, parse_seeds(arguments.seeds), variations)


def _finish(planned: Sequence[Run], bench: Bench, jobs: int) -> None:
    """Executes the runs that are not finished yet."""
    tasks = []
    for number, run in enumerate(planned, start=1):
        label = f"[{number}/{len(planned)}] {run}"
        if bench.store.finished(run):
            print(f"{label}: finished before, kept", flush=True)
        else:
            tasks.append((run, bench, label))
    for needs_another in (False, True):
        workers.run_all(_run, [task for task in tasks if task[0].needs_another == needs_another], jobs)


def _run(run: Run, bench: Bench, label: str) -> None:
    """Executes one run and says so, in whichever process."""
    print(f"{label}: started ({MODELS[run.model]})", flush=True)
    execute(run, bench)
    measured, seconds = bench.store.finished(run)
    scores = ", ".join(f"{one.row[SELECTED_BY]:.4f}" for one in measured)
    print(f"{label}: done in {seconds:.0f} s, NDCG@50 on test {scores}", flush=True)


if __name__ == "__main__":
    run_cli(main)

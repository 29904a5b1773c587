"""`python -m trainer.tune`: searches a space of configurations and writes the best one as a preset."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from protos.artifact import write_whole, writing
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from trainer import config as configuration
from trainer.config import PRESETS, Config
from trainer.data.sources import DATA_HELP
from trainer.task import MODELS
from trainer.training_data import TrainingData
from trainer.tune import results, trial
from trainer.tune.progress import Report
from trainer.tune.search import FINALISTS, Plan, Search
from trainer.tune.space import SPACES, read_space
from trainer.tune.store import Store

_DESCRIPTION = f"""\
Trains a model with one configuration after another, each chosen by what came of those before (Optuna, TPE), and
writes the best one as a preset. A configuration is judged by NDCG@50 on validation; test events are never looked at.

The space is a YAML file: fields of the configuration with the values they may take.
  training.learning_rate: {{low: 0.0005, high: 0.01, log: true}}
  tokenizer.num_blocks: {{low: 1, high: 3}}
  tokenizer.dim: {{choices: [32, 64, 128]}}
All other fields are those of --config and of the flags over it. The first trial is that configuration itself, where it
is in the space. Trials that fall behind most others at the same epoch are ended; only epochs before k-means places the
codewords are compared, since each trial comes to them at an epoch of its own. With --seeds, the best {FINALISTS} are
trained with other seeds too, and the best mean wins, so that it is not luck.

DIR gets best.yaml (the preset), trials.csv (a line a trial), trials/ (the run of each; TensorBoard reads it; the
best {FINALISTS} keep their checkpoints) and search.db (what Optuna knows). Stopped or killed, the same command goes on,
even in the middle of a trial; a larger --trials goes further.
"""
_EPILOG = """\
examples:
  # Fifty trials of SparCode, the best few with three seeds each, two trainings at a time:
  python -m trainer.tune --data path/to/ml-latest-small --output build/search --trials 50 --seeds 3 --jobs 2

  # A space of one's own, for one night; then the whole run with what was found:
  python -m trainer.tune --data shop.yaml --output build/search --space mine.yaml --trials 1000 --hours 8
  python -m trainer.task --data shop.yaml --job-dir run --config build/search/best.yaml
"""


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m trainer.tune",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR", help="directory of the search")
    parser.add_argument("--model", choices=MODELS, default="sparcode", help="what is trained (default: %(default)s)")
    parser.add_argument(
        "--space",
        type=pathlib.Path,
        metavar="FILE",
        help="YAML file of what is searched (default: by --model, one of trainer/presets/spaces)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=50,
        metavar="N",
        help="trials in all, those made before counted (default: %(default)s)",
    )
    parser.add_argument(
        "--hours", type=float, metavar="H", help="no trial begins after so many hours of this call (default: no end)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="J",
        help="trainings side by side, each on a share of the cores (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="S",
        help=f"trainings of each of the best {FINALISTS} (default: %(default)s)",
    )
    parser.add_argument(
        "--preset-name",
        metavar="NAME",
        help="also write the best one among the package's presets: --config NAME",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check data, space and configuration, say what would be done, and do nothing",
    )
    configuration.add_flags(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Searches as the flags say."""
    arguments = _parser().parse_args(argv)
    plan, store = _plan(arguments), Store(arguments.output)
    preset = _preset(arguments.preset_name)
    data = trial.data(plan.source, plan.base.data.split)
    judges = len(data.validation(plan.base))  # what this refuses, it refuses before any work
    print(f"{plan.source}: {len(data.catalogue):,} items; {judges:,} queries of validation judge a trial", flush=True)
    asked = _asked(plan, data)
    if arguments.dry_run:
        store.require_same(asked, Config().flat())
        print(_forecast(plan, store, data))
        return
    with store.locked():
        store.require_same(asked, Config().flat())
        store.claim(asked)
        _search(plan, store, preset)


def _search(plan: Plan, store: Store, preset: pathlib.Path | None) -> None:
    """Makes the trials, then writes and prints what came of them."""
    with Report(plan, store) as report:
        search = Search(plan, store, report)
        report.begin(search.study)
        search.run()
    study = search.study
    best = next(iter(results.ranked(study)), None)
    if best is None:
        raise UserError(
            f"no trial ran to its end; {store.directory / 'trials.csv'} says why; try more --trials or --hours"
        )
    text = results.best_preset(study, plan, best)
    for path in filter(None, (store.directory / "best.yaml", preset)):
        with writing(path):
            write_whole(path, text)
    results.write_trials(study, plan, store.directory / "trials.csv")
    print(f"\n{results.table(study, plan)}\n\nthe best is trial {best.number}: {store.directory / 'best.yaml'}")
    if preset:
        print(f"and --config {preset.stem}")


def _plan(arguments: argparse.Namespace) -> Plan:
    """What the flags ask for, checked as far as it can be without data."""
    for flag in ("trials", "jobs", "seeds"):
        if getattr(arguments, flag) < 1:
            raise UserError(f"--{flag} is {getattr(arguments, flag)}; expected at least 1")
    if arguments.hours is not None and not arguments.hours > 0:
        raise UserError(f"--hours is {arguments.hours:g}; expected more than 0")
    base = configuration.from_flags(arguments)
    default = SPACES / ("sparcode.yaml" if arguments.model == "sparcode" else "baseline.yaml")
    space = read_space(arguments.space or default, base)
    return Plan(
        arguments.data, arguments.model, base, space, arguments.trials, arguments.hours, arguments.jobs, arguments.seeds
    )


def _preset(name: str | None) -> pathlib.Path | None:
    """Where the preset of a name is to be; one that no search has written is not written over."""
    if name is None:
        return None
    if not name.replace("-", "_").isidentifier():
        raise UserError(f"--preset-name is {name!r}; expected letters, digits, - and _")
    path = PRESETS / f"{name}.yaml"
    if path.exists() and not path.read_text().startswith(results.HEADER):
        raise UserError(f"--preset-name {name}: there is a preset of that name ({path}); choose another")
    return path


def _asked(plan: Plan, data: TrainingData) -> dict[str, Any]:
    """What makes a search the same: another of any of these is another search."""
    space = {f"space of {name}": of for name, of in plan.space.as_json().items()}
    return {"data": data.checksum(_filled(plan.base, data)), "model": plan.model, **space, **plan.base.flat()}


def _filled(config: Config, data: TrainingData) -> Config:
    return dataclasses.replace(config, features=config.features.filled(data.declared))


def _forecast(plan: Plan, store: Store, data: TrainingData) -> str:
    """What a search would do, in lines."""
    done = sum(one.state.is_finished() for one in store.finished())
    steps = plan.base.training.steps_per_epoch or data.batches(_filled(plan.base, data)).steps
    ends = f", none begun after {plan.hours:g} hours" if plan.hours else ""
    return "\n".join(
        (
            f"would make {max(0, plan.trials - done)} trials of {plan.model} ({done} of {plan.trials} are done){ends}",
            f"as configured, a trial has at most {plan.base.training.epochs} epochs of {steps:,} steps",
            *(f"  {name}: {results.described(of)}" for name, of in plan.space.fields.items()),
            f"would write best.yaml, trials.csv, search.db and trials/ in {store.directory}; nothing is written now",
        )
    )


if __name__ == "__main__":
    run_cli(main)

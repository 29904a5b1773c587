"""`python -m pipeline.demo`: the whole path on one machine, from interactions to gRPC answers, measured."""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from pipeline.served import ServedRanker
from pipeline.stages import Stages
from pipeline.steps import build_index, export_servable, served
from protos.command_line import CommandParser
from protos.errors import run_cli
from trainer import config as configuration
from trainer.baselines import Popularity
from trainer.config import Config
from trainer.data import load
from trainer.data.download import fetch_movielens
from trainer.data.interactions import Interactions
from trainer.data.sources import DATA_HELP
from trainer.data.splits import Split, split
from trainer.evaluation import evaluate
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.task import Trained, export_trained, train
from trainer.two_tower import TwoTower

TABLE = {
    "popularity": "popularity",
    "two_tower": "two-tower, dot product, exhaustive",
    "sparcode": "SparCode, unpruned",
    "sparcode_served": "SparCode, served (completed sums)",
    "sparcode_served_sparse": "SparCode, served (sparse sums)",
    "sparcode_served_rescored": "SparCode, served (rescored sums)",
}
COLUMNS = ("recall@50", "ndcg@50", "hr@10")
SERVED = {
    "sparcode_served": "completed",
    "sparcode_served_sparse": "sparse",
    "sparcode_served_rescored": "rescored",
}
_JOBS = ("two_tower", "sparcode")
_SHOWN_USERS = 3
_SHOWN_ITEMS = 5
_TIMED_REQUESTS = 300
_QUICK = {
    "training": {"epochs": 8, "validate_every": 2},
    "quantizer": {"warmup_epochs": 2, "num_codewords": 32},
    "tokenizer": {"dim": 32},
}


def read_data(source: str | None) -> Interactions:
    """The data asked for; else ml-latest-small from the network; else, offline, a synthetic set."""
    if source:
        return load(source)
    directory = fetch_movielens()
    if directory is None:
        print("   ml-latest-small cannot be downloaded here: using a SYNTHETIC data set instead")
        return load("synthetic")
    return load(str(directory))


def show_users(parts: Split, ranker: ServedRanker, count: int) -> None:
    """Prints what some users saw last beside what is recommended to them."""
    catalogue = parts.catalogue
    titles = dict(zip(catalogue.item_id, catalogue.title, strict=True))
    queries = parts.queries("test")
    picked = [len(queries.histories) * place // count for place in range(count)]
    for place in picked:
        history = [catalogue.item_id[row] for row in queries.histories[place]]
        answers = ranker.answers(queries.histories[place : place + 1])
        print(f"\n   user {parts.user_ids[queries.users[place]]}")
        print(f"   {'saw last':<45}   recommended")
        last = [titles[item] for item in history[::-1][:_SHOWN_ITEMS]]
        last += [""] * (_SHOWN_ITEMS - len(last))
        valid = answers["valid"][0]
        for seen, item, score in zip(last, answers["item_ids"][0][valid], answers["scores"][0][valid], strict=False):
            print(f"   {seen[:45]:<45}   {titles[item.decode()][:45]:<45} {score:8.3f}")


def table(rows: dict[str, dict[str, float]]) -> str:
    """The demo's table as text."""
    lines = [f"   {'':<38}" + "".join(f"{column:>11}" for column in COLUMNS)]
    for name, label in TABLE.items():
        lines.append(f"   {label:<38}" + "".join(f"{rows[name][column]:>11.4f}" for column in COLUMNS))
    return "\n".join(lines)


class Demo:
    """One run of the demo; each method is a stage that adds to `metrics`."""

    def __init__(self, interactions: Interactions, config: Config, output: pathlib.Path, stages: Stages) -> None:
        self.config, self.output, self.stages = config, output, stages
        self.parts = split(interactions, config.data.split)
        self.queries = self.parts.queries("test")
        self.metrics: dict[str, Any] = {"data": interactions.name, "rows": {}}

    def _score(self, name: str, ranker) -> None:
        means = evaluate(ranker, self.queries, progress="asking").means()
        self.metrics["rows"][name] = {column: round(means[column], 6) for column in COLUMNS}

    def baselines(self) -> None:
        """Popularity, and a two-tower model with the same encoder and budget."""
        with self.stages.stage("popularity"):
            self._score("popularity", Popularity.fit(self.parts))
        with self.stages.stage("train two-tower"):
            tower = self._train("two_tower", TwoTower)
        with self.stages.stage("evaluate two-tower"):
            self._score("two_tower", ModelRanker(tower.model))

    def _train(self, name: str, kind: type) -> Trained:
        trained = train(self.parts, self.config, self.output / name, kind)
        print(f"   {trained}")
        return trained

    def train_sparcode(self) -> pathlib.Path:
        """Trains, evaluates and exports SparCode; returns the export."""
        with self.stages.stage("train SparCode"):
            trained = self._train("sparcode", SparCode)
        with self.stages.stage("evaluate SparCode, unpruned"):
            self._score("sparcode", ModelRanker(trained.model))
        with self.stages.stage("export model"):
            return export_trained(trained, self.parts, self.output / "sparcode" / "export")

    def index(self, export_dir: pathlib.Path) -> pathlib.Path:
        """Builds the index; returns it."""
        index_dir = self.output / "index"
        with self.stages.stage("build index"):
            report = build_index(export_dir, index_dir)
            print(textwrap.indent(str(report), "   "))
        self.metrics["index_bytes"] = report.total_bytes
        self.metrics |= {name: report.manifest[name] for name in ("postings", "codes")}
        return index_dir

    def serve(self, export_dir: pathlib.Path, index_dir: pathlib.Path) -> None:
        """Exports, serves and evaluates each way of making sums through gRPC."""
        for name, sums in SERVED.items():
            base = self.output / "servable" / sums
            with self.stages.stage(f"export servable ({sums})"):
                export_servable(export_dir, index_dir, base, sums)
            with (
                self.stages.stage(f"evaluate through the served model ({sums})"),
                served(base, self.parts) as ranker,
            ):
                self._score(name, ranker)
                if name == "sparcode_served":
                    self.metrics["unknown_code_rate"] = round(ranker.unknown_code_rate, 6)
                    self.metrics["p50_ms"] = round(
                        ranker.median_latency_ms(self.queries.histories[:_TIMED_REQUESTS]), 3
                    )
                    show_users(self.parts, ranker, _SHOWN_USERS)


def run(interactions: Interactions, config: Config, output: pathlib.Path, stages: Stages) -> dict[str, Any]:
    """Runs all stages afresh and returns the metrics, also written to `output/metrics.json`."""
    for name in (*_JOBS, "index", "servable"):
        shutil.rmtree(output / name, ignore_errors=True)
    demo = Demo(interactions, config, output, stages)
    demo.baselines()
    export_dir = demo.train_sparcode()
    demo.serve(export_dir, demo.index(export_dir))
    metrics = {**demo.metrics, "seconds": stages.seconds}
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return metrics


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m pipeline.demo",
        description="Trains SparCode and its baselines, builds the index, serves it, and measures what is served: the"
        " whole path in one command. Users' last events are hidden, and the model that ranks them best is the best.",
        epilog="examples:\n  python -m pipeline.demo --data path/to/ml-latest-small --output build/demo\n"
        "  python -m pipeline.demo --data synthetic --quick   # no data at hand, a few minutes",
    )
    parser.add_argument(
        "--data",
        help=DATA_HELP,
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("build/demo"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small model and few epochs: shows the path, not its best"
    )
    configuration.add_flags(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Runs the demo as the flags say."""
    arguments = _parser().parse_args(argv)
    config = configuration.from_flags(arguments, _QUICK if arguments.quick else None)
    stages = Stages()
    with stages.stage("read data"):
        interactions = read_data(arguments.data)
        print(f"   {interactions.summary()}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    metrics = run(interactions, config, arguments.output, stages)
    print(f"\n{table(metrics['rows'])}\n")
    print(
        f"   index {metrics['index_bytes'] / 1e6:.1f} MB, {metrics['postings']} postings in {metrics['codes']} lists;"
        f" unknown codes {metrics['unknown_code_rate']:.2%}; median latency {metrics['p50_ms']:.1f} ms"
    )
    print(f"   total {sum(stages.seconds.values()):.0f} s; all figures in {arguments.output / 'metrics.json'}")


if __name__ == "__main__":
    run_cli(main)

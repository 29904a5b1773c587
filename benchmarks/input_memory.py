"""`python -m benchmarks.input_memory`: most memory and seconds of preparing and training at N and 10 N events.

The log is made here: users of 50 events each among a fixed catalogue, popularity by Zipf, in Parquet shards by time.
Prepared data is trained by streaming; beside it, the same schema is read into memory and trained.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.processes import in_process
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli

_ITEMS, _EVENTS_A_USER, _SHARD_EVENTS = 5_000, 50, 250_000
_MIB = 1024
_TRAINING = {
    "tokenizer": {"dim": 16},
    "quantizer": {"num_codewords": 32, "warmup_epochs": 1},
    "memory": {"max_items": 1024},
    "training": {"epochs": 3, "steps_per_epoch": 100, "validate_every": 1, "validation_users": 1000},
}


def measured(function: Callable[..., None], *arguments: Any) -> dict[str, float]:
    """Runs a function in a process of its own: its seconds, and the most memory of the process in MiB."""
    return in_process(_measure, function, arguments)


def _measure(function: Callable[..., None], arguments: Sequence[Any]) -> dict[str, float]:
    start = time.perf_counter()
    function(*arguments)
    return {"seconds": time.perf_counter() - start, "peak_mib": _peak_kib() / _MIB}


def _peak_kib() -> int:
    """Of this process since it began; getrusage would count that of its parent, which had to start it."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def write_log(directory: pathlib.Path, events: int) -> None:
    """Writes a log and its schema, `log.yaml`; no user has an item twice more often than chance will have it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    (directory / "log").mkdir(parents=True)
    rng = np.random.default_rng(events)
    popularity = 1.0 / np.arange(10, _ITEMS + 10)
    for shard, first in enumerate(range(0, events, _SHARD_EVENTS)):
        count = min(_SHARD_EVENTS, events - first)
        columns = {
            "user": rng.integers(0, events // _EVENTS_A_USER, count),
            "item": rng.choice(_ITEMS, count, p=popularity / popularity.sum()),
            "time": 1_600_000_000 + np.arange(first, first + count),
        }
        pq.write_table(pa.table(columns), directory / "log" / f"part-{shard:05d}.parquet")
    (directory / "log.yaml").write_text("interactions: {files: log, user: user, item: item, time: time}\n")


def _prepare(directory: pathlib.Path) -> None:
    from trainer.data.__main__ import main

    main(["prepare", "--data", str(directory / "log.yaml"), "--output", str(directory / "prepared")])


def _train_streaming(directory: pathlib.Path) -> None:
    from trainer.data.prepared import read_prepared
    from trainer.prepared_data import PreparedData

    _train(PreparedData(read_prepared(directory / "prepared")), directory / "streaming")


def _train_in_memory(directory: pathlib.Path) -> None:
    from trainer.data import load, split

    _train(split(load(directory / "log.yaml")), directory / "in_memory")


def _train(data: Any, job_dir: pathlib.Path) -> None:
    from trainer import task
    from trainer.config import from_mapping

    trained = task.train(data, from_mapping(_TRAINING, "benchmark"), job_dir)
    task.export_trained(trained, data, job_dir / "export")


def figures_of(events: int, in_memory: bool) -> dict[str, Any]:
    """Of a log of so many events: each step's seconds and most memory."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        in_process(write_log, directory, events)
        steps = {"prepare": _prepare, "train_streaming": _train_streaming}
        if in_memory:
            steps["train_in_memory"] = _train_in_memory
        found = {"events": events}
        for name, step in steps.items():
            found[name] = measured(step, directory)
            print(json.dumps({"events": events, name: found[name]}), flush=True)
        return found


def main(argv: Sequence[str]) -> None:
    """Measures both sizes, prints the figures, and writes them if asked."""
    parser = CommandParser(
        prog="python -m benchmarks.input_memory",
        description=__doc__,
        epilog="example: python -m benchmarks.input_memory --json memory.json",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go too")
    parser.add_argument("--events", type=int, default=1_000_000, help="N (default %(default)s)")
    parser.add_argument(
        "--largest_in_memory",
        type=int,
        default=10_000_000,
        metavar="N",
        help="largest log that is read into memory for comparison (default %(default)s)",
    )
    arguments = parser.parse_args(argv)
    if arguments.events < _SHARD_EVENTS:
        raise UserError(f"--events is {arguments.events:,}; expected {_SHARD_EVENTS:,} or more")
    sizes = [arguments.events, 10 * arguments.events]
    found = [figures_of(events, events <= arguments.largest_in_memory) for events in sizes]
    steps = [name for name in found[1] if name != "events"]
    growth = {name: found[1][name]["peak_mib"] / found[0][name]["peak_mib"] for name in steps}
    figures = {"sizes": found, "peak_growth": growth}
    print(json.dumps({"peak_growth": growth}), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    run_cli(main)

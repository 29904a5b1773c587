"""`python -m benchmarks.index_build`: what an index costs to build, to prune, to compress and to keep fresh."""

from __future__ import annotations

import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import exports
from benchmarks.processes import in_process
from protos.command_line import CommandParser
from protos.errors import run_cli

_DIM, _CODES, _CANDIDATES = 64, 4096, 4096
_MIB = 1024


def measured(argv: Sequence[str]) -> dict[str, Any]:
    """Builds in a process of its own: seconds of the build, pairs scored, postings, bytes, most memory."""
    return in_process(_build, list(argv))


def _build(argv: list[str]) -> dict[str, Any]:
    from beam_index.build import run_here

    report = run_here(["--no-progress", "--quality_queries=0", *argv])
    return {
        "seconds": report.seconds,
        "exact_pairs": report.pairs,
        "postings": report.manifest["postings"],
        "posting_bytes": sum(
            file["bytes"] for name, file in report.manifest["files"].items() if name.startswith("postings")
        ),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB,
    }


def gemm_fraction(work: pathlib.Path, items: int, repeats: int, **scorer: int) -> dict[str, float]:
    """The scorer's arithmetic rate over a whole build, from model to files, against that of plain matrix products."""
    model = in_process(_random, work / f"random-{items}-{'-'.join(map(str, scorer.values()))}", items, scorer)
    flops = json.loads((model / "manifest.json").read_text())["model"]["flops"]
    total = _CODES * flops["per_code"] + items * flops["per_item"] + _CODES * items * flops["per_pair"]
    hidden, inner = scorer.get("hidden", 8), 4 * scorer.get("product_dim", 8)
    found = []
    for _ in range(repeats):  # each build between two measurements of its peer: the machine is shared
        before = in_process(_gemm, inner, hidden, flops["per_pair"])
        build = measured(["--model", str(model), "--output", str(work / "index")])
        after = in_process(_gemm, inner, hidden, flops["per_pair"])
        found.append((total / build["seconds"] / ((before + after) / 2), build["seconds"], build["peak_mib"]))
    fraction, seconds, peak = (statistics.median(values) for values in zip(*found, strict=True))
    return {"fraction": fraction, "seconds": seconds, "peak_mib": peak, "flops_a_pair": flops["per_pair"]}


def _random(directory: pathlib.Path, items: int, scorer: dict[str, int]) -> pathlib.Path:
    return exports.random_export(directory, items, _CODES, **scorer)


def _trained(directory: pathlib.Path, items: int) -> pathlib.Path:
    return exports.trained_export(directory, items, _CODES)


def _gemm(inner: int, hidden: int, pair_flops: float) -> float:
    from beam_index.saved_model import one_thread_per_op
    from benchmarks.gemm import gemm_rate

    one_thread_per_op()
    return gemm_rate(_DIM, inner, hidden, pair_flops)


def growth(work: pathlib.Path, sizes: Sequence[int], *options: str) -> list[dict[str, Any]]:
    """Builds of growing catalogues without a block."""
    rows = []
    for items in sizes:
        model = in_process(_random, work / f"random-{items}-", items, {})
        build = measured(["--model", str(model), "--output", str(work / "index"), "--no_block", *options])
        rows.append({"items": items, **{name: build[name] for name in ("seconds", "exact_pairs", "peak_mib")}})
        print(f"  {rows[-1]}", flush=True)
    return rows


def pruning(work: pathlib.Path, model: pathlib.Path) -> dict[str, float]:
    """How many fewer pairs a pruned build scores, and the share of the exact lists' scores that it keeps."""
    fixed = ["--model", str(model), "--no_block", "--score_bits=32"]
    exact = measured([*fixed, "--output", str(work / "exact")])
    pruned = measured([*fixed, "--output", str(work / "pruned"), f"--candidates={_CANDIDATES}"])
    return {
        "pruned_fewer": exact["exact_pairs"] / pruned["exact_pairs"],
        "kept_mass": in_process(_kept_mass, work / "exact", work / "pruned"),
        "exact_seconds": exact["seconds"],
        "pruned_seconds": pruned["seconds"],
    }


def _kept_mass(exact: pathlib.Path, pruned: pathlib.Path) -> float:
    from beam_index.reader import posting_lists

    kept = total = 0.0
    for one, other in zip(posting_lists(exact), posting_lists(pruned), strict=True):
        kept += float(one.scores[np.isin(one.items, other.items)].sum())
        total += float(one.scores.sum())
    return kept / total


def compact(work: pathlib.Path, model: pathlib.Path) -> dict[str, Any]:
    """Bytes of a posting and what they cost in NDCG@50 of sparse sums, on the validation queries of the export."""
    found = {}
    for bits in (8, 16, 32):
        index = work / f"bits-{bits}"
        build = measured(["--model", str(model), "--output", str(index), "--no_block", f"--score_bits={bits}"])
        sums = in_process(_quality, model, index)
        found[bits] = build["posting_bytes"] / build["postings"], sums["ndcg@50"]
    return {
        "bytes_per_posting": found[16][0],
        "ndcg_loss": 1 - found[16][1] / found[32][1],
        "bits": {
            bits: {"bytes_per_posting": size, "ndcg_loss": 1 - ndcg / found[32][1]}
            for bits, (size, ndcg) in found.items()
        },
    }


def _quality(model: pathlib.Path, index: pathlib.Path) -> dict[str, float]:
    from beam_index.quality import CheckOptions, check
    from beam_index.saved_model import one_thread_per_op

    one_thread_per_op()
    return dict(check(model, index, CheckOptions(model / "queries.parquet", limit=2000)).sums["sparse"])


def freshness(work: pathlib.Path, model: pathlib.Path) -> dict[str, Any]:
    """Seconds from a file with a new item's features to a servable that has it; and whether the update is exact."""
    base = work / "base"
    options = ["--updatable", "--no-progress", "--quality_queries=0"]
    measured(["--model", str(model), "--output", str(base), "--updatable"])
    items = in_process(_new_item, model, work / "new.parquet")
    extended, fresh, servable = work / "extended", work / "fresh", work / "servable" / "1"
    start = time.perf_counter()
    commands = [
        ["trainer.extend", "--model", model, "--items", items, "--output", extended],
        ["beam_index.build", "--model", extended, "--base_index", base, "--output", fresh, *options],
        ["serving.export", "--model", extended, "--index", fresh, "--output", servable, "--overwrite"],
    ]
    seconds = {}
    for command in commands:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", *map(str, command)], check=True, stdout=subprocess.DEVNULL)
        seconds[command[0]] = time.perf_counter() - began
    total = time.perf_counter() - start
    full = measured(["--model", str(extended), "--output", str(work / "full"), "--updatable"])
    return {
        "delta_equal": _bytes(fresh) == _bytes(work / "full"),
        "fresh_seconds": total,
        "fresh_steps": seconds,
        "full_build_seconds": full["seconds"],
    }


def _new_item(model: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    items = pq.read_table(model / "items.parquet").slice(0, 1)
    pq.write_table(items.set_column(0, "item_id", pa.array(["an item that is new"])), path)
    return path


def _bytes(index: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for kind in ("postings-*", "block-*") for path in index.glob(kind)}


def main(argv: Sequence[str]) -> None:
    """Measures all of it, prints it, and writes it if asked."""
    parser = CommandParser(
        prog="python -m benchmarks.index_build",
        description=__doc__,
        epilog="example: python -m benchmarks.index_build --items 100000 --json figures.json",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go too")
    parser.add_argument("--items", type=int, default=100_000, help="of the catalogue (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="builds of which the median counts (default %(default)s)"
    )
    parser.add_argument("--work", type=pathlib.Path, help="directory that keeps exports between runs (default: none)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        figures = _figures(arguments.work or pathlib.Path(scratch), arguments.items, arguments.repeats)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def _figures(work: pathlib.Path, items: int, repeats: int) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    sizes = [items // 10, items, 10 * items]
    sizes_of = {"wide_scorer": exports.WIDE, "middle_scorer": exports.MIDDLE, "preset_scorer": {}}
    scorers = {}
    for name, scorer in sizes_of.items():
        scorers[name] = gemm_fraction(work, items, repeats, **scorer)
        _show({name: scorers[name]})
    figures = {"gemm_fraction": scorers["wide_scorer"]["fraction"], **scorers}
    model = in_process(_trained, work / "trained", items)
    parts = [pruning(work, model), compact(work, model), freshness(work, model)]
    for part in parts:
        _show(part)
        figures |= part
    print("pruned builds of growing catalogues", flush=True)
    pruned = growth(work, sizes, f"--candidates={_CANDIDATES}")
    print("exhaustive builds of growing catalogues", flush=True)
    return {**figures, "growth": pruned, "exhaustive_growth": growth(work, sizes)}


def _show(figures: dict[str, Any]) -> None:
    print(json.dumps(figures, indent=1), flush=True)


if __name__ == "__main__":
    run_cli(main)

"""Makes all that is measured, each in a process of its own, whose memory is free again afterwards."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from benchmarks.processes import in_process
from benchmarks.serving.layout import INDEX, MODEL, QUERIES, TRUTH, VECTORS, K
from benchmarks.serving.peers import PEERS

_TRUTH_QUERIES = 200
# A byte for each code and item: past this the completion block is left out, as its budget of memory is.
_MAX_BLOCK_BYTES = 4 << 30


def prepare(world: pathlib.Path, num_items: int, postings: int, peers: list[str]) -> list[str]:
    """Makes the world of so many items, its index, its servables and its peers, and returns the servables' sums."""
    in_process(_make_world, world, num_items)
    sums = ["sparse", "completed", "rescored"]
    if 1024 * num_items > _MAX_BLOCK_BYTES:
        sums.remove("completed")
    if not (world / INDEX / "manifest.json").exists():
        in_process(_build, world / MODEL, world / INDEX, postings, "completed" in sums)
    for each in sums:
        if not (world / each / "1").exists():
            in_process(_export, world / MODEL, world / INDEX, world / each / "1", each)
    if not (world / TRUTH).exists():
        in_process(_truth, world)
    for peer in peers:
        in_process(_build_peer, world, peer)
    return sums


def measured(*arguments: Any) -> Any:
    """What `benchmarks.serving.compare.compare` returns; here, where a process of its own can find it."""
    from benchmarks.serving.compare import compare

    return compare(*arguments)


def _make_world(world: pathlib.Path, num_items: int) -> None:
    from benchmarks.serving.world import make_world

    make_world(world, num_items)


def _build(model: pathlib.Path, index: pathlib.Path, postings: int, block: bool) -> None:
    from beam_index.build import run_here

    options = ["--no-progress", "--quality_queries=0", f"--postings_per_code={postings}"]
    run_here(["--model", str(model), "--output", str(index), *options, *([] if block else ["--no_block"])])


def _export(model: pathlib.Path, index: pathlib.Path, output: pathlib.Path, sums: str) -> None:
    from serving.export import ExportOptions, export

    export(ExportOptions(model, index, output, sums))


def _truth(world: pathlib.Path) -> None:
    from benchmarks.serving.truth import best_items

    histories = [rows[rows >= 0] for rows in np.load(world / QUERIES)[:_TRUTH_QUERIES]]
    np.save(world / TRUTH, best_items(world / MODEL, world / INDEX, histories, K))


def _build_peer(world: pathlib.Path, name: str) -> None:
    if name != "brute_force":
        PEERS[name](np.load(world / VECTORS), world / name)


def skipped(num_items: int, graph_items: int) -> dict[str, str]:
    """Peers that are not measured at this size, and why."""
    if num_items <= graph_items:
        return {}
    reason = f"its graph takes hours to build at {num_items:,} items (--graph_items {graph_items})"
    return dict.fromkeys(("hnswlib", "faiss_hnsw"), reason)

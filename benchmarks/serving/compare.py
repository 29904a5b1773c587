"""Measures all systems of one world, side by side, in one process."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

import trainer  # noqa: F401  (before TensorFlow: it chooses the Keras)
from benchmarks.serving.layout import ENCODER, QUERIES, TRUTH, VECTORS, K
from benchmarks.serving.peers import PEERS, Peer, exact
from benchmarks.serving.recall import least, recall
from benchmarks.serving.rounds import Answer, timed
from benchmarks.serving.sessions import Loaded

TARGETS = (0.95, 0.99)
_TUNING_QUERIES = 500
_SERVED = ("item_ids", "scores", "valid", "codes", "keys", "fallback")
_TRACED_BATCHES = 20


def compare(
    world: pathlib.Path, sums: list[str], peers: list[str], rounds: int, singles: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Rows of the table, a system each, and of SparCode's servables the microseconds a query by type of op."""
    windows = np.load(world / QUERIES)
    histories = _as_ids(windows)
    encoder = Loaded(world / ENCODER, ("vectors",))
    vectors = np.load(world / VECTORS)
    rows, systems = {}, {}
    servables = {each: Loaded(world / each / "1", _SERVED) for each in sums}
    for each, servable in servables.items():
        name = f"sparcode_{each}"
        rows[name] = {"sums": each, "recall": _own_recall(servable, histories, np.load(world / TRUTH))}
        systems[name] = servable
    for name, row, answer in _two_towers(world, peers, encoder, vectors, histories):
        rows[name], systems[name] = row, answer
    # Alone it answers nothing; it says what of all the others' time is not theirs.
    rows["encoder"], systems["encoder"] = {"recall": None}, encoder
    for name, times in timed(systems, histories, rounds, singles).items():
        rows[name] |= times._asdict()
    batches = [histories[at : at + 1] for at in range(_TRACED_BATCHES)]
    traced = {f"{each}, batch 1": servable.microseconds_by_op(batches) for each, servable in servables.items()}
    batches = [histories[at : at + 32] for at in range(0, 32 * _TRACED_BATCHES, 32)]
    traced |= {f"{each}, batch 32": servable.microseconds_by_op(batches) for each, servable in servables.items()}
    return [{"items": len(vectors), "system": name, **row} for name, row in rows.items()], traced


def _as_ids(windows: np.ndarray) -> np.ndarray:
    """Histories `[Q, H]` of ids, in the order of events, filled up at the end."""
    ids = np.full(windows.shape, b"", object)
    for query, rows in enumerate(windows):
        known = rows[rows >= 0]
        ids[query, : len(known)] = [str(row).encode() for row in known]
    return ids


def _own_recall(servable: Loaded, histories: np.ndarray, best: np.ndarray) -> float:
    """Recall@100 of what is served against exhaustive scoring by the model that is served."""
    found = np.concatenate([servable(histories[at : at + 1])[0] for at in range(len(best))])
    return recall(np.array([[int(item or -1) for item in row] for row in found]), best)


def _two_towers(
    world: pathlib.Path, peers: list[str], encoder: Loaded, vectors: np.ndarray, histories: np.ndarray
) -> Iterator[tuple[str, dict[str, Any], Answer]]:
    """Name, row and answer of the encoder with each peer, tuned to each target."""
    queries = encoder(histories[-_TUNING_QUERIES:])[0]
    best = exact(vectors, queries, K)
    for name in peers:
        peer = PEERS[name](vectors, world / name)
        if peer.tune is None:
            row = {"target": None, "recall": recall(peer.search(queries, K), best)}
            yield f"two_tower+{name}", row, functools.partial(_answer, encoder, peer, None)
            continue
        found: dict[int, float] = {}
        recall_of = functools.partial(_recall_at, peer, queries, best, found)
        for target in TARGETS:
            knob = least(recall_of, target, peer.most)
            if knob is None:
                print(f"  {name}: recall {target} is out of reach ({peer.knob} = {peer.most})", flush=True)
                continue
            row = {"target": target, "recall": found[knob], peer.knob: knob}
            yield f"two_tower+{name}@{target}", row, functools.partial(_answer, encoder, peer, knob)


def _recall_at(peer: Peer, queries: np.ndarray, best: np.ndarray, found: dict[int, float], knob: int) -> float:
    if knob not in found:
        peer.tune(knob)
        found[knob] = recall(peer.search(queries, K), best)
    return found[knob]


def _answer(encoder: Loaded, peer: Peer, knob: int | None, histories: np.ndarray) -> np.ndarray:
    """Rows of the best items: encoded and searched. Setting the knob takes no time worth counting."""
    if knob is not None:
        peer.tune(knob)
    return peer.search(encoder(histories)[0], K)

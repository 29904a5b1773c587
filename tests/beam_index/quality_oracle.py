"""What the replay must answer, worked out query by query with dictionaries.

Slow, and shares no code with beam_index.quality.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from protos.artifact import read_manifest
from protos.codes import CodeSpace
from tests.beam_index.oracle import written_block, written_lists
from tests.support.exports import EXPORT_FORMAT
from tests.support.indexes import score_matrix

Postings = dict[int, float]


def in_order(values: Iterable[float]) -> np.float32:
    """The sum in float32, term by term: of what differs only in its last bits, the sum decides which is better."""
    total = np.float32(0)
    for value in values:
        total += np.float32(value)
    return total


def from_the_largest(values: Iterable[float]) -> np.float32:
    """The sum of postings, whose order is from the largest down."""
    return in_order(sorted(values, reverse=True))


class Token(NamedTuple):
    """A token of a query: its own code and the list it looks up, None for none."""

    own: int
    listed: int | None
    weight: float
    quantised: bool


class Oracle:
    """An export and an index of it, in dictionaries."""

    def __init__(self, model: pathlib.Path, index: pathlib.Path) -> None:
        described = read_manifest(model, EXPORT_FORMAT)["model"]
        self.bias, self.num_items = described["bias"], described["num_items"]
        self.num_tokens = described["num_query_tokens"]
        self.space = CodeSpace(described["num_slots"], described["num_codebooks"], described["num_codewords"])
        self.query = tf.saved_model.load(str(model / "query")).signatures["serving_default"]
        self.scores = score_matrix(model, range(self.space.size))
        self.ids = pq.read_table(model / "items.parquet")["item_id"].to_pylist()
        lists = written_lists(index)
        self.lists = {each.key: dict(zip(each.items, each.scores, strict=True)) for each in lists if each.items}
        codes = [each.key for each in lists if each.key < self.space.size]
        has_block = any(index.glob("block-*"))
        self.block = dict(zip(codes, written_block(index)[0], strict=True)) if has_block else None
        rows = pq.read_table(model / "lists.parquet").to_pylist()
        self.events = {row["key"]: dict(zip(row["items"], row["scores"], strict=True)) for row in rows}

    def tokens(self, history: list[str]) -> list[Token]:
        """The tokens of a query, each with the list that serves it."""
        output = {name: value.numpy()[0] for name, value in self.query(history=tf.constant([history or [""]])).items()}
        tokens = []
        for place, (key, weight) in enumerate(zip(output["keys"].tolist(), output["weights"], strict=True)):
            quantised = place < self.num_tokens
            listed = key if key in self.lists else None
            if quantised and listed is None:
                listed = self.nearest(key // self.space.codes_per_slot, output["distances"][place])
            tokens.append(Token(key, listed, weight, quantised))
        return tokens

    def nearest(self, slot: int, distances: np.ndarray) -> int | None:
        """The listed code of a slot whose codewords are nearest; the smallest key of equals."""
        best = None
        for key in sorted(self.lists):
            if key < self.space.size and key // self.space.codes_per_slot == slot:
                rest, total = key % self.space.codes_per_slot, 0.0
                for codebook in distances:
                    total += float(codebook[rest % self.space.num_codewords])
                    rest //= self.space.num_codewords
                if best is None or total < best[0]:
                    best = (total, key)
        return best and best[1]

    def exact(self, history: list[str]) -> Postings:
        """f of every item that scores above 0, seen ones too."""
        postings: dict[int, list[float]] = {row: [] for row in range(self.num_items)}
        for token in self.tokens(history):
            if not token.quantised:
                for row, score in self.events.get(token.own, {}).items():
                    postings[row].append(token.weight * np.float32(score))
        codes = self.exact_codes(history)
        scores = {row: codes[row] + from_the_largest(values) for row, values in postings.items()}
        return {row: score for row, score in scores.items() if score > 0}

    def exact_codes(self, history: list[str]) -> Postings:
        """What the codes of a query add to every item."""
        codes = [token.own for token in self.tokens(history) if token.quantised]
        contributions = np.maximum(self.scores[codes] + np.float32(self.bias), np.float32(0))
        return {row: in_order(contributions[:, row]) for row in range(self.num_items)}

    def scored(self, history: list[str], way: str) -> Postings:
        """Scores of the candidates by a way of making sums, or exact ones."""
        if way == "exact":
            return self.exact(history)
        tokens = self.tokens(history)
        exact = self.exact_codes(history)
        postings: dict[int, list[float]] = {}
        for token in tokens:
            if token.listed is not None and token.weight > 0:
                counts = way == "sparse" or not token.quantised
                for row, score in self.lists.get(token.listed, {}).items():
                    value = token.weight * np.float32(score)
                    postings.setdefault(row, []).append(value if counts else np.float32(0))
        found = {row: from_the_largest(values) for row, values in postings.items()}
        if way == "rescored":
            found = {row: exact[row] + score for row, score in found.items()}
        if way == "completed":
            served = [token.listed for token in tokens if token.quantised and token.listed is not None]
            found = {row: in_order(self.block[key][row] for key in served) + score for row, score in found.items()}
        return {row: score for row, score in found.items() if score > 0}

    def answer(self, history: list[str], way: str) -> list[tuple[int, float]]:
        """All unseen items with a score above 0, best first."""
        found = self.scored(history, way)
        unseen = [(row, score) for row, score in found.items() if self.ids[row] not in history]
        return sorted(unseen, key=lambda posting: (-posting[1], posting[0]))

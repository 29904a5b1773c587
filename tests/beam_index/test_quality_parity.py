"""The replay answers as the real servable does, in each way of making sums."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_index.build import run_here
from serving.export import ExportOptions, export
from serving.retrieval import AnswerOptions
from tests.beam_index.replays import replayed
from tests.beam_index.tables import renew_manifest
from tests.support.exports import TinyScorer, TinySpec, item_ids, random_histories, write_tiny_export

K = 15
SPECS = {
    "residual": TinySpec(num_items=4500, num_query_tokens=4, num_codewords=8),
    "product": TinySpec("product", num_items=300, num_codebooks=2),
    "no events": TinySpec(num_events=0),
}


class CodewordScorer(TinyScorer):
    """Rescores tokens by their nearest codewords, which is what exact scores are made of."""

    def __init__(self, spec: TinySpec, codebooks: np.ndarray) -> None:
        super().__init__(spec)
        self.spec = spec
        self.codebooks = tf.constant(codebooks)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.float32, "tokens"),
            tf.TensorSpec([None, None], tf.int32, "items"),
        ]
    )
    def rescore(self, tokens: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        spec, contributions = self.spec, []
        for place in range(spec.num_query_tokens):
            slot = place % spec.num_slots
            parts = tf.reshape(tokens[:, place], [-1, spec.num_codebooks, 1, spec.dim // spec.num_codebooks])
            codes = tf.argmin(tf.reduce_sum((parts - self.codebooks[slot]) ** 2, -1), -1)
            weights = tf.constant(spec.num_codewords ** np.arange(spec.num_codebooks), tf.int64)
            keys = slot * spec.num_codewords**spec.num_codebooks + tf.reduce_sum(codes * weights, -1)
            vectors = tf.gather(self.items, items)
            scores = tf.reduce_sum(tf.gather(self.codes, keys)[:, None] * vectors, -1)
            contributions.append(tf.nn.relu(scores + self.bias))
        return {"scores": tf.add_n(contributions), "contributions": tf.stack(contributions, 1)}


def write_export(directory: pathlib.Path, spec: TinySpec) -> pathlib.Path:
    write_tiny_export(directory, spec)
    scorer = CodewordScorer(spec, tf.saved_model.load(str(directory / "query")).codebooks.numpy())
    shutil.rmtree(directory / "scorer")
    signatures = {"serving_default": scorer.score, "rescore": scorer.rescore}
    tf.saved_model.save(scorer, str(directory / "scorer"), signatures=signatures)
    return renew_manifest(directory)


def served(directory: pathlib.Path, histories: list[list[str]]) -> dict[str, np.ndarray]:
    width = max(map(len, histories))
    batch = tf.constant([[*history, *[""] * (width - len(history))] for history in histories], tf.string)
    outputs = tf.saved_model.load(str(directory)).signatures["serving_default"](history=batch)
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture(scope="module", params=SPECS)
def world(request, tmp_path_factory) -> tuple[TinySpec, pathlib.Path, pathlib.Path, list[list[str]]]:
    """A model, an index of the codes of two queries, and queries some of whose codes it does not know."""
    spec, root = SPECS[request.param], tmp_path_factory.mktemp("parity")
    model = write_export(root / "model", spec)
    pq.write_table(pa.table({"history": random_histories(spec, 2, seed=5)}), root / "queries.parquet")
    flags = ["--codes=observed", "--queries", str(root / "queries.parquet"), "--postings_per_code=30"]
    quick = ["--quality_queries=0", "--no-progress", "--direct_running_mode=in_memory"]
    run_here(["--model", str(model), "--output", str(root / "index"), *flags, *quick])
    return spec, model, root / "index", [*random_histories(spec, 70, seed=8), ["never seen", "item-7"], [""]]


@pytest.mark.parametrize("sums", ["sparse", "completed", "rescored"])
def test_the_replay_answers_as_the_servable(world, tmp_path, sums):
    spec, model, index, histories = world
    export(ExportOptions(model, index, tmp_path / "1", sums, AnswerOptions(K)))
    answer = served(tmp_path / "1", histories)
    found = replayed(model, index, histories, K)[sums]
    ids = [*(item.encode() for item in item_ids(spec)), b""]  # row -1 is no item
    assert [[ids[row] for row in rows] for rows in found.rows] == answer["item_ids"].tolist()
    # Of rescored sums, one side makes dot products where the other multiplies matrices.
    np.testing.assert_allclose(found.scores, answer["scores"], rtol=1e-5 if sums == "rescored" else 0)
    assert answer["valid"].any()
    assert answer["fallback"].any()

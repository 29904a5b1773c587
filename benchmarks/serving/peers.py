"""Other ways from a query vector to the k items of the largest inner product, each on one thread."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Search = Callable[[np.ndarray, int], np.ndarray]
# The usual sizes: links a node, candidates while building.
_LINKS, _BUILD_CANDIDATES = 16, 200
_SEED = 0


class Peer(NamedTuple):
    """An index of item vectors.

    Attributes:
      search: query vectors `[B, D]` float32 and k to catalogue rows `[B, k]`, best first.
      tune: sets how much is looked at, a number from 1 up to `most`; None where there is nothing to tune.
      most: with which everything worth it is looked at.
      knob: what that number is called there.
    """

    search: Search
    tune: Callable[[int], None] | None = None
    most: int = 0
    knob: str = ""


def hnswlib_hnsw(vectors: np.ndarray, kept: pathlib.Path) -> Peer:
    """hnswlib's graph; built once and kept at `kept`."""
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    if kept.exists():
        index.load_index(str(kept), max_elements=len(vectors))
    else:
        index.init_index(len(vectors), ef_construction=_BUILD_CANDIDATES, M=_LINKS, random_seed=_SEED)
        index.add_items(vectors)
        index.save_index(str(kept))
    index.set_num_threads(1)
    return Peer(lambda queries, k: index.knn_query(queries, k)[0], index.set_ef, 4096, "ef")


def faiss_hnsw(vectors: np.ndarray, kept: pathlib.Path) -> Peer:
    """Faiss's graph, with as many links."""
    import faiss

    def build() -> faiss.Index:
        index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_CANDIDATES
        index.add(vectors)
        return index

    index = _kept(build, kept)
    return Peer(_faiss_search(index), lambda ef: setattr(index.hnsw, "efSearch", ef), 4096, "efSearch")


def faiss_ivf(vectors: np.ndarray, kept: pathlib.Path) -> Peer:
    """Faiss's inverted file over 4 sqrt(I) cells, vectors as they are."""
    import faiss

    cells = int(4 * len(vectors) ** 0.5)

    def build() -> faiss.Index:
        quantizer = faiss.IndexFlatIP(vectors.shape[1])
        index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(_SEED).choice(len(vectors), min(len(vectors), 50 * cells), replace=False)
        index.train(vectors[np.sort(sample)])
        index.add(vectors)
        return index

    index = _kept(build, kept)
    return Peer(_faiss_search(index), lambda probes: setattr(index, "nprobe", probes), cells, "nprobe")


def scann_tree(vectors: np.ndarray, kept: pathlib.Path) -> Peer:
    """ScaNN as its authors set it up: a tree of sqrt(I) leaves, hashed scores, the best of them exact."""
    import scann

    leaves = int(len(vectors) ** 0.5)
    if (kept / "scann_config.pb").exists():
        searcher = scann.scann_ops_pybind.load_searcher(str(kept))
    else:
        builder = scann.scann_ops_pybind.builder(vectors, 100, "dot_product")
        builder = builder.tree(leaves, max(1, leaves // 20), training_sample_size=min(len(vectors), 250_000))
        searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(1000).build()
        kept.mkdir()
        searcher.serialize(str(kept))
    probes = [1]

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        one = len(queries) == 1
        if one:
            return searcher.search(queries[0], k, 10 * k, probes[0])[0][None]
        return searcher.search_batched(queries, k, 10 * k, probes[0])[0]

    return Peer(search, lambda count: probes.__setitem__(0, count), leaves, "leaves_to_search")


def brute_force(vectors: np.ndarray, kept: pathlib.Path) -> Peer:
    """`tfrs.layers.factorized_top_k.BruteForce`, exact; nothing is kept."""
    import trainer  # noqa: F401, I001  (before TensorFlow: it chooses the Keras)
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    layer = tfrs.layers.factorized_top_k.BruteForce()
    layer.index(tf.constant(vectors))
    answer = tf.function(lambda queries, k: layer(queries, k)[1])

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        return answer(tf.constant(queries), k).numpy()

    return Peer(search)


PEERS: dict[str, Callable[[np.ndarray, pathlib.Path], Peer]] = {
    "hnswlib": hnswlib_hnsw,
    "faiss_hnsw": faiss_hnsw,
    "faiss_ivf": faiss_ivf,
    "scann": scann_tree,
    "brute_force": brute_force,
}


def _kept(build: Callable, path: pathlib.Path):
    import faiss

    if not path.exists():
        faiss.write_index(build(), str(path))
    faiss.omp_set_num_threads(1)
    return faiss.read_index(str(path))


def _faiss_search(index) -> Search:
    return lambda queries, k: index.search(queries, k)[1]


def exact(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The true k items `[Q, k]` of the largest inner product."""
    import faiss

    return faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)[1]

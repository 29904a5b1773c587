"""Where codewords start: k-means over the tokens of a model trained unquantised."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from trainer.config import QuantizerConfig

_ITERATIONS = 10
_POINTS_PER_CODEWORD = 100


def start_codebooks(tokens: np.ndarray, config: QuantizerConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codewords and the share of tokens each stands for.

    Each slot clusters its own tokens; of `residual`, each level clusters what the one before it left over.

    Args:
      tokens: `[P, V, D]` query vectors, V = `config.num_input_vectors`.
      config: structure and sizes.
      seed: of k-means' start and of the sample it runs on.

    Returns:
      Codebooks `[slots, M, N, D / M]` and shares `[slots, M, N]` that sum to 1 over N, both float32.

    Raises:
      ValueError: no tokens, tokens of another shape, or structure "none".
    """
    if config.structure == "none":
        raise ValueError("structure 'none' has no codewords to start")
    if tokens.ndim != 3 or tokens.shape[1] != config.num_input_vectors or not len(tokens):
        raise ValueError(f"tokens {tokens.shape} given; expected (at least 1, {config.num_input_vectors}, D)")
    rng = np.random.default_rng(seed)
    shared = config.structure == "product"
    codebooks, shares = [], []
    for group in tokens.reshape(1, -1, tokens.shape[-1]) if shared else tokens.transpose(1, 0, 2):
        limit = _POINTS_PER_CODEWORD * config.num_codewords
        points = group[np.sort(rng.permutation(len(group))[:limit])].astype(np.float32)
        for _ in range(config.num_levels):
            parts = np.split(points, config.num_codebooks, axis=1)
            books, sizes, codes = zip(*(_kmeans(part, config.num_codewords, rng) for part in parts), strict=True)
            points = points - np.concatenate([book[code] for book, code in zip(books, codes, strict=True)], axis=1)
            codebooks.append(np.stack(books))
            shares.append(np.stack(sizes))
    return np.stack(codebooks), np.stack(shares)


def _kmeans(points: np.ndarray, clusters: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres `[N, d]`, shares `[N]` and the codes of the points; no cluster is left without a share."""
    if len(points) < 2 * clusters:
        # Too few tokens for so many codewords: the rest start beside tokens, and training moves them.
        extra = points[rng.integers(0, len(points), 2 * clusters)]
        points_used = np.concatenate([points, extra + rng.normal(scale=1e-3, size=extra.shape).astype(np.float32)])
    else:
        points_used = points
    start = points_used[rng.permutation(len(points_used))[:clusters]]
    with warnings.catch_warnings():
        # An empty cluster keeps its place; training revives it.
        warnings.simplefilter("ignore", UserWarning)
        centres, _ = kmeans2(points_used, start, iter=_ITERATIONS, minit="matrix", missing="warn")
    codes, _ = vq(points, centres)
    counts = np.maximum(np.bincount(codes, minlength=clusters), 0.5)
    return centres.astype(np.float32), (counts / counts.sum()).astype(np.float32), codes

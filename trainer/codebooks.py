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

    Args:
      tokens: `[V, D]` query vectors for `residual`, `[V, K_u, D]` for `product`.
      config: structure and sizes.
      seed: of k-means' start and of the sample it runs on.

    Returns:
      Codebooks `[slots, M, N, D / M]` and shares `[slots, M, N]` that sum to 1 over N, both float32.
    """
    rng = np.random.default_rng(seed)
    limit = _POINTS_PER_CODEWORD * config.num_codewords
    points = tokens.reshape(-1, tokens.shape[-1])
    points = points[np.sort(rng.permutation(len(points))[:limit])].astype(np.float32)
    codebooks, shares = [], []
    if config.structure == "residual":
        for _ in range(config.num_query_tokens):
            book, share, codes = _kmeans(points, config.num_codewords, rng)
            points = points - book[codes]
            codebooks.append(book[None])
            shares.append(share[None])
    else:
        parts = np.split(points, config.num_codebooks, axis=1)
        books = [_kmeans(part, config.num_codewords, rng) for part in parts]
        codebooks.append(np.stack([book for book, _, _ in books]))
        shares.append(np.stack([share for _, share, _ in books]))
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

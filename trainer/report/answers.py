"""Answers to the sample of test queries, and means of how good they are, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation import METRICS, NOTHING, Ranker, evaluate
from trainer.report.run import Run

METRIC_NAMES = {"ndcg@50": "NDCG@50", "recall@50": "Recall@50", "hr@10": "HR@10", "ndcg@10": "NDCG@10"}
# Standard errors of a line of uncertainty: 95%.
_WIDTH = 1.96


class Answers(NamedTuple):
    """What a ranker answers to the queries, and how good that is.

    Attributes:
      ranked: `[Q, k]` rows.
      per_user: metric to `[Q]`.
    """

    ranked: np.ndarray
    per_user: dict[str, np.ndarray]


def answer(ranker: Ranker, run: Run) -> Answers:
    """Asks all queries of the run, each once."""
    kept = []

    def keeping(histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        kept.append(ranker(histories, k))
        return kept[-1]

    found = evaluate(keeping, run.queries, METRICS, run.batch_size, progress="answers")
    return Answers(np.concatenate(kept), found.per_user)


def mean_of(values: np.ndarray) -> tuple[float, float]:
    """The mean and the half width of its interval."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), float(_WIDTH * error)


def share_of(hits: np.ndarray, users: np.ndarray) -> tuple[float, float]:
    """The share of events `[E]` that were hit, and the half width of its interval.

    Events of one user hang together, so users are what varies (a ratio estimate, Cochran, Sampling Techniques, 6.3):

        p = sum_u h_u / n        error = sqrt( sum_u (h_u - p n_u)^2 ) / n         n = sum_u n_u
    """
    per_user, taken = np.bincount(users, hits), np.bincount(users)
    p = per_user.sum() / taken.sum()
    return float(p), float(_WIDTH * np.sqrt(((per_user - p * taken) ** 2).sum()) / taken.sum())


def hits_of(ranked: np.ndarray, targets: Sequence[np.ndarray]) -> np.ndarray:
    """Whether `[E]` each target, query after query, is among the answers `[Q, k]` of its query."""
    found = [np.isin(rows, answers[answers != NOTHING]) for rows, answers in zip(targets, ranked, strict=True)]
    return np.concatenate(found)

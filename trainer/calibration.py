"""The last step of training: the item memory is fitted, and validation says how much it counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.data.splits import EvaluationQueries
from trainer.ensemble import AnySparCode
from trainer.evaluation import evaluate, top_k_unseen
from trainer.layers.event_lists import EventLists
from trainer.memory import fit_lists
from trainer.training import SELECTED_BY
from trainer.windows import rows_of

# Of the ratio at which token scores and event scores vary alike over the catalogue; 0 leaves the memory out.
RELATIVE_WEIGHTS = (0.0, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_MOST_SCORES = 30_000_000  # scores held at once: 120 MB
_BATCH = 256


def fit_event_lists(model: AnySparCode, windows: np.ndarray, validation: EvaluationQueries) -> float | None:
    """Gives a trained model its event lists.

    The weight of the memory's term is the one of RELATIVE_WEIGHTS with the best NDCG@50 on
    validation; the smaller one if two are equal.

    Args:
      model: with its best weights.
      windows: `[W, T + 1]` that it was trained on.
      validation: queries that choose the weight.

    Returns:
      NDCG@50 on (a sample of) validation with that weight; None where the configuration has no memory.
    """
    config = model.config
    if not config.num_events:
        return None
    ages = 0.5 ** (np.arange(config.num_events)[::-1] / config.memory.half_life)
    lists = fit_lists(rows_of(windows), model.num_items, config.memory)
    sample = validation.sample(max(1, _MOST_SCORES // model.num_items), config.training.seed)
    tokens, events = _scores(model, EventLists(lists, ages), sample)
    unit = _spread(tokens) / max(_spread(events), 1e-9)
    found = {relative: _quality(tokens, relative * unit * events, sample) for relative in RELATIVE_WEIGHTS}
    best = max(RELATIVE_WEIGHTS, key=lambda relative: (found[relative], -relative))
    model.event_lists = EventLists(lists, best * unit * ages) if best else None
    return found[best]


def _scores(model: AnySparCode, lists: EventLists, queries: EvaluationQueries) -> tuple[np.ndarray, np.ndarray]:
    """Scores of tokens and of events `[Q, I]` each."""
    windows = model.windows_of(queries.histories)
    signature = [tf.TensorSpec([None, *windows.shape[1:]], tf.int32)]
    both = tf.function(lambda w: (model.token_scores(w), lists.catalogue_scores(rows_of(w))), input_signature=signature)
    parts = [both(tf.constant(windows[start : start + _BATCH])) for start in range(0, len(windows), _BATCH)]
    tokens, events = zip(*parts, strict=True)
    return np.concatenate(tokens), np.concatenate(events)


def _spread(scores: np.ndarray) -> float:
    """Mean over queries of the standard deviation over items."""
    return float(scores.std(axis=1).mean())


def _quality(tokens: np.ndarray, events: np.ndarray, queries: EvaluationQueries) -> float:
    """NDCG@50 of the sum of both terms."""
    done = 0

    def rank(histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        nonlocal done
        rows = slice(done, done + len(histories))
        done = rows.stop
        return top_k_unseen(tokens[rows] + events[rows], histories, k)

    return evaluate(rank, queries, (SELECTED_BY,), _BATCH).means()[SELECTED_BY]

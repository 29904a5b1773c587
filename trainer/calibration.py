"""The last step of training: the item memory is fitted, and validation says how much it counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.splits import EvaluationQueries
from trainer.ensemble import AnySparCode
from trainer.evaluation import evaluate, top_k_unseen
from trainer.layers.event_lists import EventLists, length_class
from trainer.memory import fit_lists
from trainer.training import SELECTED_BY
from trainer.windows import rows_of

# Of the ratio at which token scores and event scores vary alike over the catalogue; 0 leaves the memory out.
RELATIVE_WEIGHTS = (0.0, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_MOST_SCORES = 30_000_000  # scores held at once: 120 MB
_BATCH = 256
# To the queries of a length class so many are added that are like all queries: a class of few learns from the others.
_PRIOR_QUERIES = 100


def fit_event_lists(model: AnySparCode, windows: Iterable[np.ndarray], validation: EvaluationQueries) -> float | None:
    """Gives a trained model its event lists.

    The weight of the memory's term is one of RELATIVE_WEIGHTS for each class of history lengths. Among
    weights that do not fall as histories get longer, those with the best NDCG@50 on validation are
    taken; the smaller ones if two are equal.

    Args:
      model: with its best weights.
      windows: pieces `[W, T + 1]` that it was trained on, gone through more than once.
      validation: queries that choose the weights.

    Returns:
      NDCG@50 on (a sample of) validation with those weights; None where the configuration has no memory.
    """
    config = model.config
    if not config.num_events:
        return None
    ages = 0.5 ** (np.arange(config.num_events)[::-1] / config.memory.half_life)
    lists = fit_lists(windows, model.num_items, config.memory, model.num_targets)
    sample = validation.sample(max(1, _MOST_SCORES // model.num_items), config.training.seed)
    tokens, events = _scores(model, EventLists(lists, ages), sample)
    unit = _spread(tokens) / max(_spread(events), 1e-9)
    found = np.stack([_quality(tokens, relative * unit * events, sample) for relative in RELATIVE_WEIGHTS], 1)
    num_classes = config.data.max_history.bit_length()  # the longest window is in the last one
    classes = length_class([len(history) for history in sample.histories], num_classes).numpy()
    chosen = _best_weights(found, classes, num_classes)
    factors = unit * np.asarray(RELATIVE_WEIGHTS)[chosen]
    model.event_lists = EventLists(lists, ages, factors) if factors.any() else None
    return float(found[np.arange(len(found)), chosen[classes]].mean())


def _best_weights(quality: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """The weight of each class of lengths, by number, none less than the one before it: `[C]`.

    Args:
      quality: `[Q, R]` of each query with each weight.
      classes: `[Q]`.
      num_classes: C.
    """
    totals = np.tile(_PRIOR_QUERIES * quality.mean(axis=0), (num_classes, 1))
    np.add.at(totals, classes, quality)
    best = totals.copy()  # of classes up to this one, if this one has that weight
    for here, before in zip(best[1:], best[:-1], strict=True):
        here += np.maximum.accumulate(before)
    chosen = np.zeros(num_classes, np.int64)
    most = quality.shape[1]
    for place in reversed(range(num_classes)):
        chosen[place] = np.argmax(best[place, :most])
        most = chosen[place] + 1
    return chosen


def _scores(model: AnySparCode, lists: EventLists, queries: EvaluationQueries) -> tuple[np.ndarray, np.ndarray]:
    """Scores of tokens and of events `[Q, I]` each, I being items that are ranked."""
    windows = model.windows_of(queries.histories)
    signature = [tf.TensorSpec([None, *windows.shape[1:]], tf.int32)]

    @tf.function(input_signature=signature)
    def both(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scores = model.token_scores(batch), lists.catalogue_scores(rows_of(batch))
        return tuple(each[:, : model.num_targets] for each in scores)

    parts = [both(tf.constant(windows[start : start + _BATCH])) for start in range(0, len(windows), _BATCH)]
    tokens, events = zip(*parts, strict=True)
    return np.concatenate(tokens), np.concatenate(events)


def _spread(scores: np.ndarray) -> float:
    """Mean over queries of the standard deviation over items."""
    return float(scores.std(axis=1).mean())


def _quality(tokens: np.ndarray, events: np.ndarray, queries: EvaluationQueries) -> np.ndarray:
    """NDCG@50 of the sum of both terms, of each query `[Q]`."""
    done = 0

    def rank(histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        nonlocal done
        rows = slice(done, done + len(histories))
        done = rows.stop
        return top_k_unseen(tokens[rows] + events[rows], histories, k)

    return evaluate(rank, queries, (SELECTED_BY,), _BATCH).per_user[SELECTED_BY]

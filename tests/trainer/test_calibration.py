"""The weight of the memory: the best on validation, and none where it does not help."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import MEMORY, NUM_ITEMS, small_config, small_model, walks_split
from trainer import calibration
from trainer.calibration import RELATIVE_WEIGHTS, fit_event_lists
from trainer.data.splits import EvaluationQueries, Split
from trainer.evaluation import evaluate
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.windows import training_windows


class ScriptedModel(SparCode):
    """Token scores as a test says."""

    def __init__(self, *args, script: Callable[[tf.Tensor], tf.Tensor], **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.script = script

    def token_scores(self, windows: tf.Tensor) -> tf.Tensor:
        return self.script(windows)


def noise(windows: tf.Tensor) -> tf.Tensor:
    """Scores of no meaning, the same for the same history."""
    seeds = tf.reduce_sum(tf.cast(windows, tf.float32) * tf.range(1.0, 7.0), 1)[:, None]
    return tf.math.sin(seeds * tf.range(1.0, NUM_ITEMS + 1.0) * 37.0)


def next_item(windows: tf.Tensor) -> tf.Tensor:
    """1 for the item that comes next on a walk, 0 for all others."""
    return tf.one_hot((windows[:, -1] + 1) % NUM_ITEMS, NUM_ITEMS)


def scripted(script, split: Split) -> tuple[SparCode, list[np.ndarray], EvaluationQueries]:
    model = small_model(small_config(memory=MEMORY), ScriptedModel, script=script)
    return model, [training_windows(split.train, 6)], split.queries("validation")


def quality(model: SparCode, queries: EvaluationQueries) -> float:
    return evaluate(ModelRanker(model), queries).means()["ndcg@50"]


def test_a_memory_that_knows_more_than_tokens_counts():
    model, windows, queries = scripted(noise, walks_split(users=60))
    alone = quality(model, queries)
    score = fit_event_lists(model, windows, queries)
    assert model.event_lists is not None
    assert score > alone + 0.3
    assert score == pytest.approx(quality(model, queries), abs=1e-6)


def test_a_memory_that_knows_less_is_left_out():
    """Training walks go backwards: what the memory learns is wrong for validation."""
    split = walks_split(users=60)
    model, _, queries = scripted(next_item, split)
    backwards = [training_windows([events[::-1] for events in split.train], 6)]
    assert quality(model, queries) == pytest.approx(1.0)
    assert fit_event_lists(model, backwards, queries) == pytest.approx(1.0)
    assert model.event_lists is None


def test_the_weight_is_the_best_of_all(monkeypatch):
    model, windows, queries = scripted(lambda w: next_item(w) + noise(w), walks_split(users=60))
    score = fit_event_lists(model, windows, queries)
    chosen, found = model.event_lists, []
    before_last, last = chosen.ages.numpy()[-2:]
    assert before_last / last == pytest.approx(0.5 ** (1 / MEMORY["half_life"]))
    for weight in RELATIVE_WEIGHTS:
        monkeypatch.setattr(calibration, "RELATIVE_WEIGHTS", (weight,))
        fit_event_lists(model, windows, queries)
        found.append(quality(model, queries))
    assert max(found) == pytest.approx(score, abs=1e-6)
    assert max(found) > found[0]
    monkeypatch.setattr(calibration, "RELATIVE_WEIGHTS", (RELATIVE_WEIGHTS[int(np.argmax(found))],))
    fit_event_lists(model, windows, queries)
    np.testing.assert_allclose(model.event_lists.factors, chosen.factors, rtol=1e-6)


def test_weights_of_length_classes_are_the_best_that_do_not_fall(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(calibration, "_PRIOR_QUERIES", 3)
    for _ in range(20):
        quality, classes = rng.random((30, 4)), rng.integers(0, 3, 30)
        totals = [quality[classes == number].sum(0) + 3 * quality.mean(0) for number in range(3)]
        rising = [picked for picked in itertools.product(range(4), repeat=3) if list(picked) == sorted(picked)]
        best = max(rising, key=lambda picked: sum(total[weight] for total, weight in zip(totals, picked, strict=True)))
        np.testing.assert_array_equal(calibration._best_weights(quality, classes, 3), best)


def test_a_class_without_queries_takes_what_is_best_for_all():
    quality = np.tile([0.1, 0.5, 0.2], (8, 1))
    np.testing.assert_array_equal(calibration._best_weights(quality, np.full(8, 2), 4), [1, 1, 1, 1])
    ties = np.tile([0.5, 0.5, 0.2], (8, 1))
    np.testing.assert_array_equal(calibration._best_weights(ties, np.full(8, 2), 4), [0, 0, 0, 0])


def test_without_memory_nothing_is_fitted():
    model = small_model(small_config())
    split = walks_split()
    assert fit_event_lists(model, [training_windows(split.train, 6)], split.queries("validation")) is None
    assert model.event_lists is None


def test_lists_that_say_nothing_are_left_out():
    """Windows of one event each: nothing follows anything."""
    model, _, queries = scripted(noise, walks_split())
    alone = quality(model, queries)
    windows = np.array([[-1] * 6 + [row] for row in range(NUM_ITEMS)], np.int32)
    assert fit_event_lists(model, [windows], queries) == pytest.approx(alone)
    assert model.event_lists is None


def test_very_large_catalogues_are_calibrated_on_a_sample(monkeypatch):
    monkeypatch.setattr(calibration, "_MOST_SCORES", 7 * NUM_ITEMS)
    model, windows, queries = scripted(noise, walks_split(users=60))
    seen = []

    def watched(ranker, sample, *rest):
        seen.append(sample.users.tolist())
        return evaluate(ranker, sample, *rest)

    monkeypatch.setattr(calibration, "evaluate", watched)
    fit_event_lists(model, windows, queries)
    assert len(seen) == len(RELATIVE_WEIGHTS)
    assert all(users == seen[0] == sorted(set(users)) and len(users) == 7 for users in seen)

"""The two-tower baseline and its distillation."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import NUM_ITEMS, random_batch, random_windows, small_config, small_model
from trainer.model import SparCode
from trainer.two_tower import DistilledTwoTower, TwoTower


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def logits(scores) -> np.ndarray:
    """`[P, 1 + S]` the positive first."""
    return np.concatenate([scores.positive.numpy()[:, None], scores.negative.numpy()], 1).astype(np.float64)


def test_scores_are_inner_products_over_the_temperature_and_the_bias():
    model = small_model(small_config(scorer={"temperature": 0.2}), TwoTower)
    batch = random_batch(model)
    vectors = model.item_embeddings.numpy()[:NUM_ITEMS].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    everything = batch.queries.numpy()[:, 0] @ vectors.T / 0.2 + model.item_bias.numpy()
    scores = model.batch_scores(batch)
    assert float(scores.extra) == 0.0
    np.testing.assert_allclose(scores.positive, everything[np.arange(9), batch.positives], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores.negative, everything[:, batch.negatives.rows], rtol=1e-5, atol=1e-5)
    windows = tf.constant(random_windows()[:, 1:])
    queries = model.last_query_vectors(windows).numpy()[:, 0]
    expected = queries @ vectors.T / 0.2 + model.item_bias.numpy()
    np.testing.assert_allclose(model.catalogue_scores(windows), expected, rtol=1e-5, atol=1e-5)


def student_of(teacher) -> DistilledTwoTower:
    config = small_config(tokenizer={"dropout": 0.0, "event_dropout": 0.0}, training={"seed": 3})
    return small_model(config, functools.partial(DistilledTwoTower, teacher=teacher))


@pytest.mark.parametrize("kind", [SparCode, TwoTower])
def test_the_extra_loss_is_the_divergence_from_the_teacher_on_the_same_windows(kind):
    teacher = small_model(small_config(), kind)
    student = student_of(teacher)
    batch = student._batch(tf.constant(random_windows()), training=True)
    windows = batch.windows.numpy()
    wanted, found = logits(teacher.scores_of(batch)), logits(TwoTower.batch_scores(student, batch))
    divergences = []
    for p, (row, column) in enumerate(batch.places.numpy()):
        assert windows[row, column + 1] == batch.positives[p]
        right, left = softmax(wanted[p]), softmax(found[p])
        divergences.append(sum(q * (np.log(q) - np.log(r)) for q, r in zip(right, left, strict=True) if q > 0))
        # The teacher's own query, from the history alone: its last column is the one the batch has it in.
        history = tf.constant(windows[row : row + 1, :-1])
        vectors = teacher.query_vectors(history)[:, column]
        alone = teacher.batch_scores(batch._replace(queries=vectors, positives=batch.positives[p : p + 1], step=None))
        np.testing.assert_allclose(logits(alone)[0], wanted[p], rtol=1e-4, atol=1e-4)
    assert len(divergences) > 20
    assert float(student.batch_scores(batch).extra) == pytest.approx(np.mean(divergences), rel=1e-4)


def test_a_student_that_equals_its_teacher_loses_nothing_and_learns_nothing_of_it():
    teacher = small_model(small_config(), TwoTower)
    student = student_of(teacher)
    for mine, other in zip(student.variables, teacher.variables, strict=True):
        mine.assign(other)
    batch = student._batch(tf.constant(random_windows()), training=True)
    with tf.GradientTape() as tape:
        extra = student.batch_scores(student._batch(tf.constant(random_windows()), training=True)).extra
    assert float(student.batch_scores(batch).extra) == pytest.approx(0.0, abs=1e-6)
    gradient = tape.gradient(extra, student.item_bias)
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), np.zeros(NUM_ITEMS), atol=1e-6)


def test_the_teacher_stays_as_it_is_and_is_no_part_of_the_student(tmp_path):
    teacher = small_model(small_config(), SparCode)
    before = [variable.numpy() for variable in teacher.variables]
    student = student_of(teacher)
    plain = small_model(small_config(training={"seed": 3}), TwoTower)
    own = [variable.numpy() for variable in student.trainable_variables]
    tf.function(student.train_step)(tf.constant(random_windows()))
    for old, variable in zip(before, teacher.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    assert any((old != new.numpy()).any() for old, new in zip(own, student.trainable_variables, strict=True))
    assert not {id(variable) for variable in student.variables} & {id(variable) for variable in teacher.variables}
    names = []
    for name, model in (("student", student), ("plain", plain)):
        path = tf.train.Checkpoint(model=model).write(str(tmp_path / name))
        names.append([(key, shape) for key, shape in tf.train.list_variables(path) if key.startswith("model/")])
    assert names[0] == names[1]

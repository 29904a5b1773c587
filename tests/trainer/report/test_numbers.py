"""The numbers behind the page, against slow counts."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import tensorflow as tf

from trainer.report.answers import hits_of, share_of
from trainer.report.classes import AGES, growing
from trainer.report.codes import perplexity
from trainer.report.events import read_scalars
from trainer.report.markup import named
from trainer.report.pictures import drawing, whole
from trainer.report.samples import _article, choose


def test_classes_of_counts_have_the_names_of_what_is_in_them() -> None:
    classes = growing(2, 20)
    assert classes.names == ["0", "1", "2\N{EN DASH}3", "4\N{EN DASH}7", "8\N{EN DASH}15", "16+"]
    for count in range(40):
        name = classes.names[classes.of(np.array([count]))[0]]
        low, _, high = name.removesuffix("+").partition("\N{EN DASH}")
        assert int(low) <= count <= (math.inf if name.endswith("+") else int(high or low))


def test_ages_are_classes_of_seconds() -> None:
    names = [AGES.names[place] for place in AGES.of(np.array([-5, 0, 86_399, 86_400, 10**9]))]
    assert names == ["day", "day", "day", "week", "older"]


def test_a_share_and_its_interval_are_those_of_users() -> None:
    random.seed(1)
    users = np.array([user for user in range(30) for _ in range(random.randint(1, 6))])
    hits = np.array([random.random() < 0.3 for _ in users])
    share, error = share_of(hits, users)
    p = sum(hits) / len(hits)
    squares = 0.0
    for user in range(30):
        own = [hit for hit, owner in zip(hits, users, strict=True) if owner == user]
        squares += (sum(own) - p * len(own)) ** 2
    assert share == pytest.approx(p)
    assert error == pytest.approx(1.96 * math.sqrt(squares) / len(hits))


def test_a_target_is_hit_where_it_was_answered_to_the_same_query() -> None:
    ranked = np.array([[3, 1, -1], [2, 0, 3]])
    assert hits_of(ranked, [np.array([1, 2, -1]), np.array([3])]).tolist() == [True, False, False, True]


def test_perplexity_of_even_and_of_single_use() -> None:
    assert perplexity(np.array([5, 5, 5, 0, 5])) == pytest.approx(4)
    assert perplexity(np.array([0, 7])) == pytest.approx(1)


def test_users_are_shown_from_short_to_long_histories_and_none_without() -> None:
    histories = [np.zeros(length, int) for length in (4, 0, 9, 1, 2, 7, 3, 0, 5, 6, 8, 10, 11, 12)]
    lengths = [len(histories[query]) for query in choose(histories)]
    assert lengths == sorted(lengths)
    assert len(lengths) == 6
    assert lengths[0] >= 1
    assert len(choose([np.zeros(0, int)])) == 0


def test_a_repeated_epoch_counts_as_it_was_last_written(tmp_path) -> None:
    for value in (1.0, 2.0):
        with tf.summary.create_file_writer(str(tmp_path)).as_default():
            for step in range(3):
                tf.summary.scalar("loss", value + step, step=step)
            tf.summary.histogram("counts", [1.0, 2.0], step=0)
            tf.summary.text("words", "none", step=0)
    assert read_scalars(tmp_path) == {"loss": {0: 2.0, 1: 3.0, 2: 4.0}}
    assert read_scalars(tmp_path / "nowhere") == {}


def test_a_name_is_of_bearable_length_and_cannot_turn_what_stands_beside_it() -> None:
    assert named("<b>\N{RIGHT-TO-LEFT OVERRIDE}x") == "<bdi>&lt;b&gt;\N{RIGHT-TO-LEFT OVERRIDE}x</bdi>"
    shown = named("y" * 5000).removeprefix("<bdi>").removesuffix("</bdi>")
    assert len(shown) == 120
    assert set(shown) == {"y", "\N{HORIZONTAL ELLIPSIS}"}


@pytest.mark.parametrize("counts", [[1], [2, 3], [0, 40_000]])
def test_axes_of_counts_have_marks_at_whole_numbers_only(counts: list[int]) -> None:
    axes = drawing()[1]
    axes.plot(counts, "o")
    whole(axes.yaxis)
    marks = [mark for mark in axes.get_yticks() if mark == int(mark)]
    assert marks == list(axes.get_yticks())
    assert len(marks) >= 1


def test_of_two_items_of_one_title_the_one_that_was_answered_is_ticked() -> None:
    """Both were taken; only the first is among the answers."""
    user = {"user": "u", "events": 1, "history": ["h"], "answers": [{"title": "Twin", "taken": True, "parts": []}]}
    user["next"] = [{"title": "Twin", "answered": True}, {"title": "Twin", "answered": False}]
    took = _article(user).partition("Took next")[2].partition("Recommended")[0]
    assert took.count("Twin") == 2
    assert took.count("✓") == 1

"""Correlation, ratio and headroom of two models: known answers, and users counted one by one."""

import statistics

import numpy as np
import pytest

from recbole_bd.evaluator.complementarity import Complementarity, complementarity

# Two models that hit on other users: the better one has .5, the best of both 1.
FIRST, SECOND = [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]


def test_models_that_know_other_users_have_headroom_and_those_that_know_the_same_have_none():
    found = complementarity(FIRST, SECOND)
    assert found.ratio == pytest.approx(0.5)
    assert found.headroom == pytest.approx(0.75 / 0.5 - 1)
    assert found.correlation == pytest.approx(-1 / np.sqrt(3))
    assert complementarity(FIRST, FIRST) == Complementarity(pytest.approx(1), 1.0, 0.0)
    weaker = complementarity([1.0, 0.8, 0.2], [0.5, 0.4, 0.1])
    assert (weaker.ratio, weaker.headroom) == (pytest.approx(0.5), 0.0)


def test_each_value_is_that_of_a_count_user_by_user():
    generator = np.random.default_rng(3)
    first, second = generator.random((2, 50)) * (generator.random((2, 50)) < 0.4)
    found = complementarity(first, second)
    better = [max(pair) for pair in zip(first, second, strict=True)]
    means = statistics.fmean(first), statistics.fmean(second)
    assert found.headroom == pytest.approx(statistics.fmean(better) / max(means) - 1)
    assert found.correlation == pytest.approx(statistics.correlation(first, second))
    assert found.ratio == pytest.approx(means[1] / means[0])
    errors = complementarity(1 - first, 1 - second, less_is_better=True)
    better = [min(pair) for pair in zip(1 - first, 1 - second, strict=True)]
    assert errors.headroom == pytest.approx(1 - statistics.fmean(better) / (1 - max(means)))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.0, 0.0], [0.0, 0.0], Complementarity(None, None, None)),
        ([0.0, 0.0], [0.0, 1.0], Complementarity(None, None, 0.0)),
        ([0.3, 0.3 + 1e-16], [0.1, 0.2], Complementarity(None, pytest.approx(0.5), 0.0)),
        ([0.5], [0.25], Complementarity(None, 0.5, 0.0)),
    ],
)
def test_what_is_not_defined_is_none(first, second, expected):
    assert complementarity(first, second) == expected

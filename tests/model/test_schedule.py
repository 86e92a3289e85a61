"""Schedules of a weight, written out."""

import math

import pytest

from recbole_bd.model.schedule import share_of_weight


def test_schedules_are_their_formulas():
    assert [share_of_weight("constant", epoch, 3, 5) for epoch in (0, 40)] == [1, 1]
    assert [share_of_weight("linear", epoch, 4, 5) for epoch in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    found = [share_of_weight("decay", epoch, 4, 2.5) for epoch in range(4)]
    assert found == pytest.approx([1, math.e**-0.4, math.e**-0.8, math.e**-1.2])


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule='cosine': must be one of constant, linear, decay"):
        share_of_weight("cosine", 0, 1, 1)

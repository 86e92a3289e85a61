"""Whether a student can teach: which role comes first, and metrics without values of users."""

from types import SimpleNamespace

import numpy as np
import pytest

from recbole_bd.runs.teachability import teachability


def test_the_teacher_comes_first_and_less_may_be_better():
    values = {"teacher/separate/errors@5": np.array([1.0, 4.0]), "student/separate/errors@5": np.array([3.0, 2.0])}
    found = teachability(SimpleNamespace(values=values), {}, "errors@5", less_is_better=True)
    assert found == {"correlation": pytest.approx(-1), "ratio": 1.0, "headroom": pytest.approx(1 - 1.5 / 2.5)}


def test_a_metric_without_values_of_users_has_a_ratio_alone():
    found = teachability(SimpleNamespace(values={}), {"teacher": 0.8, "student": 0.6}, "gauc", False)
    assert found == {"correlation": None, "ratio": pytest.approx(0.75), "headroom": None}

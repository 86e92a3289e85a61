"""A search, and trials that are a formula."""

import pytest

from recbole_bd.tuning.study import Search
from recbole_bd.tuning.trial import FAILED, FINISHED, PRUNED, Outcome
from tests.helpers.searches import METRIC, replace_runs


@pytest.fixture
def search(tmp_path):
    space = {"x": {"uniform": [0.0, 1.0]}, "y": {"choice": [1, 2]}, "z": 3}
    return Search(space, {"dataset": "d"}, {"controls": []}, ("student",), METRIC, 12, 3, 1, tmp_path)


@pytest.fixture
def formula(monkeypatch):
    """Trials of no time at all; what they were asked."""
    asked = []

    def trial(settings, judge):
        asked.append(settings)
        x = settings["x"]
        if settings["y"] == 2 and x < 0.1:
            return Outcome(FAILED, error="too small"), 0
        for epoch in range(12):
            if judge(epoch, x * (epoch + 1) / 12):
                return Outcome(PRUNED, x * (epoch + 1) / 12), 0
        return Outcome(FINISHED, x, {"student": x}, folder="f", seconds=1.0), 0

    replace_runs(monkeypatch, trial)
    return asked

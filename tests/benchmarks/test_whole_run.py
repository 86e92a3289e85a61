"""The benchmark of whole commands: for how many epochs each role was trained."""

import importlib

import pytest

from tests.helpers.paths import ROOT


@pytest.fixture
def whole_run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("whole_run")


def test_epochs_of_all_stages_count_and_a_start_does_not(whole_run, tmp_path):
    metrics = tmp_path / "metrics.csv"
    rows = ["separate,teacher,0", "separate,teacher,5", "separate,student,3", "continued,teacher,-1"]
    rows += ["distilled,teacher,-1", "distilled,teacher,1", "distilled,student,2"]
    metrics.write_text("stage,role,epoch,hit@10\n" + "".join(f"{row},0.5\n" for row in rows))
    assert whole_run.epochs_of(metrics) == {"teacher": 6 + 0 + 2, "student": 4 + 3}

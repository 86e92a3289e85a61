"""Whole runs on the block data: any pair of models, baselines, and the same run again."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from recbole_bd import run_bd
from recbole_bd.errors import InUseError
from recbole_bd.runs import pipeline
from recbole_bd.runs.summary import table
from tests.helpers.finished import ARMS, ROLES
from tests.helpers.resuming import without_times
from tests.helpers.settings import alone

# Whatever is run, its figures can be made.
pytestmark = pytest.mark.figures


@pytest.mark.slow
def test_the_resolved_configuration_is_the_same_run(finished, tmp_path):
    result, _ = finished
    path = f"{result['run_folder']}/config.yaml"
    settings = yaml.safe_load(Path(path).read_text())
    assert settings["student"]["embedding_size"] == 2
    again = run_bd(config_files=[path], config_dict={"checkpoint_dir": str(tmp_path / "again")})
    assert without_times(again) == without_times(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("CDAE", "CDAE"),
        ("NeuMF", "NeuMF"),
        ("LightGCN", "BPR"),
        ("MultiVAE", "LightGCN"),
        ("BPR", "DMF"),
        ("SGL", "SimpleX"),
    ],
)
@pytest.mark.parametrize("exchange", ["pointwise", "listwise", "pairwise"])
def test_any_pair_runs(teacher, student, exchange, quick):
    settings = {**alone(quick), "teacher_model": teacher, "student_model": student, "exchange": exchange}
    result = run_bd(config_dict={**settings, "epochs": 1, "distill_epochs": 1})
    for role in ROLES:
        for arm in ARMS:
            assert 0 <= result[role][arm]["test"]["ndcg@5"] <= 1


@pytest.mark.slow
def test_a_baseline_runs_through_the_same_pipeline(quick):
    for name in ("Pop", "ItemKNN", "BPR"):
        result = run_bd(name, config_dict=alone(quick))
        assert result["method"] == name
        assert result["model"].keys() == {"model", "parameters", "separate"}
        assert result["objective"] == {"separate": {"model": f"loss(model) = {name}"}}
        assert "student_wins" not in result
        assert name in table(result)


def test_the_blocks_are_learnt(finished):
    """Twelve items a block, nine of them seen: whoever learnt the blocks puts the held-out one among the first five."""
    result, _ = finished
    assert result["teacher"]["distilled"]["test"]["hit@5"] > 0.8


@pytest.fixture
def resumed(monkeypatch):
    """`run_bd` with two unfinished runs, of which another process uses the first: its result, and what was tried."""
    tried = []

    def resume_run(folder, given, stop, watch, is_named):
        tried.append((folder, is_named))
        if folder == "first":
            raise InUseError("first is in use by process 7")
        return {"run_folder": folder}

    monkeypatch.setattr(pipeline, "BDConfig", lambda *_, **__: {})
    monkeypatch.setattr(pipeline, "unfinished_runs", lambda config: ["first", "second"])
    monkeypatch.setattr(pipeline, "resume_run", resume_run)

    def run(size):
        own = SimpleNamespace(size=size, broadcast=lambda make: make())
        monkeypatch.setattr(pipeline, "joined", lambda: nullcontext(own))
        return run_bd(resume="auto")

    return run, tried


def test_an_unfinished_run_that_is_in_use_is_left_for_the_next(resumed, caplog):
    run, tried = resumed
    assert run(1) == {"run_folder": "second"}
    assert tried == [("first", False), ("second", False)]
    assert caplog.messages == ["first is in use by process 7"]


def test_several_processes_do_not_part_over_a_run_that_is_in_use(resumed):
    """Only the first of them meets the lock: it must not go on alone to another folder."""
    run, tried = resumed
    with pytest.raises(InUseError, match=r"^first is in use by process 7$"):
        run(2)
    assert tried == [("first", False)]

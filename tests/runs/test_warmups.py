"""Warm-ups: trained once, kept, and taken over by other runs."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_bd import run_bd
from recbole_bd.backbones.snapshot import Snapshot
from recbole_bd.errors import CheckpointError
from recbole_bd.runs import warmups
from recbole_bd.runs.warmups import WarmUps
from recbole_bd.system.locks import exclusively
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.finished import ROLES, log_of
from tests.helpers.resuming import without_times
from tests.helpers.settings import alone


def test_a_warm_up_that_another_process_trains_is_waited_for(quick, caplog):
    settings = {**alone(quick), "model": "BPR"}
    run_bd(config_dict=settings)
    (cache,) = Path(quick["checkpoint_dir"]).glob("warmup/*.pth")
    aside = cache.rename(cache.with_suffix(".aside"))
    results = []
    waiter = threading.Thread(target=lambda: results.append(run_bd(config_dict=settings)))
    with caplog.at_level("INFO"):
        with exclusively(cache.with_suffix(".lock"), "test"):
            waiter.start()
            end = time.monotonic() + 60
            while "waiting for another process: warm-up of the model" not in caplog.text:
                assert time.monotonic() < end
                time.sleep(0.01)
            aside.rename(cache)
        waiter.join()
    assert "warm-up reused" in (Path(results[0]["run_folder"]) / "run.log").read_text()


@pytest.mark.slow
def test_warm_ups_are_reused_by_another_lambda_and_change_nothing(finished, tmp_path):
    result, settings = finished
    again = run_bd(config_dict=settings)
    assert without_times(again) == without_times(result)
    other = run_bd(
        config_dict={**settings, "lambda_teacher_to_student": 0.1, "checkpoint_dir": settings["checkpoint_dir"]}
    )
    fresh = run_bd(config_dict={**settings, "warmup_cache": False, "checkpoint_dir": str(tmp_path / "fresh")})
    assert without_times(fresh) == without_times(result)
    for role in ROLES:
        assert other[role]["separate"] == result[role]["separate"]
        assert other[role]["continued"] == result[role]["continued"]
    assert other["student"]["distilled"] != result["student"]["distilled"]
    assert log_of(other).count("warm-up reused from") == 2
    assert not (tmp_path / "fresh" / "warmup").exists()


@pytest.mark.slow
def test_a_changed_role_setting_warms_up_anew(finished):
    _, settings = finished
    changed = run_bd(config_dict={**settings, "student.learning_rate": 0.02, "distill_epochs": 1})
    assert log_of(changed).count("warm-up reused from") == 1


@pytest.mark.slow
def test_roles_start_from_checkpoints(finished, tmp_path):
    result, settings = finished
    path = f"{result['run_folder']}/teacher.pth"
    started = run_bd(config_dict={**settings, "teacher.checkpoint": path, "checkpoint_dir": str(tmp_path / "s")})
    assert started["teacher"]["separate"]["test"] == result["teacher"]["distilled"]["test"]
    assert started["student"]["separate"] == result["student"]["separate"]


def test_a_kept_warm_up_of_other_data_is_refused(quick, tmp_path):
    settings = {**alone(quick), "model": "BPR", "epochs": 1}
    run_bd(config_dict=settings)
    (tmp_path / "saved").rename(tmp_path / "first")
    write_inter(tmp_path / "d", "blocks", block_pairs(seed=1))
    run_bd(config_dict={**settings, "data_path": str(tmp_path / "d")})
    (mine,), (other,) = ((tmp_path / name / "warmup").glob("*.pth") for name in ("first", "saved"))
    assert mine.name != other.name
    mine.replace(other)
    with pytest.raises(CheckpointError, match=f"{other.name} is a warm-up on other data. Delete it to train the warm"):
        run_bd(config_dict={**settings, "data_path": str(tmp_path / "d")})


@pytest.mark.parametrize("is_first", [True, False])
def test_of_several_processes_the_first_keeps_the_warm_up(is_first, tmp_path, monkeypatch):
    class Group:
        def broadcast(self, make):
            return False  # the first process has found no file

    Group.is_first = is_first
    monkeypatch.setattr(warmups, "group", Group)
    monkeypatch.setattr(warmups, "warmup_hash", lambda *_, **__: "name")
    monkeypatch.setattr(warmups, "own_split_seed", lambda _: None)
    saved, snapshot = [], Snapshot({}, None, epoch=0, valid={})
    monkeypatch.setattr(warmups, "save_model", lambda *given: saved.append(given))
    monkeypatch.setattr(WarmUps, "_trained_alone", lambda self, role: snapshot)
    journal = SimpleNamespace(of=lambda *_: ["validation"], warnings_of=lambda *_: ["warning"])
    config = {"warmup_cache": True, "checkpoint_dir": str(tmp_path)}
    progress = SimpleNamespace(resume_point=lambda stage: None)
    made = WarmUps(config, SimpleNamespace(fingerprint="f"), {}, journal, progress, None, False)
    assert made.warmed_up(SimpleNamespace(name="student", config={}), {"model": "BPR"}) is snapshot
    record = {"model": "BPR", "validations": ["validation"], "warnings": ["warning"]}
    assert saved == ([(tmp_path / "warmup" / "name.pth", snapshot, record)] if is_first else [])
    assert (tmp_path / "warmup" / "name.lock").exists() == is_first

"""Warm-ups: trained once, kept, and taken over by other runs."""

import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_bd import run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.backbones.snapshot import Snapshot
from recbole_bd.errors import CheckpointError, Interrupted
from recbole_bd.runs import warmups
from recbole_bd.runs.warmups import WarmUps
from recbole_bd.system.locks import exclusively
from recbole_bd.trainer.resumable import Keeper
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.finished import ROLES, log_of
from tests.helpers.resuming import without_times
from tests.helpers.settings import QUICK, alone, for_method


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


@pytest.fixture(scope="module")
def hetcomp(block_data, tmp_path_factory):
    """A run of RRD, whose warm-ups have no states, and one of HetComp after it."""
    folders = {"data_path": str(block_data), "checkpoint_dir": str(tmp_path_factory.mktemp("states"))}
    settings = {**QUICK, **folders, "epochs": 9, "distill_epochs": 2, "controls": []}
    first = run_bd("RRD", config_dict=for_method(settings, "RRD"))
    return first, run_bd("HetComp", config_dict=for_method(settings, "HetComp")), settings


def test_a_warm_up_kept_without_states_is_trained_again_and_stays_the_same(hetcomp):
    first, second, settings = hetcomp
    assert log_of(second).count("warm-up reused from") == 1  # the student's
    for role in ROLES:
        assert second[role]["separate"] == first[role]["separate"]
        assert second["hashes"][role] == first["hashes"][role]
    assert second["hashes"]["control"] == first["hashes"]["control"]
    again = run_bd("HetComp", config_dict=for_method({**settings, "kept_states": 2}, "HetComp"))
    assert log_of(again).count("warm-up reused from") == 1  # which states there are depends on their number
    kept, fewer = (load_model(f"{run['run_folder']}/teacher.pth")[0] for run in (second, again))
    assert len(kept.earlier) == 3 > len(fewer.earlier) == 1
    assert all(state["epoch"] < kept.epoch for state in kept.earlier)
    last = run_bd("RRD", config_dict=for_method(settings, "RRD"))
    assert without_times(last) == without_times(first)
    assert load_model(f"{last['run_folder']}/teacher.pth")[0].earlier == []


def test_states_do_not_depend_on_other_runs_of_the_cache(hetcomp, tmp_path):
    """A training for six states keeps others than one for two does, so the two are not taken from the six."""
    settings = {**hetcomp[2], "kept_states": 2, "epochs": 12, "eval_step": 1, "checkpoint_dir": str(tmp_path)}
    fresh = run_bd("HetComp", config_dict=for_method({**settings, "warmup_cache": False}, "HetComp"))
    run_bd("HetComp", config_dict=for_method({**settings, "kept_states": 6}, "HetComp"))
    after, again = (run_bd("HetComp", config_dict=for_method(settings, "HetComp")) for _ in range(2))
    assert without_times(after) == without_times(fresh)
    assert without_times(again) == without_times(fresh)
    assert log_of(again).count("warm-up reused from") == 2
    best = run_bd("RRD", config_dict=for_method(settings, "RRD"))  # the best state is the same in all of them
    assert log_of(best).count("warm-up reused from") == 2


def test_a_warm_up_resumed_with_other_settings_is_not_kept(quick, monkeypatch):
    settings = {**alone(quick), "model": "BPR", "epochs": 6, "stopping_step": 20, "learning_rate": 0.3}
    ended = Keeper.epoch_done

    def stopped(self, epoch, resume_point):
        if epoch == 3:
            self.stop.signal = signal.SIGTERM
        ended(self, epoch, resume_point)

    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "epoch_done", stopped)
        with pytest.raises(Interrupted):
            run_bd(config_dict={**settings, "eval_step": 1})
    (folder,) = Path(settings["checkpoint_dir"]).glob("BPR-*")
    assert run_bd(resume=folder, config_dict={"eval_step": 2})["changes"]
    assert not list(Path(settings["checkpoint_dir"]).glob("warmup/*.pth"))
    run_bd(config_dict={**settings, "eval_step": 2})
    assert len(list(Path(settings["checkpoint_dir"]).glob("warmup/*.pth"))) == 1


def test_a_checkpoint_needs_the_states_that_the_method_asks_for(hetcomp, tmp_path):
    first, second, settings = hetcomp
    settings = for_method({**settings, "checkpoint_dir": str(tmp_path)}, "HetComp")
    bare, full = (f"{run['run_folder']}/teacher.pth" for run in (first, second))
    with pytest.raises(
        CheckpointError, match="holds one state of the teacher, but kept_states=4 asks for earlier ones: "
    ):
        run_bd("HetComp", config_dict={**settings, "teacher.checkpoint": bare})
    assert run_bd("HetComp", config_dict={**settings, "teacher.checkpoint": bare, "kept_states": 1})
    started = run_bd("HetComp", config_dict={**settings, "teacher.checkpoint": full})
    assert started["student"]["distilled"]["test"] == second["student"]["distilled"]["test"]


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
            return None  # the first process has found no file

    Group.is_first = is_first
    monkeypatch.setattr(warmups, "group", Group)
    monkeypatch.setattr(warmups, "warmup_hash", lambda *_, **__: "name")
    monkeypatch.setattr(warmups, "own_split_seed", lambda _: None)
    monkeypatch.setattr(warmups, "fingerprint_of_role", lambda *_: "f")
    saved, snapshot = [], Snapshot({}, None, epoch=0, valid={})
    monkeypatch.setattr(warmups, "save_model", lambda *given: saved.append(given))
    monkeypatch.setattr(WarmUps, "_trained_alone", lambda self, role: snapshot)
    rows = {"validations": ["validation"], "warnings": ["warning"]}
    journal = SimpleNamespace(rows_of=lambda *_: rows)
    config = {"warmup_cache": True, "checkpoint_dir": str(tmp_path)}
    progress = SimpleNamespace(resume_point=lambda stage: None, changes=[])
    made = WarmUps(config, SimpleNamespace(fingerprint="f"), {}, journal, progress, None, False)
    assert made.warmed_up(SimpleNamespace(name="student", config={}), {"model": "BPR"}) is snapshot
    assert saved == ([(tmp_path / "warmup" / "name.pth", snapshot, {"model": "BPR", **rows})] if is_first else [])
    assert (tmp_path / "warmup" / "name.lock").exists() == is_first

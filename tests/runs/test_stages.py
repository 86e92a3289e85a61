"""The stages of a run."""

import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.backbones.names import ARMS
from recbole_bd.errors import ConfigError, Interrupted, RoleError, TrainingError
from recbole_bd.runs.progress import PROGRESS_FILE, Progress
from recbole_bd.runs.records import read_validations
from recbole_bd.runs.stages import Run
from recbole_bd.system import atomic_write
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.finished import ROLES
from tests.helpers.resuming import Killed, differences, run_differences, writes_counted
from tests.helpers.settings import alone, for_method


def test_a_diverged_run_leaves_the_last_good_states(quick, monkeypatch):
    from recbole_bd.model.bd import BD

    original = BD.distillation_loss

    def broken(self, role, batch):
        parts = original(self, role, batch)
        return parts if self.epoch < 2 else {**parts, "distill": parts["distill"] * math.nan}

    def refresh(self, epoch, progress=None):
        self.epoch = epoch
        return BD_refresh(self, epoch, progress)

    BD_refresh = BD.refresh
    monkeypatch.setattr(BD, "refresh", refresh)
    monkeypatch.setattr(BD, "distillation_loss", broken)
    with pytest.raises(TrainingError, match="epoch 2, step 1"):
        run_bd(config_dict=quick)
    (folder,) = [path for path in Path(quick["checkpoint_dir"]).iterdir() if path.name.startswith("BD-")]
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "failed"
    assert "student" in result["error"] or "teacher" in result["error"]
    for role in ROLES:
        snapshot, _ = load_model(folder / f"{role}.pth")
        assert snapshot.epoch in (-1, 0, 1)
        assert all(torch.isfinite(tensor).all() for tensor in snapshot.state.values())


def test_a_signal_in_the_middle_of_a_file_is_a_stop_that_can_be_resumed(quick, monkeypatch):
    """A library turns the exception of a signal into its own, as `torch.save` does."""
    written, runs = atomic_write.synchronise_folder, []

    def signalled(folder):
        if runs and not runs[0].stop._is_deferred:
            runs.clear()
            try:
                signal.raise_signal(signal.SIGINT)
            except Interrupted as error:
                raise RuntimeError("unexpected pos 64 vs 0") from error
        written(folder)

    def stages(self):
        runs.append(self)
        rest(self)

    rest = Run._stages
    monkeypatch.setattr(Run, "_stages", stages)
    monkeypatch.setattr(atomic_write, "synchronise_folder", signalled)
    with pytest.raises(Interrupted, match=r"stopped by SIGINT; progress is saved up to .*--resume="):
        run_bd(config_dict=quick)
    (folder,) = [path for path in Path(quick["checkpoint_dir"]).iterdir() if path.name.startswith("BD-")]
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    monkeypatch.undo()
    assert run_bd(resume=folder)["status"] == "finished"


def test_no_control_and_no_epochs(quick):
    result = run_bd(config_dict={**quick, "control": False, "distill_epochs": 0})
    assert "continued" not in result["teacher"]
    assert result["teacher"]["distilled"] == {**result["teacher"]["separate"], "best_epoch": -1}


def test_where_a_stage_only_harms_its_start_is_the_result_of_every_arm(quick):
    harmful = {"learning_rate": 0.05, "epochs": 10, "distill_learning_rate": 10.0}
    result = run_bd(config_dict={**quick, **harmful})
    folder = Path(result["run_folder"])
    rows = read_validations(folder / "metrics.csv")
    for role in ROLES:
        separate = result[role]["separate"]
        assert separate["best_epoch"] >= 0
        for arm in ("distilled", "continued"):
            assert result[role][arm] == {**separate, "best_epoch": -1}
            first, *later = (row for row in rows if (row["stage"], row["role"]) == (arm, role))
            assert (first["epoch"], first["ndcg@5"]) == (-1, separate["valid"]["ndcg@5"])
            assert later
            assert all(row["ndcg@5"] < first["ndcg@5"] for row in later)
        snapshot, _ = load_model(folder / f"{role}.pth")
        assert (snapshot.epoch, snapshot.valid) == (-1, separate["valid"])


def test_warnings_of_the_data_are_recorded_once(quick, tmp_path):
    write_inter(tmp_path, "again", [*block_pairs(), *block_pairs()[::2]])
    settings = {**alone(quick), "dataset": "again", "data_path": str(tmp_path), "epochs": 1, "model": "BPR"}
    result = run_bd(config_dict=settings)
    folder = Path(result["run_folder"])
    of_data = [warning for warning in result["warnings"] if warning["stage"] == "data"]
    assert [tuple(warning.values())[:-1] for warning in of_data] == [
        ("repeated", "data", "valid", -1),
        ("repeated", "data", "test", -1),
    ]
    assert json.loads((folder / "result.json").read_text())["warnings"] == result["warnings"]
    log = (folder / "run.log").read_text()
    assert [log.count(f"data: {warning['message']}") for warning in of_data] == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "given", "same"),
    [
        # The teacher's list holds the positive, the student's does not.
        ("BD", {}, {"guide_teacher_to_student": "constant", "guide_student_to_teacher": "one_hot"}),
        ("BD", {"placebo": "shuffled", "ranks_of": "learner"}, {"guide": "shuffled", "ranks_of": "learner"}),
        ("RD", {}, {"taught_by": "untrained"}),
    ],
)
def test_the_placebo_arm_is_a_run_with_that_guide(method, given, same, quick, monkeypatch):
    """The other arms are those of a run without it, and its own files hold it like any other arm."""
    settings = {**for_method(quick, method), "epochs": 2, "distill_epochs": 2, "model": method}
    both = {**settings, "controls": ["continued", "placebo"], **given}
    result = run_bd(config_dict=both)
    plain, guided = run_bd(config_dict=settings), run_bd(config_dict={**settings, "controls": [], **same})
    learners = result["learners"]
    here, there = (Progress.load(Path(one["run_folder"])) for one in (result, guided))

    def losses(progress, arm):
        return [{**row, "stage": ""} for row in progress.journal["losses"] if row["stage"] == arm]

    assert losses(here, "placebo") == losses(there, "distilled") != losses(here, "distilled")
    for role in learners:
        assert result[role]["placebo"] == guided[role]["distilled"]
        assert differences(here.arms["placebo"][role].state, there.arms["distilled"][role].state) == []
        assert {arm: result[role][arm] for arm in plain[role]} == plain[role]
        assert result["objective"]["placebo"][role] == guided["objective"]["distilled"][role]
    assert set(result["timing"]) - set(plain["timing"]) == {"placebo_epoch_s"}
    assert len(result["timing"]["placebo_epoch_s"]) == 2
    users = np.load(f"{result['run_folder']}/per_user.npz")
    assert {key.split("/")[1] for key in users.files if "/" in key} == set(ARMS)
    rows = (Path(result["run_folder"]) / "metrics.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == set(ARMS)
    for role in learners:
        states = [load_model(f"{one['run_folder']}/{role}.pth")[0].state for one in (result, plain)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert result["hashes"]["control"] == plain["hashes"]["control"]
    assert result["config_hash"] != plain["config_hash"]
    assert run_bd(config_dict=both, resume="auto")["run_folder"] == result["run_folder"]


@pytest.mark.parametrize("number", [9, 10, 11])
def test_a_run_killed_in_its_placebo_arm_goes_on_bitwise_equal(number, quick, tmp_path, monkeypatch):
    """The ninth write of last.ckpt is at the end of an epoch of the placebo arm."""
    settings = {**quick, "epochs": 1, "distill_epochs": 2, "controls": ["placebo"], "placebo": "shuffled"}
    settings |= {"ranks_of": "learner", "sampling": "top", "warmup_cache": False}
    whole = run_bd(config_dict={**settings, "checkpoint_dir": str(tmp_path / "whole")})
    with writes_counted(number, Killed()), pytest.raises(Killed):
        run_bd(config_dict={**settings, "checkpoint_dir": str(tmp_path / "killed")})
    (folder,) = {path.parent for path in (tmp_path / "killed").glob(f"*/{PROGRESS_FILE}")}
    progress = Progress.load(folder)
    assert ("placebo" in progress.arms) == (number == 11)
    assert progress.stage == (None if number == 11 else "placebo")
    assert run_differences(whole, run_bd(resume=folder)) == []


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        (
            "BD",
            {"placebo": "one_hot"},
            "placebo=one_hot: the student learns from items without the positive; use",
        ),
        ("CD", {"placebo": "self"}, "placebo=self: the placebo of CD is an untrained teacher; use placebo=auto"),
        ("RD", {"teacher_model": "ItemKNN"}, "teacher: ItemKNN is computed from the data as soon as it is built"),
    ],
)
def test_a_placebo_that_there_is_not_is_refused_before_anything_is_written(method, given, message, quick):
    settings = {key: value for key, value in for_method(quick, method).items() if "teacher." not in key}
    with pytest.raises((ConfigError, RoleError), match=message):
        run_bd(config_dict={**settings, "model": method, "controls": ["placebo"], **given})
    assert not list(Path(quick["checkpoint_dir"]).glob(f"{method}-*"))


def test_any_error_leaves_its_message_and_a_run_that_can_be_resumed(quick, monkeypatch):
    from recbole_bd.model.bd import BD

    def broken(self, role, batch):
        raise MemoryError("cannot allocate\n9 GB")

    with monkeypatch.context() as patched:
        patched.setattr(BD, "distillation_loss", broken)
        with pytest.raises(MemoryError):
            run_bd(config_dict=quick)
    (folder,) = Path(quick["checkpoint_dir"]).glob("BD-*")
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["error"]) == ("failed", "MemoryError: cannot allocate 9 GB")
    assert run_bd(resume=folder)["status"] == "finished"

"""The stages of a run."""

import json
import math
from pathlib import Path

import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.errors import TrainingError
from recbole_bd.runs.records import read_validations
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.finished import ROLES
from tests.helpers.settings import alone


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

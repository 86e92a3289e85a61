"""Files that a run leaves, and that their numbers are right."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from recbole_bd import run_bd
from recbole_bd.data.split import load_split
from recbole_bd.evaluator.complementarity import complementarity
from recbole_bd.runs.outputs import RunOutputs
from recbole_bd.runs.per_user import VALIDATION_VALUES, per_user
from recbole_bd.trainer.journal import Journal
from tests.helpers.data import PARTS, write_some_of_citeulike
from tests.helpers.finished import ARMS, ROLES, by_hand, saved_scores
from tests.helpers.paths import SHARED_DATA, needs_data
from tests.helpers.settings import make_config


@pytest.mark.slow
def test_the_result_has_its_documented_form(finished):
    result, _ = finished
    with open(f"{result['run_folder']}/result.json") as stream:
        assert json.load(stream) == result
    assert (result["schema"], result["status"], result["method"], result["dataset"]) == (2, "finished", "BD", "blocks")
    assert result["data"]["users"] == 60
    assert {"recbole_bd", "python", "torch", "numpy", "recbole"} <= result["versions"].keys()
    assert result["machine"]["device"] == "cpu"
    for role in ROLES:
        assert result[role]["model"] == "BPR"
        for arm in ARMS:
            entry = result[role][arm]
            assert isinstance(entry["best_epoch"], int)
            for part in ("valid", "test"):
                assert entry[part].keys() == {"hit@5", "ndcg@5"}
                assert all(0 <= value <= 1 for value in entry[part].values())
    assert result["teacher"]["parameters"] == 4 * result["student"]["parameters"] == (61 + 49) * 8
    assert result["student_wins"].keys() == result["student_wins_trained"].keys() == {"separate", "distilled"}
    own = {role: f"loss({role}) = BPR" for role in ROLES}
    assert {arm: result["objective"][arm] for arm in ("separate", "continued")} == {"separate": own, "continued": own}
    assert all(result["objective"]["distilled"][role].startswith(f"{own[role]} + ") for role in ROLES)
    timing = result["timing"]
    assert len(timing["distill_epoch_s"]) == 3
    assert len(timing["refresh_s"]) == 2  # epochs 0 and 2
    assert timing["warmup_teacher_s"] > 0
    assert timing["total_s"] >= timing["warmup_teacher_s"] + sum(timing["distill_epoch_s"])
    assert result["peak_rss_mb"] > 50


def test_the_duration_includes_the_pictures(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("recbole_bd.runs.outputs.plots.draw", lambda *_: drawn.append("picture"))
    outputs = RunOutputs(None, None, {}, tmp_path, is_first_process=True)
    outputs.close("finished", {}, Journal(tmp_path), lambda: 7.5 if drawn else 5.0)
    assert json.loads((tmp_path / "result.json").read_text())["timing"]["total_s"] == 7.5


def test_the_run_folder_has_its_files(finished):
    result, _ = finished
    folder = Path(result["run_folder"])
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "result.json", "config.yaml", "metrics.csv", "run.log", "curves.png", "tensorboard", "teacher.pth",
        "student.pth", "last.ckpt", ".lock", "per_user.npz", "per_user_valid.npz", "test_ranks.npz", "wins.png",
        "discrepancy.npz", "discrepancy.png",
    }  # fmt: skip
    assert list((folder / "tensorboard").iterdir())
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    for role in ROLES:
        for arm in ARMS:
            mine = [row for row in rows if (row["role"], row["stage"]) == (role, arm)]
            assert max(float(row["ndcg@5"]) for row in mine) == result[role][arm]["valid"]["ndcg@5"]
    log = (folder / "run.log").read_text()
    for arm in ARMS:
        for line in result["objective"][arm].values():
            assert log.count(f"{arm}: {line}\n") == 1
    assert "device cpu" in log
    assert re.search(r" ranks by both roles compared for 60 of 60 users in \d", log)
    assert "\x1b[" not in log


def test_metrics_are_those_of_the_saved_states(finished):
    result, settings = finished
    split = load_split(make_config(settings))
    for role in ROLES:
        expected = by_hand(split, saved_scores(result, role))
        assert result[role]["distilled"]["test"] == pytest.approx(expected, abs=2e-6)


def test_wins_are_those_of_the_saved_states(finished):
    result, settings = finished
    split = load_split(make_config(settings))
    listed = {
        pair for part in ("train", "valid") for pair in zip(*(i.tolist() for i in split.pairs(part)), strict=True)
    }
    ranks = {}
    for role in ROLES:
        scores_of = saved_scores(result, role)
        ranks[role] = []
        for user, item in zip(*(ids.tolist() for ids in split.pairs("test")), strict=True):
            scores = scores_of(user)
            rivals = [i for i in range(1, split.n_items) if (user, i) not in listed]
            ranks[role].append(1 + sum(scores[i] > scores[item] for i in rivals))
    wins = np.array(ranks["student"]) < np.array(ranks["teacher"])
    assert result["student_wins"]["distilled"] == pytest.approx(wins.mean(), abs=1e-6)
    trained = np.isin(split.pairs("test")[1], split.pairs("train")[1])
    assert result["student_wins_trained"]["distilled"] == pytest.approx(wins[trained].mean(), abs=1e-6)


def test_the_roles_are_compared_by_their_validations_before_distillation(finished):
    result, _ = finished
    users, values = per_user(result["run_folder"], VALIDATION_VALUES)
    assert len(users) == 60
    assert values.keys() == {"teacher/separate/ndcg@5", "student/separate/ndcg@5"}
    for role in ROLES:
        mean = result[role]["separate"]["valid"]["ndcg@5"]
        assert values[f"{role}/separate/ndcg@5"].mean() == pytest.approx(mean, abs=1e-6)
    assert result["complementarity"] == pytest.approx(vars(complementarity(*values.values())))
    assert 0 < result["complementarity"]["headroom"] < 1


@pytest.mark.slow
@needs_data("citeulike")
def test_metrics_on_citeulike_are_those_of_the_saved_states(tmp_path):
    """On the interactions of 600 users, whose scores take a tenth of the time."""
    whole = load_split(make_config({"dataset": "citeulike", "data_path": str(SHARED_DATA)}))
    assert {part: len(whole.pairs(part)[0]) for part in PARTS} == {"train": 120361, "valid": 5219, "test": 5219}
    settings = {
        "dataset": "citeulike", "data_path": str(write_some_of_citeulike(tmp_path)), "device": "cpu",
        "checkpoint_dir": str(tmp_path / "saved"),
        "epochs": 1, "distill_epochs": 1, "control": False, "topk": [50], "valid_metric": "NDCG@50",
        "show_progress": False,
    }  # fmt: skip
    result = run_bd(config_dict=settings)
    split = load_split(make_config(settings))
    assert result["data"]["split"] == {"train": 12189, "valid": 600, "test": 600}
    for role in ROLES:
        expected = by_hand(split, saved_scores(result, role), 50)
        assert result[role]["distilled"]["test"] == pytest.approx(expected, abs=1e-4)

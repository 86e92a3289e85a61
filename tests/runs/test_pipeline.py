"""Whole runs on the block data: what they leave, that it is right, and that it can be had again."""

import csv
import json
import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_bd import load_data_and_model, run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.data.split import load_split
from recbole_bd.errors import BDError, CheckpointError, TrainingError
from recbole_bd.runs import hashes
from recbole_bd.runs.hashes import run_hashes
from recbole_bd.runs.summary import table
from tests.helpers.paths import SHARED_DATA, needs_data
from tests.helpers.settings import alone, make_config

ROLES, ARMS = ("teacher", "student"), ("separate", "continued", "distilled")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, block_data):
    """One finished run and its settings."""
    from tests.helpers.settings import QUICK

    folder = tmp_path_factory.mktemp("run")
    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(folder / "saved"), "epochs": 25}
    settings["learning_rate"] = 0.05
    return run_bd(config_dict=settings), settings


def log_of(result: dict) -> str:
    return (Path(result["run_folder"]) / "run.log").read_text()


def without_times(result: dict) -> dict:
    varying = ("timing", "peak_rss_mb", "run_folder", "command", "machine")
    return {key: value for key, value in result.items() if key not in varying}


@pytest.mark.slow
def test_the_result_has_its_documented_form(finished):
    result, _ = finished
    with open(f"{result['run_folder']}/result.json") as stream:
        assert json.load(stream) == result
    assert (result["schema"], result["status"], result["method"], result["dataset"]) == (1, "finished", "BD", "blocks")
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
    assert result["student_wins"].keys() == {"separate", "distilled"}
    own = {role: f"loss({role}) = BPR" for role in ROLES}
    assert {arm: result["objective"][arm] for arm in ("separate", "continued")} == {"separate": own, "continued": own}
    assert all(result["objective"]["distilled"][role].startswith(f"{own[role]} + ") for role in ROLES)
    timing = result["timing"]
    assert len(timing["distill_epoch_s"]) == 3
    assert len(timing["refresh_s"]) == 2  # epochs 0 and 2
    assert timing["warmup_teacher_s"] > 0
    assert timing["total_s"] >= timing["warmup_teacher_s"] + sum(timing["distill_epoch_s"])
    assert result["peak_rss_mb"] > 50


def test_the_run_folder_has_its_files(finished):
    result, _ = finished
    folder = Path(result["run_folder"])
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "result.json", "config.yaml", "metrics.csv", "run.log", "curves.png", "tensorboard", "teacher.pth",
        "student.pth", "last.ckpt", ".lock", "per_user.npz", "test_ranks.npz", "wins.png", "discrepancy.npz",
        "discrepancy.png",
    }  # fmt: skip
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
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
    assert "\x1b[" not in log


def by_hand(split, scores_of, k=5) -> dict:
    """Hit, NDCG of the test part from scores, user by user."""
    listed = {}
    for part in ("train", "valid"):
        for user, item in zip(*(ids.tolist() for ids in split.pairs(part)), strict=True):
            listed.setdefault(user, set()).add(item)
    wanted = {}
    for user, item in zip(*(ids.tolist() for ids in split.pairs("test")), strict=True):
        wanted.setdefault(user, set()).add(item)
    hits, gains = [], []
    for user, items in wanted.items():
        scores = scores_of(user)
        known = listed.get(user, set()) | {0}
        order = islice((i for i in np.argsort(-scores, kind="stable").tolist() if i not in known), k)
        found = [item in items for item in order]
        hits.append(any(found))
        ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(items))))
        gains.append(sum(1 / math.log2(place + 2) for place, hit in enumerate(found) if hit) / ideal)
    return {f"hit@{k}": float(np.mean(hits)), f"ndcg@{k}": float(np.mean(gains))}


def saved_scores(result, role):
    state = load_model(f"{result['run_folder']}/{role}.pth")[0].state
    users, items = (state[f"{side}_embedding.weight"].double().numpy() for side in ("user", "item"))
    return lambda user: users[user] @ items.T


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
    wins = np.mean(np.array(ranks["student"]) < np.array(ranks["teacher"]))
    assert result["student_wins"]["distilled"] == pytest.approx(wins, abs=1e-6)


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
def test_a_student_with_its_teachers_settings_is_another_model(quick, tmp_path):
    settings = {**quick, "epochs": 0, "distill_epochs": 0, "student.embedding_size": 8, "seed": 7}
    result = run_bd(config_dict=settings)
    teacher, student = (load_model(f"{result['run_folder']}/{role}.pth")[0].state for role in ROLES)
    assert all(not torch.equal(teacher[name], student[name]) for name in teacher)
    assert "student: BPR, 880 parameters; its settings equal the teacher's, so it starts from seed 65543" in log_of(
        result
    )
    other = run_bd(config_dict={**settings, "seed": 65543, "student.embedding_size": 2})
    there = load_model(f"{other['run_folder']}/teacher.pth")[0].state
    assert all(torch.equal(there[name], student[name]) for name in there)
    again = run_bd(config_files=[f"{result['run_folder']}/config.yaml"], config_dict={"checkpoint_dir": str(tmp_path)})
    assert without_times(again) == without_times(result)


def test_a_student_that_is_a_double_has_hashes_of_its_own(quick):
    def hashes(**more):
        return run_hashes(make_config({**quick, "student.embedding_size": 8, **more}))

    double, of_lightgcn = hashes(), hashes(teacher_model="LightGCN")
    assert double["student"] not in (double["teacher"], of_lightgcn["student"])
    assert hashes(seed=3)["settings"] == double["settings"] != of_lightgcn["settings"]
    assert hashes(seed=3)["student"] == double["student"]
    checkpoint = {"student.checkpoint": "there/is/none.pth"}
    assert hashes(**checkpoint)["student"] == hashes(**checkpoint, teacher_model="LightGCN")["student"]


def test_an_option_that_came_later_leaves_the_hashes_of_runs_of_before(quick, monkeypatch):
    later = {"exchange_student_to_teacher": "pointwise"}
    plain, changed = (run_hashes(make_config({**quick, **more})) for more in ({}, later))
    assert plain["config"] != changed["config"]
    resolved = make_config(quick).as_dict()
    before = {key: value for key, value in resolved.items() if key not in hashes._SINCE}
    assert len(before) == len(resolved) - 4
    monkeypatch.setattr("recbole_bd.config.config.BDConfig.as_dict", lambda _: before)
    assert run_hashes(make_config(quick)) == plain


@pytest.mark.slow
def test_the_resolved_configuration_is_the_same_run(finished, tmp_path):
    result, _ = finished
    path = f"{result['run_folder']}/config.yaml"
    settings = yaml.safe_load(Path(path).read_text())
    assert settings["student"]["embedding_size"] == 2
    again = run_bd(config_files=[path], config_dict={"checkpoint_dir": str(tmp_path / "again")})
    assert without_times(again) == without_times(result)


def test_a_model_loads_as_in_recbole(finished):
    result, settings = finished
    config, model, dataset, train, valid, test = load_data_and_model(f"{result['run_folder']}/student.pth")
    assert config["model"] == "BPR"
    assert (dataset.user_num, dataset.item_num) == (61, 49)
    assert not model.training
    from recbole.trainer import Trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(settings["checkpoint_dir"])
        trainer = Trainer(config, model)
        trainer.eval_collector.data_collect(train)
        assert dict(trainer.evaluate(test, load_best_model=False)) == result["student"]["distilled"]["test"]
        assert dict(trainer.evaluate(valid, load_best_model=False)) == result["student"]["distilled"]["valid"]


@pytest.mark.slow
def test_roles_start_from_checkpoints(finished, tmp_path):
    result, settings = finished
    path = f"{result['run_folder']}/teacher.pth"
    started = run_bd(config_dict={**settings, "teacher.checkpoint": path, "checkpoint_dir": str(tmp_path / "s")})
    assert started["teacher"]["separate"]["test"] == result["teacher"]["distilled"]["test"]
    assert started["student"]["separate"] == result["student"]["separate"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher.embedding_size": 5}, "needs .* it was made for different sizes"),
        ({"seed": 1}, "different data or another split"),
        ({"teacher_model": "LINE"}, "has model BPR, but this run's teacher has model LINE"),
        ({"teacher.checkpoint": "none.pth"}, "does not exist"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, message, finished, tmp_path):
    result, settings = finished
    path = f"{result['run_folder']}/teacher.pth"
    changed = {**settings, "teacher.checkpoint": path, "checkpoint_dir": str(tmp_path / "s"), **change}
    with pytest.raises(CheckpointError, match=message):
        run_bd(config_dict=changed)
    assert not (tmp_path / "s").exists(), "something was written"


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
        assert snapshot.epoch in (0, 1)
        assert all(torch.isfinite(tensor).all() for tensor in snapshot.state.values())


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


def test_no_control_and_no_epochs(quick):
    result = run_bd(config_dict={**quick, "control": False, "distill_epochs": 0})
    assert "continued" not in result["teacher"]
    assert result["teacher"]["distilled"] == result["teacher"]["separate"]


def test_the_blocks_are_learnt(finished):
    """Twelve items a block, nine of them seen: whoever learnt the blocks puts the held-out one among the first five."""
    result, _ = finished
    assert result["teacher"]["distilled"]["test"]["hit@5"] > 0.8


def test_sizes_that_cannot_be_are_refused(quick):
    with pytest.raises(BDError, match="samples_per_positive=49"):
        run_bd(config_dict={**quick, "samples_per_positive": 49})


@pytest.mark.slow
@needs_data("citeulike")
def test_metrics_on_citeulike_are_those_of_the_saved_states(tmp_path):
    settings = {
        "dataset": "citeulike", "data_path": str(SHARED_DATA), "checkpoint_dir": str(tmp_path), "device": "cpu",
        "epochs": 2, "distill_epochs": 1, "control": False, "topk": [50], "valid_metric": "NDCG@50",
        "show_progress": False,
    }  # fmt: skip
    result = run_bd(config_dict=settings)
    split = load_split(make_config(settings))
    assert result["data"]["split"] == {"train": 120361, "valid": 5219, "test": 5219}
    for role in ROLES:
        expected = by_hand(split, saved_scores(result, role), 50)
        assert result[role]["distilled"]["test"] == pytest.approx(expected, abs=1e-4)

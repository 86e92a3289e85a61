"""Runs of the one-way methods: what they leave, and that they teach."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.model.general_recommender import LightGCN

from recbole_bd import load_data_and_model, run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.model import METHODS
from recbole_bd.model.best_guide import untrained_role
from recbole_bd.runs import summary
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.scenes import Scene, pair
from tests.helpers.settings import for_method

ONE_WAY = [name for name, method in METHODS.items() if method.learners == (STUDENT,)]


# --- runs -------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("method", ONE_WAY)
def test_a_run_has_all_arms_of_the_student_and_one_of_the_frozen_teacher(method, quick):
    result = run_bd(method, config_dict=for_method(quick, method))
    with open(f"{result['run_folder']}/result.json") as stream:
        assert json.load(stream) == result
    assert result["method"] == method
    assert result["teacher"].keys() == {"model", "parameters", "separate"}
    assert result["student"].keys() == {"model", "parameters", "separate", "continued", "distilled"}
    assert result["student_wins"].keys() == {"separate", "distilled"}
    rows = (Path(result["run_folder"]) / "metrics.csv").read_text().splitlines()
    assert {tuple(row.split(",")[:2]) for row in rows[1:]} == {
        ("separate", "teacher"), ("separate", "student"), ("distilled", "student"), ("continued", "student"),
    }  # fmt: skip
    shown = summary.table(result)
    assert [line.split()[0] for line in shown.splitlines()[2:]] == ["teacher", "student", "continued", "distilled"]
    assert "vs separate" in shown
    model = load_model(f"{result['run_folder']}/student.pth")[0]
    assert set(model.state) == {"user_embedding.weight", "item_embedding.weight"}
    assert load_data_and_model(f"{result['run_folder']}/teacher.pth")[1].embedding_size == 8


@pytest.mark.slow
def test_all_methods_start_from_the_same_warm_ups_and_are_held_against_the_same_control(quick):
    results = [run_bd(method, config_dict=for_method(quick, method)) for method in METHODS]
    for arm in ("separate", "continued"):
        first, *others = [result["student"][arm] for result in results]
        assert all(other == first for other in others)
    assert len(list((Path(quick["checkpoint_dir"]) / "warmup").glob("*.pth"))) == 2


@pytest.mark.parametrize(("method", "teacher"), [("RD", "ItemKNN"), ("CD", "ItemKNN"), ("RRD", "EASE")])
def test_a_model_without_gradient_teaches(method, teacher, quick):
    settings = {key: value for key, value in quick.items() if key != "teacher.embedding_size"}
    settings = {**for_method(settings, method), "teacher_model": teacher, "epochs": 1, "distill_epochs": 1}
    result = run_bd(method, config_dict=settings)
    assert result["status"] == "finished"
    (line,) = [line for line in (Path(result["run_folder"]) / "run.log").open() if "distilled: epoch 0 in" in line]
    assert 0 < float(line.rsplit("distill ", 1)[1]) < 10


def test_a_frozen_graph_teacher_propagates_for_refreshes_only(quick, monkeypatch):
    calls = []
    original = LightGCN.forward
    monkeypatch.setattr(LightGCN, "forward", lambda self: calls.append(1) or original(self))
    for method in ONE_WAY:
        scene = Scene(pair(quick, "LightGCN", "BPR"), model=method)
        calls.clear()
        scene.trained()
        assert len(calls) <= (3 if method in ("CD", "CE", "RCEKD") else 0)  # these score their new items once an epoch


# --- they teach -------------------------------------------------------------------------------------------------------
# Users of block b like items of block b, three of which are known, six times as many items are not. Student and
# separate teacher see the same; the teacher is the larger or, for RD, whose lists alone tell little, a neighbourhood.
TAUGHT = {
    "RD": {"teacher_model": "ItemKNN", "lambda_teacher_to_student": 0.3, "top_items": 6},
    "CD": {"teacher.embedding_size": 16},
    "DE": {"teacher.embedding_size": 16, "lambda_teacher_to_student": 0.3, "experts": 4},
    "FTD": {"teacher.embedding_size": 16, "lambda_teacher_to_student": 1.0},
    "HTD": {"teacher.embedding_size": 16, "lambda_teacher_to_student": 1.0, "topology_share": 0.8, "experts": 8},
    "RRD": {
        "teacher.embedding_size": 16, "lambda_teacher_to_student": 0.02, "interesting_items": 10,
        "uninteresting_items": 20, "rank_temperature": 5.0,
    },
    "CE": {"teacher.embedding_size": 16, "top_items": 20},
    "RCEKD": {"teacher.embedding_size": 16, "top_items": 20, "sampled_items": 20, "sampled_from": 60},
    "DCD": {
        "teacher.embedding_size": 16, "lambda_teacher_to_student": 0.02, "list_length": 30, "corrected_items": 10,
        "interesting_items": 10, "uninteresting_items": 20, "rank_temperature": 5.0,
    },
    "UnKD": {"teacher.embedding_size": 16, "popularity_groups": 2, "rank_temperature": 10.0},
    "HetComp": {
        "teacher.embedding_size": 16, "lambda_teacher_to_student": 0.02, "top_items": 20, "refresh_period": 3,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def sparse_blocks(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("taught")
    write_inter(folder, "sparse", block_pairs(n_users=120, n_items=96, blocks=8, per_user=6))
    return {
        "dataset": "sparse", "data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "device": "cpu",
        "metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5", "show_progress": False, "train_batch_size": 128,
        "eval_args": {"split": {"RS": [0.5, 0.17, 0.33]}, "group_by": "user", "order": "RO", "mode": "full"},
        "learning_rate": 0.02, "epochs": 40, "distill_epochs": 30, "stopping_step": 30, "student.embedding_size": 4,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("method", ONE_WAY)
def test_a_tiny_student_is_lifted_above_its_separate_self(method, sparse_blocks):
    results = [run_bd(method, config_dict={**sparse_blocks, **TAUGHT[method], "seed": seed}) for seed in (2021, 2022)]
    separate, continued, distilled = (
        np.mean([result["student"][arm]["test"]["ndcg@5"] for result in results])
        for arm in ("separate", "continued", "distilled")
    )
    assert distilled > separate + 0.06
    assert distilled > continued + 0.01


@pytest.mark.parametrize("method", ONE_WAY)
def test_an_untrained_teacher_stands_in_for_the_trained_one(method, quick):
    scene = Scene(quick, model=method, taught_by="untrained")
    role, frozen = scene.roles[TEACHER], scene.method.frozen
    new = untrained_role(role, scene.split.train).model.state_dict()
    assert all(torch.equal(new[name], tensor) for name, tensor in frozen.model.state_dict().items())
    assert not any(torch.equal(new[name], tensor) for name, tensor in role.model.state_dict().items())
    assert scene.gradients(STUDENT)[STUDENT] > 0
    assert all(parameter.grad is None for parameter in frozen.model.parameters())
    plain = Scene(quick, model=method)
    parts = [one.method.loss(STUDENT, one.batch_of(STUDENT)) for one in (scene, plain)]
    assert torch.equal(*(part["cf"] for part in parts))
    assert not torch.equal(*(part["distill"] for part in parts))


def test_the_list_of_an_untrained_teacher_is_its_own(quick):
    scene = Scene(quick, model="CD", taught_by="untrained", guide="teacher")
    seen, user = scene.method.seen, 5
    logits = scene.method.frozen.all_logits(torch.tensor([user]))[0].detach().clone()
    logits[0] = logits[seen.items[seen.starts[user] : seen.starts[user + 1]]] = -torch.inf
    assert scene.method.lists[user, 0] == logits.argmax()

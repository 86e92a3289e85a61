"""Runs of the one-way methods: what they leave, and what an untrained teacher changes."""

import json
from pathlib import Path

import pytest
import torch
from recbole.model.general_recommender import LightGCN

from recbole_bd import load_data_and_model, run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.backbones.names import PAIR, STUDENT, TEACHER
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from recbole_bd.model.best_guide import untrained_role
from recbole_bd.runs import summary
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
    kept = sorted(path.stem for path in (Path(quick["checkpoint_dir"]) / "warmup").glob("*.pth"))
    assert len({name.partition("-")[0] for name in kept}) == 2
    assert [name.partition("-")[2] for name in kept if "-" in name] == ["4"]  # HetComp's, with earlier states


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


@pytest.mark.parametrize("method", METHODS)
def test_a_placebo_differs_in_the_target_alone_or_is_refused_by_name(method, quick):
    """Shuffled targets are those of a method that draws items for rows of a batch; nothing is written before."""
    settings = {**for_method(quick, method), "model": method, "controls": ["continued", "placebo"]}
    if method == "BD":
        plain, placebo = Scene({**quick, **settings}), Scene({**quick, **settings, "guide": "shuffled"})
        assert all(torch.equal(plain.method.sampler.pools[role], placebo.method.sampler.pools[role]) for role in PAIR)
        parts = [one.method.loss(STUDENT, one.batch_of(STUDENT)) for one in (plain, placebo)]
        assert torch.equal(*(part["cf"] for part in parts))
        assert not torch.equal(*(part["distill"] for part in parts))
    else:
        who = "an untrained teacher" if method in ONE_WAY else "untrained models"
        with pytest.raises(ConfigError, match=f"placebo=shuffled: the placebo of {method} is {who}; use placebo=auto"):
            run_bd(config_dict={**settings, "placebo": "shuffled"})
    same = {"guide": "shuffled", "placebo": "shuffled"} if method == "BD" else {"taught_by": "untrained"}
    with pytest.raises(ConfigError, match=r"the distilled arm (learns from it already|is the placebo).*; leave "):
        run_bd(config_dict={**settings, **same})
    assert not Path(quick["checkpoint_dir"]).exists()


@pytest.mark.parametrize("method", ["CE", "RCEKD"])
def test_an_untrained_teacher_leaves_the_students_list_as_it_is(method, quick):
    found = [Scene(quick, model=method, taught_by=who).method for who in ("teacher", "untrained")]
    lists = [one.lists if method == "CE" else one.items[:, : one.config["top_items"]] for one in found]
    assert torch.equal(*lists)


def test_the_list_of_an_untrained_teacher_is_its_own(quick):
    scene = Scene(quick, model="CD", taught_by="untrained", guide="teacher")
    seen, user = scene.method.seen, 5
    logits = scene.method.frozen.all_logits(torch.tensor([user]))[0].detach().clone()
    logits[0] = logits[seen.items[seen.starts[user] : seen.starts[user + 1]]] = -torch.inf
    assert scene.method.lists[user, 0] == logits.argmax()

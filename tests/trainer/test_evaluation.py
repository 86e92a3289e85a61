"""The evaluation of one role, against RecBole's."""

import pytest
import torch
from recbole.trainer import Trainer

from recbole_bd.backbones.names import STUDENT
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.trainer.evaluation import evaluate
from recbole_bd.trainer.journal import Journal
from tests.helpers.scenes import Scene


@pytest.mark.parametrize("part", ["valid", "test"])
def test_an_evaluation_is_recboles_and_is_timed(part, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene = Scene(quick, metrics=["Hit", "NDCG", "MRR"])
    role, journal = scene.roles[STUDENT], Journal()
    before = scene.states()
    found = evaluate(role, scene.split, getattr(scene.split, f"{part}_loader"), journal, "separate")
    host = Trainer(role.config, role.model)
    host.eval_collector.data_collect(next(iter(scene.stream().loaders)))
    assert found == dict(host.evaluate(getattr(scene.split, f"{part}_loader"), load_best_model=False))
    assert all(type(value) is float for value in found.values())
    assert len(journal.seconds["eval"]) == 1
    assert journal.validations == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in scene.states().items())


def test_values_of_the_users_are_kept_by_role_and_arm(quick):
    scene = Scene(quick)
    per_user = PerUser(scene.split)
    found = evaluate(
        scene.roles[STUDENT], scene.split, scene.split.test_loader, Journal(), "continued", per_user=per_user
    )
    assert per_user.values.keys() == {"student/continued/hit@5", "student/continued/ndcg@5"}
    for name, value in found.items():
        values = per_user.values[f"student/continued/{name}"]
        assert len(values) == 60
        assert values.mean() == pytest.approx(value, abs=5e-5)

"""The evaluation of one role, against RecBole's."""

import numpy as np
import pytest
import torch
from recbole.trainer import Trainer

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.trainer.evaluation import evaluate, evaluate_mean, standardised_rows
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


def test_standardised_rows_have_mean_0_and_deviation_1_over_what_is_ranked():
    inf = torch.inf
    scores = torch.tensor([[-inf, 1.0, 3.0, -inf, 5.0], [-inf, 2.0, 2.0, 2.0, 2.0], [-inf, 7.0, -inf, -inf, -inf]])
    deviation = (8 / 3) ** 0.5
    expected = [[-inf, -2 / deviation, 0, -inf, 2 / deviation], [-inf, 0, 0, 0, 0], [-inf, 0, -inf, -inf, -inf]]
    torch.testing.assert_close(standardised_rows(scores), torch.tensor(expected))


def _hits_of_mean(scene: Scene, part: str, shares: dict[str, float]) -> float:
    """Hit@5 of the mean, one user after the other, from the models' vectors."""
    split, hits = scene.split, []
    seen = [split.pairs("train")] + ([split.pairs("valid")] if part == "test" else [])
    positives = [tensor.numpy() for tensor in split.pairs(part)]
    for user in np.unique(positives[0]):
        ranked = np.ones(split.n_items, dtype=bool)
        ranked[0] = False
        for users, items in seen:
            ranked[items[users == user].numpy()] = False
        mean = np.zeros(ranked.sum())
        for name, share in shares.items():
            model = scene.roles[name].model
            vector = model.user_embedding.weight[user].detach().double().numpy()
            scores = (model.item_embedding.weight.detach().double().numpy() @ vector)[ranked]
            mean += share * (scores - scores.mean()) / scores.std()
        best = np.flatnonzero(ranked)[np.argsort(-mean)[:5]]
        hits.append(np.isin(positives[1][positives[0] == user], best).any())
    return float(np.mean(hits))


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1)])
def test_the_mean_of_two_models_is_that_of_their_standardised_scores(part, shares, quick):
    scene = Scene(quick)
    roles = [scene.roles[name] for name in (TEACHER, STUDENT)]
    with torch.no_grad():  # the scale of a model's scores must not matter
        roles[1].model.item_embedding.weight *= 1000
    loader, before = getattr(scene.split, f"{part}_loader"), scene.states()
    per_user = PerUser(scene.split)
    found = evaluate_mean(roles, shares, scene.split, loader, Journal(), "mean", per_user)
    expected = _hits_of_mean(scene, part, dict(zip((TEACHER, STUDENT), shares, strict=True)))
    assert found["hit@5"] == pytest.approx(expected, abs=1e-6)
    assert per_user.values["mean/hit@5"].mean() == pytest.approx(expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in scene.states().items())


def test_the_mean_of_one_model_with_itself_is_the_model(quick):
    scene = Scene(quick, eval_args={"mode": "uni20", "split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO"})
    role = scene.roles[TEACHER]
    alone = evaluate(role, scene.split, scene.split.test_loader, Journal(), "separate")
    assert evaluate_mean([role, role], (0.3, 0.7), scene.split, scene.split.test_loader, Journal(), "mean") == alone

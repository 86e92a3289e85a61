"""CD: its loss written out, and the items it takes."""

import math

import numpy as np
import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from tests.helpers.rankings import ranking, score
from tests.helpers.references import follows, sigmoid
from tests.helpers.scenes import Scene


@pytest.mark.parametrize("guide", [STUDENT, TEACHER])
def test_cd_draws_by_rank_of_its_guide_and_takes_the_teachers_soft_labels(guide, quick, monkeypatch):
    options = {"rank_temperature": 3.0, "temperature": 2.0, "shift": -0.5, "lambda_teacher_to_student": 0.3}
    scene = Scene(quick, model="CD", guide=guide, samples_per_positive=7, **options)
    seen = {}
    original = scene.method.learner.pair_logits
    monkeypatch.setattr(scene.method.learner, "pair_logits", lambda u, i: seen.update(u=u, i=i) or original(u, i))
    batch = scene.batch_of(STUDENT)
    parts = scene.method.loss(STUDENT, batch)
    assert seen["i"].shape == (len(batch.users), 7)
    total = 0.0
    for user, items in zip(seen["u"].tolist(), seen["i"].tolist(), strict=True):
        for item in items:
            q = sigmoid((score(scene, TEACHER, user, item) - 0.5) / 2.0)
            p = sigmoid(score(scene, STUDENT, user, item))
            total -= q * math.log(p) + (1 - q) * math.log(1 - p)
    assert float(parts["distill"]) == pytest.approx(0.3 * total / seen["i"].numel(), rel=1e-5)

    scene.method.transfer(torch.full((3000,), 5), batch)
    order = ranking(scene, guide, 5)
    counts = np.bincount(seen["i"].flatten().numpy(), minlength=scene.split.n_items)
    weight = np.exp(-np.arange(1, 31) / 3.0)  # of the head, beyond which one draw in 20,000 would be
    assert counts.sum() == counts[order[:30]].sum() == 21000
    assert follows(counts[order[:30]], 21000 * weight / weight.sum())


def test_cd_ranks_anew_only_what_moves(quick):
    for guide, period, due in ((STUDENT, 1, [1, 2, 3, 4]), (STUDENT, 2, [2, 4]), (TEACHER, 1, [])):
        scene = Scene(quick, model="CD", guide=guide, refresh_period=period)
        lists = scene.method.lists.clone()
        assert [epoch for epoch in range(1, 5) if scene.method.refresh(epoch)] == due
        with torch.no_grad():
            scene.roles[STUDENT].model.user_embedding.weight.neg_()
        scene.method.refresh(6)
        assert torch.equal(lists, scene.method.lists) == (guide == TEACHER)

"""Directions: which items are preferred, and the steepest options."""

import pytest
import torch

from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.sampler import DistillationSampler
from tests.helpers.references import (
    N_USERS,
    ranks_of,
    refreshed,
    seen_items,
    tables,
)
from tests.helpers.together import scores_of


@pytest.mark.parametrize(("order", "sign"), [("paper", 1), ("reference", -1)])
def test_the_student_gets_items_the_teacher_ranks_higher_unless_the_order_is_the_references(order, sign):
    scores = tables()
    sampler = refreshed({"student": Direction(eps=1.0, rank_order=order)}, scores, ranks="exact")
    users = torch.arange(1, N_USERS)
    excluded = sampler.seen.of(users)
    difference = ranks_of(scores["student"][users], excluded, "exact") - ranks_of(
        scores["teacher"][users], excluded, "exact"
    )
    drawn = sampler.sample("student", users, 500)
    assert (sign * difference.gather(1, drawn) > 0).all()


@pytest.mark.parametrize("ranks_by", ["exact", "sampled"])
@pytest.mark.parametrize("pool", [4, 300])
@pytest.mark.parametrize(
    "direction",
    [
        Direction(shape="tanh", eps=1e300),
        Direction(shape="exp", eps=1e300),
        Direction(shape="exp", eps=1e300, rank_order="reference", rank_scale="relative"),
        Direction(sampling="top", top_temperature=1e-300),
    ],
)
def test_the_steepest_directions_draw_items(direction, pool, ranks_by):
    scores = tables(n_items=300)
    table = {role: scores_of(scores[role]) for role in scores}
    seen = seen_items(N_USERS, 300)
    sampler = DistillationSampler(seen, {"student": direction}, torch.full((N_USERS,), pool), ranks_by, 100, seed=1)
    sampler.refresh(table)
    for user in range(1, N_USERS):
        drawn = sampler.sample("student", torch.tensor([user]), 50).flatten()
        assert ((drawn >= 1) & (drawn < 300)).all()
        assert not seen.of(torch.tensor([user]))[1].unsqueeze(0).eq(drawn.unsqueeze(1)).any()

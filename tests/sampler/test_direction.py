"""Directions: which items are preferred, and the steepest options."""

import math
import re

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


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"sampling": "worst"}, "sampling='worst': must be one of rank_discrepancy, uniform, top, own_top"),
        ({"shape": "line"}, "shape='line': must be one of tanh, exp"),
        ({"rank_order": "none"}, "rank_order='none': must be one of paper, reference"),
        ({"rank_scale": "cubic"}, "rank_scale='cubic': must be one of absolute, relative, logarithmic"),
        ({"eps": 0.0}, "eps=0.0: must be in (0, inf)"),
        ({"eps": float("inf")}, "eps=inf: must be in (0, inf)"),
        ({"eps": float("nan")}, "eps=nan: must be in (0, inf)"),
        ({"top_temperature": -1.0}, "top_temperature=-1.0: must be in (0, inf)"),
    ],
)
def test_values_that_are_not_allowed_are_named(option, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Direction(**option)


@pytest.mark.parametrize(
    ("options", "scale", "difference"),
    [
        ({"eps": 0.5}, 0.5, [3.5, -1.0]),
        ({"eps": 0.5, "rank_order": "reference"}, -0.5, [-3.5, 1.0]),
        ({"eps": 10.0, "rank_scale": "relative"}, 0.1, [0.7, -0.2]),
        ({"eps": 2.0, "rank_scale": "logarithmic"}, 2.0, [2 * math.log(8), -2 * math.log(3)]),
    ],
)
def test_differences_of_ranks_by_hand(options, scale, difference):
    direction = Direction(**options)
    assert direction.scale(101) == scale
    found = direction.difference(torch.tensor([[8.0, 1.0]]), torch.tensor([[1.0, 3.0]]), scale)
    assert found[0].tolist() == pytest.approx(difference)
    assert direction.greatest(8, scale) >= found.abs().max()


@pytest.mark.parametrize(
    ("sampling", "listed", "ranked"),
    [("rank_discrepancy", None, ("a", "b")), ("uniform", None, ()), ("top", "b", ("b",)), ("own_top", "a", ("a",))],
)
def test_only_the_roles_that_are_needed_are_ranked(sampling, listed, ranked):
    direction = Direction(sampling)
    assert (direction.listed("a", "b"), direction.ranked("a", "b")) == (listed, ranked)

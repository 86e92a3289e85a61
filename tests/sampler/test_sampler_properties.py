"""Any scores: drawn items are unseen, in range and as many as asked for, and as often as the formulas say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_bd.errors import DataError
from recbole_bd.sampler.direction import RANK_ORDERS, RANK_SCALES, SAMPLINGS, SHAPES, Direction
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.top_lists import top_lists
from tests.helpers.bounds import tried
from tests.helpers.counts import tally
from tests.helpers.references import ROLES, probabilities_by_hand, seen_of, worlds
from tests.helpers.together import scores_of


def directions(eps, temperatures):
    return st.builds(
        Direction,
        sampling=st.sampled_from(SAMPLINGS),
        shape=st.sampled_from(SHAPES),
        eps=st.sampled_from(eps),
        rank_order=st.sampled_from(RANK_ORDERS),
        rank_scale=st.sampled_from(RANK_SCALES),
        top_temperature=st.sampled_from(temperatures),
    )


any_direction = directions([1e-6, 1e-2, 1.0, 1e6], [1e-3, 1.0, 1e6])


# Directions for which the formulas, computed as written, neither overflow nor vanish.
moderate = directions([1e-6, 1e-2, 1.0], [1.0, 1e6])


def sampler_of(seen, scores, direction, sizes, **more) -> DistillationSampler:
    sampler = DistillationSampler(seen, dict.fromkeys(ROLES, direction), sizes, **more)
    sampler.refresh({role: scores_of(table) for role, table in scores.items()})
    return sampler


@pytest.mark.slow
@tried(150)
@given(worlds(), any_direction, st.sampled_from(["exact", "binned", "sampled"]), st.integers(1, 40), st.integers(0, 9))
def test_what_is_drawn_is_unseen_in_range_and_as_much_as_asked(pytestconfig, world, direction, ranks, chunk, seed):
    seen, scores = world
    sizes = torch.from_numpy(np.random.default_rng(seed).integers(1, 30, seen.n_users))
    more = {"ranks": ranks, "ranked_items": 4, "seed": seed, "chunk_scores": chunk}
    sampler = sampler_of(seen, scores, direction, sizes, **more)
    users = torch.arange(1, seen.n_users).repeat(2)
    for role in ROLES:
        assert len(sampler.pools[role]) == int(sizes[1:].sum())
        drawn = sampler.sample(role, users, 50)
        assert drawn.shape == (len(users), 50)
        for user in range(1, seen.n_users):
            start, size = int(sampler.starts[role][user]), int(sizes[user])
            pool = set(sampler.pools[role][start : start + size].tolist())
            left = set(range(1, seen.n_items)) - seen_of(seen, user)
            assert pool <= left
            assert set(drawn[users == user].flatten().tolist()) <= pool
            assert len(left) > 1 or pool == left
    tally(pytestconfig, "any scores: refreshes")


@tried(40)
@given(worlds(), moderate, st.integers(0, 9))
def test_items_are_drawn_as_often_as_the_formulas_say(pytestconfig, world, direction, seed):
    seen, scores = world
    draws = 4000
    sampler = sampler_of(seen, scores, direction, torch.full((seen.n_users,), draws), ranks="exact", seed=seed)
    for learner, guide in (ROLES, ROLES[::-1]):
        for user in range(1, seen.n_users):
            excluded = np.isin(np.arange(seen.n_items), [0, *seen_of(seen, user)])
            own, other = (scores[role][user].numpy() for role in (learner, guide))
            expected = probabilities_by_hand(own, other, excluded, direction)
            pool = sampler.pools[learner][int(sampler.starts[learner][user]) :][:draws]
            found = np.bincount(pool.numpy(), minlength=seen.n_items) / draws
            # Half the sum of differences is about .4 * sqrt(items / draws) = .03 by chance.
            assert np.abs(found - expected).sum() / 2 < 0.1
            tally(pytestconfig, "any scores: users whose frequencies were compared")


@tried(40)
@given(worlds(), st.sampled_from(ROLES), st.sampled_from(["exact", "binned"]), st.data())
def test_a_score_that_is_no_number_is_refused_by_name_and_what_was_drawn_stays(world, role, ranks, data):
    seen, scores = world
    sampler = sampler_of(seen, scores, Direction(), torch.full((seen.n_users,), 3), ranks=ranks)
    before = {name: pool.clone() for name, pool in sampler.pools.items()}
    user, item = data.draw(st.integers(1, seen.n_users - 1)), data.draw(st.integers(0, seen.n_items - 1))
    scores[role][user, item] = math.nan
    with pytest.raises(DataError, match=f"^{role}: a score is not a number"):
        sampler.refresh({name: scores_of(table) for name, table in scores.items()})
    assert all(torch.equal(pool, before[name]) for name, pool in sampler.pools.items())
    with pytest.raises(DataError, match=f"^{role}: a score is not a number"):
        top_lists(scores_of(scores[role]), seen, 3, torch.Generator(), whose=role)

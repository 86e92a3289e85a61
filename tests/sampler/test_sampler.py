"""The sampler against plain-Python forms of the formulas: frequencies, exclusions, state."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.references import (
    DIRECTIONS,
    N_ITEMS,
    N_USERS,
    LargestTensor,
    mask_of,
    probabilities_by_hand,
    refreshed,
    seen_items,
    tables,
    wide_tables,
)
from tests.helpers.together import scores_of


@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("learner", ["teacher", "student"])
@pytest.mark.parametrize("precision", ["exact", "binned"])
def test_frequencies_are_those_of_the_formulas(name, learner, precision):
    scores = tables()
    sampler = refreshed({learner: DIRECTIONS[name]}, scores, ranks=precision)
    guide = "teacher" if learner == "student" else "student"
    for user in range(1, N_USERS):
        users = torch.full((1,), user)
        excluded = mask_of(sampler.seen, users)[0].numpy()
        expected = probabilities_by_hand(
            scores[learner][user].numpy(), scores[guide][user].numpy(), excluded, DIRECTIONS[name]
        )
        start = int(sampler.starts[learner][user])
        counts = np.bincount(sampler.pools[learner][start : start + 4000].numpy(), minlength=N_ITEMS)
        possible = expected > 0
        assert counts[~possible].sum() == 0
        assert stats.chisquare(counts[possible], 4000 * expected[possible]).pvalue > 1e-4


@pytest.mark.parametrize("how", ["binned", "sampled"])
@pytest.mark.parametrize("sampling", ["rank_discrepancy", "uniform", "own_top"])
def test_what_is_drawn_for_some_users_does_not_depend_on_others(sampling, how, monkeypatch):
    monkeypatch.setattr("recbole_bd.sampler.sampler._USERS_A_SPAN", 80)
    n_users, n_items = 200, 301
    seen, sizes = seen_items(n_users, n_items, 20), torch.full((n_users,), 50)
    tables = wide_tables(n_users, n_items)
    pools = []
    for change in (0.0, 1.0):
        changed = {name: table.clone() for name, table in tables.items()}
        for table in changed.values():
            table[-30:] = table[-30:].flip(1) * change + table[-30:] * (1 - change)
        direction = Direction(sampling=sampling, eps=0.02, top_temperature=3.0)
        sampler = DistillationSampler(seen, {"student": direction}, sizes, how, 100, seed=3, chunk_scores=10 * n_items)
        sampler.refresh({name: scores_of(table) for name, table in changed.items()})
        pools.append(sampler.pools["student"].view(n_users - 1, 50))
    assert (pools[0][:80] == pools[1][:80]).all()
    assert sampling == "uniform" or (pools[0][-30:] != pools[1][-30:]).any()


def test_an_unknown_way_of_ranking_is_refused():
    with pytest.raises(ValueError, match="binned, exact, sampled"):
        DistillationSampler(seen_items(), {}, torch.ones(N_USERS), "guessed")


def test_what_is_handed_out_has_the_frequencies_of_what_was_drawn():
    sampler = refreshed({"student": Direction(sampling="uniform")}, tables(), pool=8)
    drawn = sampler.sample("student", torch.full((2000,), 3), 10).flatten()
    pool = sampler.pools["student"][int(sampler.starts["student"][3]) :][:8].long()
    expected = np.bincount(pool.numpy(), minlength=N_ITEMS) / 8
    counts = np.bincount(drawn.numpy(), minlength=N_ITEMS)
    assert counts[expected == 0].sum() == 0
    assert stats.chisquare(counts[expected > 0], 20000 * expected[expected > 0]).pvalue > 1e-4


def test_what_is_handed_out_is_a_run_of_what_was_drawn_around_its_end():
    sampler = refreshed({"student": Direction(sampling="uniform")}, tables(), pool=5)
    users = torch.arange(1, N_USERS).repeat(20)
    pools = sampler.pools["student"].view(N_USERS - 1, 5)[users - 1].long()
    runs = torch.stack([pools.roll(-start, dims=1)[:, torch.arange(7) % 5] for start in range(5)])
    assert (runs == sampler.sample("student", users, 7)).all(dim=2).any(dim=0).all()


def test_agreeing_rankings_are_drawn_from_uniformly():
    table = tables()["teacher"]
    sampler = refreshed({"student": Direction(eps=0.1)}, {"teacher": table, "student": table * 2})
    for user in range(1, N_USERS):
        excluded = mask_of(sampler.seen, torch.tensor([user]))[0].numpy()
        counts = np.bincount(
            sampler.pools["student"][int(sampler.starts["student"][user]) :][:4000].numpy(), minlength=N_ITEMS
        )
        assert counts[excluded].sum() == 0
        assert stats.chisquare(counts[~excluded]).pvalue > 1e-4


@pytest.mark.parametrize("name", DIRECTIONS)
def test_padding_and_training_items_are_never_drawn(name):
    scores = tables(n_users=40, n_items=12)
    for table in scores.values():  # both roles like best what may not be drawn
        table[:, 0] += 100
    sampler = refreshed({role: DIRECTIONS[name] for role in scores}, scores, pool=200)
    users = torch.arange(1, 40)
    for role in scores:
        drawn = sampler.sample(role, users, 100)
        assert not mask_of(sampler.seen, users).gather(1, drawn).any()


def test_the_only_item_left_is_always_drawn():
    users, items = torch.ones(4, dtype=torch.long), torch.tensor([1, 2, 4, 5])
    seen = SeenItems(users, items, 2, 6)
    for direction in DIRECTIONS.values():
        sampler = DistillationSampler(seen, {"student": direction}, torch.tensor([0, 50]))
        sampler.refresh({"teacher": lambda u: torch.randn(len(u), 6), "student": lambda u: torch.randn(len(u), 6)})
        assert (sampler.pools["student"] == 3).all()


def test_each_learner_has_draws_of_its_own_number():
    seen = seen_items()
    sizes = {"teacher": (seen.counts * 3).clamp(min=1), "student": (seen.counts * 7).clamp(min=1)}
    sampler = DistillationSampler(seen, dict.fromkeys(sizes, Direction()), sizes, seed=2)
    sampler.refresh({name: table.__getitem__ for name, table in tables().items()})
    for learner, own in sizes.items():
        assert torch.equal(sampler.sizes[learner][1:], own[1:])
        assert len(sampler.pools[learner]) == own[1:].sum()
        user = int(own[1:].argmax()) + 1
        start, size = int(sampler.starts[learner][user]), int(own[user])
        items = set(sampler.sample(learner, torch.full((200,), user), size).flatten().tolist())
        assert items == set(sampler.pools[learner][start : start + size].tolist())


def test_infinite_scores_rank_at_the_ends_and_are_drawn_from():
    scores = tables()
    scores["teacher"][:, 5], scores["student"][:, 5] = math.inf, -math.inf
    sampler = refreshed({"student": Direction(eps=10.0)}, scores)
    users = torch.arange(1, N_USERS)
    free = ~mask_of(sampler.seen, users)[:, 5]
    assert (sampler.sample("student", users[free], 500) == 5).any(dim=1).all()


def test_only_the_learners_asked_for_get_items_and_only_their_guides_are_asked():
    scores = tables()
    sampler = refreshed({"teacher": Direction(), "student": Direction(sampling="own_top")}, scores)
    asked = set()

    def table(role):
        return lambda users: asked.add(role) or scores[role][users]

    sampler.refresh({role: table(role) for role in scores}, learners=["student"])
    assert asked == {"student"}
    assert set(sampler.pools) == {"student"}
    with pytest.raises(RuntimeError, match="no items have been drawn for the teacher"):
        sampler.sample("teacher", torch.tensor([1]), 2)


def test_every_user_gets_items_by_their_own_scores_whatever_the_chunks():
    n_users, n_items = 50, 60
    best = torch.arange(n_users) % (n_items - 1) + 1
    seen = SeenItems(torch.arange(1, n_users), (best[1:] % (n_items - 1)) + 1, n_users, n_items)
    flat = torch.zeros(n_users, n_items)
    peaked = flat.clone()
    peaked[torch.arange(n_users), best] = 1.0
    top = {"student": Direction(sampling="top", top_temperature=0.01)}
    for chunk in (1, 7 * n_items, 2**20):
        sizes = torch.arange(n_users) % 5 + 3
        sampler = DistillationSampler(seen, top, sizes, chunk_scores=chunk)
        done = []
        sampler.refresh({"teacher": peaked.__getitem__, "student": flat.__getitem__}, done.append)
        users = torch.arange(1, n_users)
        assert (sampler.sample("student", users, 6) == best[1:, None]).all()
        assert done[-1] == n_users - 1


def test_a_restored_sampler_continues_bitwise_equal():
    scores = tables()
    directions = {"student": Direction(), "teacher": Direction(shape="exp", eps=0.1)}
    first = refreshed(directions, scores)
    users = torch.arange(1, N_USERS)
    first.sample("student", users, 3)
    state = first.state_dict()
    second = refreshed(directions, tables(seed=9), seed=5)
    second.load_state_dict(state)
    for sampler in (first, second):
        sampler.drawn = [sampler.sample(role, users, 4) for role in directions]
        sampler.refresh({name: table.__getitem__ for name, table in scores.items()})
        sampler.drawn += [sampler.sample(role, users, 4) for role in directions]
    assert all(torch.equal(a, b) for a, b in zip(first.drawn, second.drawn, strict=True))


def test_nothing_is_handed_out_before_a_refresh():
    sampler = DistillationSampler(seen_items(), {"student": Direction()}, torch.ones(N_USERS, dtype=torch.long))
    with pytest.raises(RuntimeError, match="refresh"):
        sampler.sample("student", torch.tensor([1]), 1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["exact", "binned"])
def test_no_array_of_users_times_items_is_made(precision):
    n_users, n_items = 8000, 2000
    seen = seen_items(n_users, n_items, per_user=2)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(n_users + n_items, 4, generator=generator)
    directions = {"student": Direction(), "teacher": Direction(shape="exp", eps=1e-4)}
    sampler = DistillationSampler(seen, directions, torch.full((n_users,), 3), ranks=precision)
    with LargestTensor() as largest:
        sampler.refresh({name: lambda u: vectors[u] @ vectors[n_users:].T for name in ("teacher", "student")})
    assert largest.size < n_users * n_items / 5

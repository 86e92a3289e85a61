"""Heads of rankings against plain-Python forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_bd.errors import DataError
from recbole_bd.sampler.draws import draw_head
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.sampler.top_lists import is_listed, listed_logits, top_lists
from recbole_bd.sampler.unseen_items import UnseenItems
from tests.helpers.bounds import tried
from tests.helpers.references import (
    N_ITEMS,
    N_USERS,
    LargestTensor,
    follows,
    generator,
    own_items,
    seen_items,
    seen_of,
    tables,
    worlds,
)
from tests.helpers.together import scores_of


def test_lists_are_the_best_unseen_items_in_order():
    seen, scores = seen_items(), tables()["teacher"]
    scores[:, 0] = math.inf
    done = []
    lists = top_lists(lambda users: scores[users], seen, 8, generator(), done.append)
    assert lists.shape == (N_USERS, 8)
    assert (lists[0] == 0).all()
    for user in range(1, N_USERS):
        left = [item for item in range(1, N_ITEMS) if item not in own_items(seen, user)]
        assert lists[user].tolist() == sorted(left, key=lambda item: -scores[user, item])[:8]
    assert done[-1] == N_USERS - 1


def test_short_lists_end_in_zeros_and_infinite_scores_are_listed_last():
    seen = SeenItems(torch.tensor([1, 1, 2]), torch.tensor([2, 3, 1]), 3, 6)
    scores = torch.tensor([[9.0, 1, 9, 9, -math.inf, 3], [9, 9, math.inf, 1, -math.inf, 2]])
    lists = top_lists(lambda users: scores[users - 1].clone(), seen, 99, generator())
    assert lists.tolist() == [[0] * 5, [5, 1, 4, 0, 0], [2, 5, 3, 4, 0]]


def test_ties_are_broken_by_chance_and_not_by_ids():
    n_users = 2001
    seen = SeenItems(torch.tensor([1]), torch.tensor([1]), n_users, 12)
    lists = top_lists(lambda users: torch.zeros(len(users), 12), seen, 1, generator(), None)
    first = top_lists(lambda users: torch.zeros(len(users), 12), seen, 1, generator(), None)
    assert torch.equal(lists, first)
    several = [int(top_lists(lambda u: torch.zeros(len(u), 12), seen, 1, generator(s))[2, 0]) for s in range(600)]
    assert follows(np.bincount(several, minlength=12)[1:], [600 / 11] * 11)


@pytest.mark.parametrize("length", [5, 70])
def test_a_tie_at_the_end_of_a_list_is_broken_by_chance(length):
    seen = SeenItems(torch.tensor([1]), torch.tensor([1]), 3, 200)
    scores = -torch.arange(200.0).repeat(2, 1)
    scores[:, 1] = -500.0
    # The last one listed of user 2, and the next: items 0 and 1 are not.
    scores[:, length + 2] = scores[:, length + 1]
    last = [
        top_lists(lambda users: scores[: len(users)], seen, length, generator(seed))[2, -1].item()
        for seed in range(400)
    ]
    assert follows([last.count(length + 1), last.count(length + 2)], [200, 200])


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="not a number"):
        top_lists(lambda users: torch.full((len(users), N_ITEMS), math.nan), seen_items(), 3, generator())


@pytest.mark.slow
def test_no_array_of_users_times_items_is_made():
    n_users, n_items = 8000, 3000
    vectors = torch.randn(n_users + n_items, 4, generator=generator())
    with LargestTensor() as largest:
        seen = seen_items(n_users, n_items, per_user=2)
        lists = top_lists(lambda users: vectors[users] @ vectors[n_users:].T, seen, 20, generator())
        rest = UnseenItems(seen, besides=draw_head(lists, 5, 2.0, generator()))
        rest.draw_distinct(torch.arange(n_users), 10, generator())
    assert largest.size < n_users * n_items / 15


@tried(60)
@given(worlds(), st.integers(1, 30))
def test_lists_of_any_scores_hold_the_best_unseen_items(world, length):
    seen, scores = world
    lists = top_lists(scores_of(scores["teacher"]), seen, length, torch.Generator().manual_seed(0))
    for user in range(1, seen.n_users):
        left = set(range(1, seen.n_items)) - seen_of(seen, user)
        listed = [item for item in lists[user].tolist() if item]
        assert len(set(listed)) == len(listed) == min(length, len(left))
        assert set(listed) <= left
        values = scores["teacher"][user]
        assert values[listed].tolist() == sorted(values[list(left)].tolist(), reverse=True)[: len(listed)]


def test_membership_is_row_by_row():
    random = torch.Generator().manual_seed(1)
    items, lists = (torch.randint(0, 9, (40, n), generator=random, dtype=torch.int32) for n in (5, 3))
    rows = zip(items.tolist(), lists.tolist(), strict=True)
    expected = [[item > 0 and item in row for item in own] for own, row in rows]
    assert is_listed(items, lists).tolist() == expected


def test_logits_of_lists_are_those_of_their_items():
    table = torch.arange(30.0).view(5, 6)
    lists = torch.tensor([[0, 0], [3, 1], [5, 2], [4, 0], [1, 2]], dtype=torch.int32)
    found = listed_logits(lambda users, items: table[users].gather(1, items), lists, at_once=2)
    assert found.tolist() == [[table[user, item].item() for item in row] for user, row in enumerate(lists.tolist())]

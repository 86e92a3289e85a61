"""Heads of rankings and draws of unseen items against plain-Python forms and exact probabilities."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.errors import DataError
from recbole_bd.sampler.draws import draw_head, draw_positions, head_length
from recbole_bd.sampler.seen_items import SeenItems, index_from_uniform
from recbole_bd.sampler.top_lists import top_lists
from recbole_bd.sampler.unseen_items import UnseenItems, _floyd
from tests.helpers.references import N_ITEMS, N_USERS, LargestTensor, follows, generator, own_items, seen_items, tables


# --- lists ------------------------------------------------------------------------------------------------------------
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


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="not a number"):
        top_lists(lambda users: torch.full((len(users), N_ITEMS), math.nan), seen_items(), 3, generator())


def test_no_array_of_users_times_items_is_made():
    n_users, n_items = 8000, 3000
    vectors = torch.randn(n_users + n_items, 4, generator=generator())
    with LargestTensor() as largest:
        seen = seen_items(n_users, n_items, per_user=2)
        lists = top_lists(lambda users: vectors[users] @ vectors[n_users:].T, seen, 20, generator())
        rest = UnseenItems(seen, besides=draw_head(lists, 5, 2.0, generator()))
        rest.draw_distinct(torch.arange(n_users), 10, generator())
    assert largest.size < n_users * n_items / 15


# --- draws from lists -------------------------------------------------------------------------------------------------
def orders(n: int, count: int, temperature: float) -> dict[tuple[int, ...], float]:
    """Probability of every ordered draw of `count` of n ranks without replacement, one after another."""
    weight = [math.exp(-(rank + 1) / temperature) for rank in range(n)]
    found = {}
    for order in itertools.permutations(range(n), count):
        probability, left = 1.0, sum(weight)
        for rank in order:
            probability *= weight[rank] / left
            left -= weight[rank]
        found[order] = probability
    return found


@pytest.mark.parametrize("temperature", [0.7, 3.0])
def test_items_of_the_head_are_drawn_one_after_another_without_replacement(temperature):
    draws = 20000
    lists = torch.tensor([[11, 12, 13, 14, 15, 0]]).repeat(draws, 1)
    drawn = draw_head(lists, 3, temperature, generator())
    expected: dict[tuple[int, ...], float] = {}
    for order, probability in orders(5, 3, temperature).items():
        kept = tuple(sorted(order))  # in the teacher's order, whatever came first
        expected[kept] = expected.get(kept, 0.0) + draws * probability
    found = dict.fromkeys(expected, 0)
    for row in (drawn - 11).tolist():
        found[tuple(row)] += 1
    assert follows(list(found.values()), list(expected.values()))


def test_a_cold_draw_is_the_first_items_and_a_short_list_is_drawn_whole():
    lists = torch.tensor([[7, 3, 9, 1, 4], [8, 2, 0, 0, 0]])
    assert draw_head(lists, 3, 0.01, generator()).tolist() == [[7, 3, 9], [8, 2, 0]]
    assert draw_head(lists, 9, 5.0, generator()).tolist() == lists.tolist()


def test_the_head_is_long_enough():
    """Of the whole list an item beyond the head would be drawn once in 10,000 lists at most."""
    count, temperature = 40, 10.0
    lists = torch.arange(1, 1001).repeat(20000, 1)
    beyond = (draw_head(lists, count, temperature, generator()) > head_length(temperature, count)).any(dim=1)
    assert int(beyond.sum()) <= 20
    positions = draw_positions(torch.full((1000,), 1000), 1000, temperature, generator())
    assert float((positions >= head_length(temperature)).double().mean()) < 2e-4


@pytest.mark.parametrize("temperature", [0.5, 4.0, 500.0])
def test_places_are_drawn_with_replacement_by_rank(temperature):
    positions = draw_positions(torch.tensor([6, 30, 1]), 20000, temperature, generator())
    assert (positions[2] == 0).all()
    for row, length in ((0, 6), (1, 30)):
        weight = np.exp(-np.arange(1, length + 1) / temperature)
        assert follows(np.bincount(positions[row].numpy(), minlength=length), 20000 * weight / weight.sum())


# --- draws of unseen items --------------------------------------------------------------------------------------------
def test_unseen_items_are_drawn_uniformly_and_no_others():
    seen = seen_items()
    besides = torch.zeros(N_USERS, 3, dtype=torch.int32)
    besides[1], besides[2] = torch.tensor([1, 29, 15]), torch.tensor([4, 0, 0])
    besides[3] = torch.tensor(sorted(own_items(seen, 3))[:3])  # already out
    rest = UnseenItems(seen, besides)
    users = torch.arange(1, N_USERS)
    drawn = {
        "replaced": rest.draw(users, 6000, generator()),
        "distinct": rest.draw_distinct(users.repeat_interleave(1500), 4, generator()).view(len(users), 6000),
    }
    for user in users.tolist():
        out = own_items(seen, user) | set(besides[user].tolist()) | {0}
        left = [item for item in range(N_ITEMS) if item not in out]
        assert int(rest.n_left[user]) == len(left)
        for items in drawn.values():
            counts = np.bincount(items[user - 1].numpy(), minlength=N_ITEMS)
            assert counts[list(out)].sum() == 0
            assert follows(counts[left], [6000 / len(left)] * len(left))


def test_every_set_of_distinct_items_is_equally_likely():
    seen = SeenItems(torch.tensor([1, 1]), torch.tensor([2, 5]), 2, 8)
    drawn = UnseenItems(seen).draw_distinct(torch.ones(20000, dtype=torch.long), 3, generator())
    sets = list(itertools.combinations([1, 3, 4, 6, 7], 3))
    found = dict.fromkeys(sets, 0)
    for row in drawn.tolist():
        found[tuple(sorted(row))] += 1
    assert follows(list(found.values()), [20000 / len(sets)] * len(sets))


@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_steps_done_together_are_floyds_done_one_by_one(count, left, seed):
    uniform = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    found = _floyd(uniform.T, torch.full((3,), left))
    for row in range(3):
        chosen = []
        for step in range(min(count, left)):
            last = max(left - count, 0) + step
            number = int(index_from_uniform(uniform[step, row], torch.tensor(last + 1)))
            chosen.append(last if number in chosen else number)
        assert found[row].tolist() == chosen + [-1] * (count - len(chosen))


def test_where_fewer_are_left_all_are_drawn_and_zeros_follow():
    seen = SeenItems(torch.tensor([1, 1, 2]), torch.tensor([2, 3, 1]), 3, 6)
    besides = torch.tensor([[0, 0, 0], [1, 4, 5], [2, 0, 0]])
    rest = UnseenItems(seen, besides)
    assert rest.n_left.tolist() == [5, 0, 3]
    drawn = rest.draw_distinct(torch.tensor([1, 2]), 5, generator())
    assert drawn[0].tolist() == [0] * 5
    assert sorted(drawn[1, :3].tolist()) == [3, 4, 5]
    assert drawn[1, 3:].tolist() == [0, 0]
    assert rest.draw_distinct(torch.tensor([1, 2]), 0, generator()).shape == (2, 0)
    assert rest.draw(torch.tensor([1, 2, 2]), 2, generator())[0].tolist() == [0, 0]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_nth_item_left_is_the_one_counted_by_hand(data):
    n_items = data.draw(st.integers(3, 12))
    rows = [data.draw(st.sets(st.integers(1, n_items - 1), max_size=n_items - 2)) for _ in range(3)]
    pairs = [(user + 1, item) for user, items in enumerate(rows) for item in items] or [(4, 1)]
    users, items = (torch.tensor(ids) for ids in zip(*pairs, strict=True))
    rest = UnseenItems(SeenItems(users, items, 5, n_items))
    for user, known in enumerate(rows):
        left = [item for item in range(1, n_items) if item not in known]
        numbers = torch.arange(len(left)).unsqueeze(0)
        assert rest._items(torch.tensor([user + 1]), numbers)[0].tolist() == left

"""Uniform draws of unseen items against exact probabilities."""

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.sampler.seen_items import SeenItems, index_from_uniform
from recbole_bd.sampler.unseen_items import UnseenItems, _floyd
from tests.helpers.references import (
    N_ITEMS,
    N_USERS,
    follows,
    generator,
    own_items,
    seen_items,
)


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

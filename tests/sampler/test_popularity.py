"""Groups of equal popularity mass, and pairs within them, by hand."""

import itertools
import math

import pytest
import torch

from recbole_bd.sampler.popularity import apportioned, draw_pairs, group_lists, popularity_groups
from recbole_bd.sampler.seen_items import SeenItems
from tests.helpers.references import N_ITEMS, N_USERS, follows, generator, own_items, seen_items, tables


def test_groups_have_equal_mass_and_the_popular_come_first():
    counts = torch.tensor([9, 1, 8, 2, 4, 1, 0])  # the padding item does not count
    assert popularity_groups(counts, 2).tolist() == [-1, 1, 0, 1, 1, 1, 1]
    assert popularity_groups(counts, 1).tolist() == [-1, 0, 0, 0, 0, 0, 0]
    many = torch.cat([torch.zeros(1), 1000 / torch.arange(1, 400)]).long()
    for number in (2, 3, 4):
        groups = popularity_groups(many, number)
        mass = torch.bincount(groups[1:], many[1:].double())
        assert (mass / many.sum() - 1 / number).abs().max() < 0.2 / number
        least = [int(many[groups == group].min()) for group in range(number)]
        most = [int(many[groups == group].max()) for group in range(number)]
        assert all(low >= high for low, high in zip(least, most[1:], strict=False))


def test_pairs_are_apportioned_in_whole_numbers():
    counts = torch.tensor([0, 8, 4, 2, 1, 1])
    groups = torch.tensor([-1, 0, 1, 2, 2, 2])
    assert apportioned(counts, groups, 30) == [10, 10, 10]
    assert apportioned(counts, groups, 4) == [2, 1, 1]
    means = [8, 4, 4 / 3]
    shares = [max(means) + min(means) - mean for mean in means]
    exact = [31 * share / sum(shares) for share in shares]
    found = apportioned(counts, groups, 31, 1.0)
    assert sum(found) == 31
    assert all(abs(pairs - share) < 1 for pairs, share in zip(found, exact, strict=True))
    assert found[0] < found[1] < found[2]


def test_a_group_without_items_has_no_pairs():
    counts = torch.tensor([0, 100, 1, 1])
    groups = popularity_groups(counts, 4)
    assert groups.tolist() == [-1, 1, 3, 3]
    assert apportioned(counts, groups, 10) == [0, 5, 0, 5]


def test_the_lists_of_a_group_are_its_best_unseen_items():
    seen, scores = seen_items(), tables()["teacher"]
    groups = torch.arange(N_ITEMS) % 3
    groups[0] = -1
    lists = group_lists(lambda users, items: scores[users][:, items], seen, groups, 5, generator())
    assert lists.shape == (3, N_USERS, 5)
    for group, user in itertools.product(range(3), range(1, N_USERS)):
        left = [i for i in range(1, N_ITEMS) if i % 3 == group and i not in own_items(seen, user)]
        expected = sorted(left, key=lambda item, user=user: -float(scores[user, item]))[:5]
        assert lists[group, user].tolist() == expected + [0] * (5 - len(expected))


def test_a_group_of_which_a_user_has_seen_all_gives_no_list():
    users, items = torch.tensor([1, 1, 2]), torch.tensor([1, 2, 3])
    groups = torch.tensor([-1, 0, 0, 1, 1])
    lists = group_lists(
        lambda users, items: items.float().expand(len(users), -1), SeenItems(users, items, 3, 5), groups, 3, generator()
    )
    assert lists.tolist() == [[[0, 0, 0], [0, 0, 0], [2, 1, 0]], [[0, 0, 0], [4, 3, 0], [4, 0, 0]]]


@pytest.mark.parametrize("temperature", [0.3, 0.8, 4.0, 1000.0])
def test_pairs_are_two_independent_draws_that_differ(temperature):
    lists = torch.tensor([[15, 14, 13, 12]]).to(torch.int32)
    higher, lower = draw_pairs(lists, 20000, temperature, generator())
    assert higher.dtype == lists.dtype
    weights = [math.exp(-rank / temperature) for rank in range(1, 5)]
    pairs = list(itertools.combinations(range(4), 2))
    total = sum(weights[a] * weights[b] for a, b in pairs)
    found = [int(((higher == 15 - a) & (lower == 15 - b)).sum()) for a, b in pairs]
    assert sum(found) == 20000
    assert follows(found, [20000 * weights[a] * weights[b] / total for a, b in pairs])


def test_a_list_of_one_item_or_none_has_no_pair():
    lists = torch.tensor([[0, 0, 0], [4, 0, 0], [7, 9, 0]])
    higher, lower = draw_pairs(lists, 3, 2.0, generator())
    assert higher.tolist() == [[0] * 3, [0] * 3, [7] * 3]
    assert lower.tolist() == [[0] * 3, [0] * 3, [9] * 3]

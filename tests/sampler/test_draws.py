"""Draws by weight and from the head of a list against exact probabilities."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.sampler.draws import (
    draw,
    draw_head,
    draw_listed,
    draw_positions,
    head_length,
    power_corrections,
    propose_positions,
    top_weights,
)
from tests.helpers.references import (
    follows,
    generator,
    indices_of,
)


@given(st.lists(st.sampled_from([0.0, 0.0, 1e-30, 1.0, 1e30]), min_size=2, max_size=8).filter(any), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_an_item_of_no_weight_is_never_drawn(weights, seed):
    weights = torch.tensor([weights])
    drawn = draw(
        weights, indices_of(torch.zeros_like(weights, dtype=torch.bool)), 64, torch.Generator().manual_seed(seed)
    )
    assert (weights[0, drawn[0]] > 0).all()


def test_top_weights_do_not_vanish_far_down_the_list():
    rank = torch.arange(1, 5001.0).unsqueeze(0)
    excluded = rank < 4000  # the head of the list is not to be drawn
    assert top_weights(rank, indices_of(excluded), 10.0).sum() > 1


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


def test_listed_items_are_drawn_by_their_own_weights():
    """Sets of two of four items, against the probabilities of both orders."""
    draws, weights = 20000, [0.5, 3.0, 1.0, 2.0]
    lists = torch.tensor([[21, 22, 23, 24, 0]]).repeat(draws, 1)
    drawn = draw_listed(lists, torch.tensor([*weights, 99.0]).log(), 2, generator())
    total = sum(weights)
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    both = [weights[a] * weights[b] / total * (1 / (total - weights[a]) + 1 / (total - weights[b])) for a, b in pairs]
    rows = [tuple(row) for row in (drawn - 21).tolist()]
    assert follows([rows.count(pair) for pair in pairs], [draws * one for one in both])
    assert draw_listed(lists[:1], torch.zeros(1, 5), 9, generator()).tolist() == lists[:1].tolist()


def test_a_cold_draw_is_the_first_items_and_a_short_list_is_drawn_whole():
    lists = torch.tensor([[7, 3, 9, 1, 4], [8, 2, 0, 0, 0]])
    assert draw_head(lists, 3, 0.01, generator()).tolist() == [[7, 3, 9], [8, 2, 0]]
    assert draw_head(lists, 9, 5.0, generator()).tolist() == lists.tolist()


def test_the_head_is_long_enough():
    """An item beyond the head is drawn from at most one in 10,000 whole lists."""
    count, temperature = 40, 10.0
    lists = torch.arange(1, 1001).repeat(20000, 1)
    beyond = (draw_head(lists, count, temperature, generator()) > head_length(temperature, count)).any(dim=1)
    assert int(beyond.sum()) <= 20
    positions = draw_positions(torch.full((1000,), 1000), 1000, temperature, generator())
    assert float((positions >= head_length(temperature)).double().mean()) < 2e-4


@pytest.mark.parametrize("temperature", [0.5, 4.0, 500.0])
def test_positions_are_drawn_with_replacement_by_rank(temperature):
    positions = draw_positions(torch.tensor([6, 30, 1]), 20000, temperature, generator())
    assert (positions[2] == 0).all()
    for row, length in ((0, 6), (1, 30)):
        weight = np.exp(-np.arange(1, length + 1) / temperature)
        assert follows(np.bincount(positions[row].numpy(), minlength=length), 20000 * weight / weight.sum())


@pytest.mark.parametrize("power", [0.3, 1.0, 2.0, 6.0])
def test_accepted_positions_follow_the_power_of_their_rank(power):
    lengths, count = torch.tensor([2, 4, 300]), 40000
    positions = propose_positions(lengths, count, power, generator())
    corrections = power_corrections(power, 300)
    accepted = torch.rand(positions.shape, generator=generator(1)) < corrections[positions]
    assert (corrections > 0).all()
    assert float(corrections[-1]) > 0.999
    for row, length in enumerate(lengths.tolist()):
        counts = np.bincount(positions[row][accepted[row]], minlength=length)
        expected = np.arange(1, length + 1.0) ** -power
        assert follows(counts, counts.sum() * expected / expected.sum())

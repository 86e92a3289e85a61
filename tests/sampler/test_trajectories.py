"""Distances of lists, and the moves of users along the states of a teacher, by hand."""

import math

import pytest
import torch

from recbole_bd.sampler.trajectories import list_distance, next_stages
from tests.helpers.references import generator


def distance_by_hand(items: list[int], target: list[int]) -> float:
    gains = [(2 ** math.exp(-k / 10) - 1) / math.log2(k + 2) for k in range(len(items))]
    listed = [(gain, item) for gain, item in zip(gains, items, strict=True) if item]
    if not listed:
        return 0.0
    return 1 - sum(gain for gain, item in listed if item in target) / sum(gain for gain, _ in listed)


def test_the_distance_is_one_less_the_gain_of_common_items():
    lists, target = (
        torch.stack([torch.randperm(40, generator=generator(seed)) + 1 for seed in range(6 * n, 6 * n + 6)])
        for n in range(2)
    )
    lists, target = lists[:, :12].to(torch.int32), target[:, :15].to(torch.int32)
    lists[4, 5:] = lists[5] = target[3, 9:] = 0
    found = list_distance(lists, target)
    for row in range(6):
        by_hand = distance_by_hand(lists[row].tolist(), [item for item in target[row].tolist() if item])
        assert float(found[row]) == pytest.approx(by_hand, abs=1e-6)
    assert list_distance(lists, lists).abs().max() < 1e-6


def test_nobody_moves_at_the_first_comparison():
    distances = torch.rand(4, 5, generator=generator())
    stages, before = next_stages(torch.tensor([0, 1, 2, 3, 0]), None, distances, 1.05)
    assert stages.tolist() == [0, 1, 2, 3, 0]
    assert before.tolist() == [float(distances[min(v + 1, 3), u]) for u, v in enumerate(stages.tolist())]


def test_users_move_where_the_student_comes_nearer_or_goes_away():
    #  d to the next state now: .5, .5, .5, .5, 0, .5
    distances = torch.tensor([[0.9] * 6, [0.5, 0.5, 0.5, 0.5, 0.0, 0.5], [0.7] * 6])
    before = torch.tensor([0.6, 0.51, 0.5, 0.4, 0.0, 0.9])
    stages, after = next_stages(torch.tensor([0, 0, 0, 0, 0, 2]), before, distances, 1.05)
    assert stages.tolist() == [1, 0, 0, 1, 1, 2]  # nearer, hardly, level, away, there already, at the last
    assert after.tolist() == pytest.approx([0.7, 0.51, 0.5, 0.7, 0.7, 0.9])

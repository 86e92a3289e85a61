"""Orders of columns by score."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.sampler.order import columns_of, is_clear, order_keys


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_columns_come_in_the_order_of_their_scores(data):
    n = data.draw(st.integers(1, 12))
    number = st.floats(-5, 5, width=32) | st.sampled_from([math.inf, -math.inf, 0.0, 1.0, 3e38, -3e38, 1e-40, -1e-40])
    scores = torch.tensor([data.draw(st.lists(number, min_size=n, max_size=n)) for _ in range(2)]) + 0.0
    length = data.draw(st.integers(1, n))
    expected = scores.sort(dim=1, descending=True, stable=True).indices[:, :length]
    assert torch.equal(columns_of(order_keys(scores, length)), expected)


def test_an_order_is_clear_without_equal_scores_at_the_head_and_with_few_below():
    scores = torch.arange(3000.0).repeat(6, 1)
    scores[1, -1] = scores[1, -5]  # two equal ones at the head
    scores[2, 5] = scores[2, 9]  # two further down
    scores[3, 100:200] = 0.5  # many further down
    scores[4, 100:200] = -math.inf  # many that are excluded
    scores[5, -2:] = math.inf
    assert is_clear(order_keys(scores, 3000)).tolist() == [True, False, True, False, True, False]
    few = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 3.0], [3.0, -math.inf, -math.inf]])
    assert is_clear(order_keys(few, 3)).tolist() == [True, False, True]

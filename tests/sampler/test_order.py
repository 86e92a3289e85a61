"""Orders of columns by score."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.sampler.order import columns_of, is_clear, order_keys, order_of


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


def rows(n=4000):
    """Scores of several kinds, the first 20 columns excluded, and a bound below the others."""
    generator = torch.Generator().manual_seed(3)
    normal = torch.randn(8, n, generator=generator)
    normal[1] *= 1e-30
    normal[2] += 100
    normal[3] = normal[3].exp().exp()  # a few outliers take all levels
    normal[4, 30:200] = normal[4, 30]  # more equal ones than may be out of order
    normal[5, 25] = -torch.inf
    normal[6] = 1.5
    normal[7, 40] = torch.finfo(torch.float32).min
    normal = normal.clamp(min=torch.finfo(torch.float32).min)
    bounds = normal.amin(dim=1, keepdim=True), normal.amax(dim=1, keepdim=True)
    normal[:, :20] = -torch.inf
    return normal, bounds


def test_levels_give_the_head_in_order_and_the_rest_nearly():
    scores, bounds = rows()
    n = scores.shape[1]
    found, exact = order_of(scores, n, bounds), order_keys(scores, n)
    wanted = columns_of(exact)
    assert torch.equal(found.columns.long().sort(dim=1).values, torch.arange(n).expand(len(scores), -1))
    clear = is_clear(exact)
    assert torch.equal(found.clear, clear)
    assert clear.tolist() == [True, True, True, True, False, True, False, True]
    same_scores = scores.gather(1, found.columns.long()) == scores.gather(1, wanted)
    assert same_scores[:, :1024].all()  # in row 2 neighbours may be equal
    assert torch.equal(found.columns[[0, 3], :1024].long(), wanted[[0, 3], :1024])
    assert (found.columns[:, -20:].sort(dim=1).values == torch.arange(20)).all()
    places = torch.empty_like(wanted).scatter_(1, wanted, torch.arange(n).expand_as(wanted))
    shifts = (places.gather(1, found.columns.long()) - torch.arange(n))[clear].abs()
    assert shifts.max() < 64
    assert shifts.double().mean() < 1


@pytest.mark.parametrize("length", [1, 63, 2001, 3950, 3999])
@pytest.mark.parametrize("bounded", [True, False])
def test_the_head_of_a_list_is_in_order(length, bounded):
    scores, bounds = rows()
    found, exact = order_of(scores, length, bounds if bounded else None), order_keys(scores, length)
    assert torch.equal(found.clear, is_clear(exact))
    gathered = (scores.gather(1, columns) for columns in (found.columns.long(), columns_of(exact)))
    assert torch.equal(*gathered)


def test_equal_scores_around_the_end_of_a_head_do_not_hide_better_ones():
    scores = torch.linspace(1.0, 0.0, 4000).repeat(3, 1)
    scores[1, 450:700] = scores[1, 450]  # equal scores and levels
    scores[2, 450:700] = scores[2, 450] - torch.arange(250) * 1e-7  # equal levels alone
    shuffled = scores[:, torch.randperm(4000, generator=torch.Generator().manual_seed(1))]
    found = order_of(shuffled, 500, (torch.zeros(3, 1), torch.ones(3, 1)))
    best = shuffled.sort(dim=1, descending=True).values[:, :500]
    assert torch.equal(shuffled.gather(1, found.columns.long()), best)


def test_without_a_bound_and_with_many_columns_all_are_in_order():
    scores, _ = rows()
    few, many = (
        order_of(scores, 4000),
        order_of(torch.randn(2, 2**15 + 1), 2**15 + 1, (torch.full((2, 1), -9.0), torch.full((2, 1), 9.0))),
    )
    assert torch.equal(few.columns.long(), columns_of(order_keys(scores, 4000)))
    assert (many.columns.sort(dim=1).values == torch.arange(2**15 + 1)).all()
    assert many.clear.all()

"""Ranks against SciPy's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.errors import DataError
from recbole_bd.sampler.ranks import BIN_TOLERANCE, Ranks
from tests.helpers.references import indices_of, rank_by_hand, ranks_of


@pytest.mark.parametrize("method", ["exact", "binned"])
def test_exact_ranks_are_scipys_and_binned_ones_stay_within_their_bound(method):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(2000, generator=generator) for _ in range(5)]
    rows.append(torch.cat([torch.randn(1999, generator=generator) * 1e-6, torch.tensor([1e6])]))  # an outlier
    rows.append(torch.zeros(2000))  # all equal
    rows.append(torch.randint(0, 5, (2000,), generator=generator).float())  # many ties
    rows.append(torch.randn(2000, generator=generator).exp().exp())  # a long tail
    rows.append(torch.tensor([0.0, 1e-40]).repeat(1000))  # a spread so small that dividing by it overflows
    for spread in (0.0, 1e-7):  # some items all but equal, such as those that training never met
        rows.append(torch.cat([torch.randn(1500, generator=generator), torch.randn(500, generator=generator) * spread]))
    scores = torch.stack(rows)
    excluded = torch.rand(scores.shape, generator=generator) < 0.1
    excluded[:, 0] = True
    found = ranks_of(scores, indices_of(excluded), method)
    for row in range(len(scores)):
        expected = rank_by_hand(scores[row].numpy(), excluded[row].numpy())
        error = np.nanmax(np.abs(found[row].numpy() - expected))
        assert error <= (0 if method == "exact" else (BIN_TOLERANCE - 1) / 2)
    if method == "binned":
        expected = np.stack([rank_by_hand(s.numpy(), e.numpy()) for s, e in zip(scores[:5], excluded[:5], strict=True)])
        assert np.nanmean(np.abs(found[:5].numpy() - expected)) < 0.5


def test_items_that_crowd_one_bin_are_ranked_exactly_whatever_they_stand_for():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3000, generator=generator)
    scores[:, ::3] *= 1e-7
    scores[:, ::9] = 0.0
    column_weights = torch.randint(1, 4, scores.shape, generator=generator).float()
    excluded = torch.rand(scores.shape, generator=generator) < 0.1
    column_weights[excluded] = 0
    exact, binned = (
        Ranks(scores, indices_of(excluded), method, column_weights=column_weights).everywhere()
        for method in ("exact", "binned")
    )
    torch.testing.assert_close(binned[:, ::3], exact[:, ::3], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(binned.nan_to_num(), exact.nan_to_num())  # others have their bins' means
    assert (binned - exact).nan_to_num().abs().max() <= 3 * (BIN_TOLERANCE - 1) / 2


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_ranks_of_any_scores(data):
    n = data.draw(st.integers(2, 12))
    number = st.one_of(st.floats(-5, 5, width=32), st.sampled_from([math.inf, -math.inf, 0.0, 1.0, 3e38, -3e38, 1e-40]))
    scores = torch.tensor([data.draw(st.lists(number, min_size=n, max_size=n))], dtype=torch.float32)
    excluded = torch.tensor([data.draw(st.lists(st.booleans(), min_size=n, max_size=n))])
    excluded[0, data.draw(st.integers(0, n - 1))] = False
    expected = rank_by_hand(scores[0].numpy().astype(float), excluded[0].numpy())
    np.testing.assert_allclose(
        ranks_of(scores, indices_of(excluded), "exact")[0].numpy()[~excluded[0]], expected[~excluded[0]]
    )
    binned = ranks_of(scores, indices_of(excluded), "binned")[0].numpy()[~excluded[0]]
    assert np.abs(binned - expected[~excluded[0]]).max() <= (BIN_TOLERANCE - 1) / 2


@pytest.mark.parametrize("method", ["exact", "binned"])
def test_a_score_that_is_no_number_is_refused(method):
    scores = torch.zeros(2, 5)
    scores[1, 3] = math.nan
    with pytest.raises(DataError, match="not a number"):
        ranks_of(scores, indices_of(torch.zeros(2, 5, dtype=torch.bool)), method)


def test_another_way_of_ranking_is_refused():
    with pytest.raises(ValueError, match=r"^ranks='guessed': must be one of binned, exact$"):
        ranks_of(torch.zeros(2, 5), indices_of(torch.zeros(2, 5, dtype=torch.bool)), "guessed")

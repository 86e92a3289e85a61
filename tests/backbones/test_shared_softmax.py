"""Cross-entropy against shared items: the equation in float64, row by row, and the full softmax in the limit."""

import math

import pytest
import torch

from recbole_bd.backbones import shared_softmax
from recbole_bd.backbones.shared_softmax import (
    inner_product_cross_entropy,
    log_corrections,
    own_hits,
    sampled_cross_entropy,
    weighted_log_partition,
)

ROWS, ITEMS, WIDTH = 7, 9, 3  # items without padding, numbered from 1


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(5)
    users = torch.randn(ROWS, WIDTH, generator=generator, requires_grad=True)
    items = torch.randn(ITEMS + 1, WIDTH, generator=generator, requires_grad=True)
    positives = torch.randint(1, ITEMS + 1, (ROWS,), generator=generator)
    drawn = torch.randint(1, ITEMS + 1, (12,), generator=generator).sort().values
    weights = torch.rand(ROWS, generator=generator)
    return users, items, positives, drawn, weights


def by_hand(users, items, positives, drawn) -> torch.Tensor:
    """The equation, row by row, in float64: each draw stands for (items - 1) / (draws that are not the positive)."""
    users, items = users.double(), items.double()
    rows = []
    for user, positive in zip(users, positives.tolist(), strict=True):
        others = [item for item in drawn.tolist() if item != positive]
        each = (ITEMS - 1) / max(len(others), 1)
        total = (user @ items[positive]).exp() + sum(each * (user @ items[item]).exp() for item in others)
        rows.append(total.log() - user @ items[positive])
    return torch.stack(rows)


def test_hits_are_found_as_a_table_of_all_pairs_shows_them(vectors):
    _, _, positives, drawn, _ = vectors
    expected = (positives.unsqueeze(1) == drawn).nonzero()
    assert torch.equal(torch.stack(own_hits(positives, drawn), dim=1), expected)
    assert len(expected) > 1


def losses(vectors):
    users, items, positives, drawn, weights = vectors
    hits = own_hits(positives, drawn)
    corrections = log_corrections(hits, ROWS, len(drawn), ITEMS - 1)
    own = items[positives]
    plain = sampled_cross_entropy((users * own).sum(dim=1), users @ items[drawn].T, hits, corrections)
    return plain, inner_product_cross_entropy(users, own, items[drawn], hits, corrections, weights)


@pytest.mark.parametrize("at_once", [1, 40, 2**19])
def test_both_forms_and_their_gradients_follow_the_equation(vectors, at_once, monkeypatch):
    monkeypatch.setitem(shared_softmax._LOGITS_AT_ONCE, "cpu", at_once)
    users, items, positives, drawn, weights = vectors
    expected = by_hand(users, items, positives, drawn)
    reference = torch.autograd.grad(3 * (weights.double() @ expected), (users, items))
    plain, fused = losses(vectors)
    assert torch.allclose(plain.double(), expected, atol=1e-5)
    assert float(fused) == pytest.approx(float(weights.double() @ expected), rel=1e-5)
    for loss in (weights @ plain, fused):
        for one, other in zip(torch.autograd.grad(3 * loss, (users, items), retain_graph=True), reference, strict=True):
            assert torch.allclose(one, other.float(), atol=1e-5)


def test_the_partition_over_all_items_and_its_gradient(vectors):
    users, items, _, _, weights = vectors
    expected = weights @ (users @ items.T).logsumexp(dim=1)
    found = weighted_log_partition(users, items, weights)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    for one, other in zip(*(torch.autograd.grad(x, (users, items)) for x in (found, expected)), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_each_item_once_is_the_full_softmax(vectors):
    users, items, positives, _, weights = vectors
    everything = torch.arange(1, ITEMS + 1)
    plain, fused = losses((users, items, positives, everything, weights))
    full = torch.nn.functional.cross_entropy(users @ items[1:].T, positives - 1, reduction="none")
    assert torch.allclose(plain, full, atol=1e-6)
    assert float(fused) == pytest.approx(float(weights @ full), rel=1e-6)


def test_many_uniform_draws_come_to_the_full_softmax(vectors):
    users, items, positives, _, weights = vectors
    full = float(weights @ torch.nn.functional.cross_entropy(users @ items[1:].T, positives - 1, reduction="none"))
    generator = torch.Generator().manual_seed(1)
    for count, error in ((1000, 0.03), (100_000, 0.003)):
        drawn = torch.randint(1, ITEMS + 1, (count,), generator=generator).sort().values
        assert float(losses((users, items, positives, drawn, weights))[1]) == pytest.approx(full, rel=error)


def test_the_sum_over_the_draws_has_the_expectation_of_the_sum_over_the_others():
    """Without logQ, a few draws would make the positive look likely."""
    generator = torch.Generator().manual_seed(2)
    values, positive, count = torch.rand(ITEMS + 1, generator=generator, dtype=torch.float64), 4, 5
    estimates = []
    for _ in range(4000):
        drawn = torch.randint(1, ITEMS + 1, (count,), generator=generator).sort().values
        hits = own_hits(torch.tensor([positive]), drawn)
        if len(hits[0]) < count:
            correction = log_corrections(hits, 1, count, ITEMS - 1).double().exp()
            estimates.append(float(correction * (values[drawn].sum() - values[positive] * len(hits[0]))))
    others = float(values[1:].sum() - values[positive])
    assert sum(estimates) / len(estimates) == pytest.approx(others, rel=0.02)


def test_a_row_whose_draws_are_all_its_own_positive_has_no_loss_and_no_gradient(vectors):
    users, items, _, _, weights = vectors
    positives, drawn = torch.full((ROWS,), 4), torch.full((3,), 4)
    plain, fused = losses((users, items, positives, drawn, weights))
    assert plain.tolist() == [0] * ROWS
    assert float(fused) == 0
    gradients = torch.autograd.grad(fused, (users, items))
    assert all(torch.equal(one, torch.zeros_like(one)) for one in gradients)


def test_large_logits_stay_finite():
    users, items = torch.full((2, 1), 100.0, requires_grad=True), torch.tensor([[100.0], [-100.0], [99.0]])
    weights, hits = torch.ones(2), (torch.empty(0, dtype=torch.int64),) * 2
    corrections = log_corrections(hits, 2, 3, 10)
    loss = inner_product_cross_entropy(users, items[:2], items, hits, corrections, weights)
    loss.backward()
    # The first row's positive is as good as the best draw, which stands for 10 / 3 items; the second's is far below.
    assert float(loss) == pytest.approx(math.log(1 + 10 / 3) + 20_000 + math.log(10 / 3))
    assert users.grad.isfinite().all()


@pytest.mark.parametrize("length", [6.2, 6.4])
def test_the_largest_logits_without_scaling_and_the_smallest_with_it(length):
    """Both sides of the bound of 40: logits from -length ** 2 to length ** 2."""
    items = torch.tensor([[length], [-length], [0.0], [length / 2]])
    users = torch.tensor([[length], [-length]], requires_grad=True)
    hits = torch.tensor([0, 1]), torch.tensor([2, 3])
    corrections = log_corrections(hits, 2, 4, 10)
    loss = inner_product_cross_entropy(users, items[2:], items, hits, corrections, torch.ones(2))
    plain = sampled_cross_entropy((users * items[2:]).sum(dim=1), users @ items.T, hits, corrections).sum()
    assert float(loss) == pytest.approx(float(plain), rel=1e-5)
    gradient, wanted = torch.autograd.grad(loss, users)[0], torch.autograd.grad(plain, users)[0]
    assert torch.allclose(gradient, wanted, rtol=1e-4)

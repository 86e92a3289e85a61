import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.losses import listwise_exchange, pointwise_exchange


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def pointwise_by_hand(logits, targets, temperature, on):
    total, count = 0.0, 0
    for row, target_row in zip(logits, targets, strict=True):
        for z, other in zip(row, target_row, strict=True):
            z = z / temperature if on == "both" else z
            q, p = sigmoid(other / temperature), sigmoid(z)
            total -= q * math.log(p) + (1 - q) * math.log(1 - p)
            count += 1
    return total / count


def listwise_by_hand(logits, targets, temperature, on):
    total = 0.0
    for row, target_row in zip(logits, targets, strict=True):
        own = [math.exp(z / temperature if on == "both" else z) for z in row]
        other = [math.exp(z / temperature) for z in target_row]
        total -= sum(q / sum(other) * math.log(p / sum(own)) for p, q in zip(own, other, strict=True))
    return total / len(logits)


BOTH = [(pointwise_exchange, pointwise_by_hand), (listwise_exchange, listwise_by_hand)]


@pytest.mark.parametrize(("loss", "by_hand"), BOTH)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("on", ["target", "both"])
def test_equals_the_equation_written_out(loss, by_hand, temperature, on):
    generator = torch.Generator().manual_seed(1)
    logits, targets = (3 * torch.randn(6, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    expected = by_hand(logits.tolist(), targets.tolist(), temperature, on)
    assert float(loss(logits, targets, temperature, on)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("loss", [pointwise_exchange, listwise_exchange])
def test_the_gradient_pulls_towards_the_other_role_and_leaves_it_alone(loss):
    logits = torch.zeros(1, 2, requires_grad=True)
    targets = torch.tensor([[4.0, -4.0]], requires_grad=True)
    loss(logits, targets, 1.0).backward()
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]  # descent raises the first, lowers the second
    assert targets.grad is None


@pytest.mark.parametrize("loss", [pointwise_exchange, listwise_exchange])
def test_extreme_logits_stay_finite(loss):
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[-1e4, 1e4, 0.0]]), 1.0)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.floats(-2, 2))
@settings(max_examples=60, deadline=None)
def test_agreement_is_the_minimum(values, shift):
    agreed = torch.tensor([values], dtype=torch.float64)
    other = agreed.clone()
    other[0, 0] += shift
    for loss in (pointwise_exchange, listwise_exchange):
        assert float(loss(agreed, agreed, 1.0)) <= float(loss(other, agreed, 1.0)) + 1e-12


@pytest.mark.parametrize(
    ("shape", "temperature", "on", "message"),
    [((2, 2), 1.0, "target", "equal"), ((2, 3), 0.0, "target", "temperature"),
     ((2, 3), math.nan, "target", "temperature"),
     ((2, 3), 1.0, "student", "temperature_on")],
)  # fmt: skip
def test_what_is_not_allowed_is_named(shape, temperature, on, message):
    for loss in (pointwise_exchange, listwise_exchange):
        with pytest.raises(ValueError, match=message):
            loss(torch.zeros(2, 3), torch.zeros(shape), temperature, on)

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_bd.model.losses import (
    collaborative_exchange,
    dynamic_weights,
    estimated_rank,
    list_cross_entropy,
    listwise_exchange,
    pairwise_exchange,
    pairwise_ranking,
    pointwise_exchange,
    position_weights,
    ranking_distillation,
    relaxed_ranking,
    set_above_rest,
    squared_distance,
)
from recbole_bd.model.partial_order import precision_for
from tests.helpers.references import sigmoid


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


def pairwise_by_hand(logits, targets, temperature, on):
    total, count = 0.0, 0
    for row, target_row in zip(logits, targets, strict=True):
        for z, other in zip(row[1:], target_row[1:], strict=True):
            ahead = (row[0] - z) / (temperature if on == "both" else 1.0)
            q, p = sigmoid((target_row[0] - other) / temperature), sigmoid(ahead)
            total -= q * math.log(p) + (1 - q) * math.log(1 - p)
            count += 1
    return total / count


EXCHANGES = [pointwise_exchange, listwise_exchange, pairwise_exchange]
BY_HAND = list(zip(EXCHANGES, [pointwise_by_hand, listwise_by_hand, pairwise_by_hand], strict=True))


@pytest.mark.parametrize(("loss", "by_hand"), BY_HAND)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("on", ["target", "both"])
def test_equals_the_equation_written_out(loss, by_hand, temperature, on):
    generator = torch.Generator().manual_seed(1)
    logits, targets = (3 * torch.randn(6, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    expected = by_hand(logits.tolist(), targets.tolist(), temperature, on)
    assert float(loss(logits, targets, temperature, on)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("loss", EXCHANGES)
def test_the_gradient_pulls_towards_the_other_role_and_leaves_it_alone(loss):
    logits = torch.zeros(1, 2, requires_grad=True)
    targets = torch.tensor([[4.0, -4.0]], requires_grad=True)
    loss(logits, targets, 1.0).backward()
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]  # descent raises the first, lowers the second
    assert targets.grad is None


@pytest.mark.parametrize("loss", EXCHANGES)
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
    for loss in EXCHANGES:
        assert float(loss(agreed, agreed, 1.0)) <= float(loss(other, agreed, 1.0)) + 1e-12


@pytest.mark.parametrize(
    ("shape", "temperature", "on", "message"),
    [((2, 2), 1.0, "target", "equal"), ((2, 3), 0.0, "target", "temperature"),
     ((2, 3), math.nan, "target", "temperature"),
     ((2, 3), 1.0, "student", "temperature_on")],
)  # fmt: skip
def test_what_is_not_allowed_is_named(shape, temperature, on, message):
    for loss in EXCHANGES:
        with pytest.raises(ValueError, match=message):
            loss(torch.zeros(2, 3), torch.zeros(shape), temperature, on)


# --- one-way methods --------------------------------------------------------------------------------------------------
def normal(*shape, seed=1, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(("temperature", "shift"), [(0.5, 0.0), (2.0, -1.5)])
def test_collaborative_exchange_is_cross_entropy_with_shifted_targets(temperature, shift):
    logits, targets = normal(5, 4), normal(5, 4, seed=2)
    total = 0.0
    for z, other in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        q, p = sigmoid((other + shift) / temperature), sigmoid(z)
        total -= q * math.log(p) + (1 - q) * math.log(1 - p)
    assert float(collaborative_exchange(logits, targets, temperature, shift)) == pytest.approx(total / 20, abs=1e-9)


def test_position_weights_fall_exponentially_and_add_up_to_one():
    weights = position_weights(5, 2.0).tolist()
    total = sum(math.exp(-rank / 2.0) for rank in range(1, 6))
    assert weights == pytest.approx([math.exp(-rank / 2.0) / total for rank in range(1, 6)], rel=1e-6)
    with pytest.raises(ValueError, match="temperature"):
        position_weights(5, 0.0)


def test_the_estimated_rank_is_exact_where_all_items_are_sampled():
    scores = normal(3, 200)
    scores[0, 7] = scores[0, 3]  # a tie is not above
    exact = torch.tensor([[1 + sum(x > y for x in row) for y in row] for row in scores.tolist()]).float()
    assert torch.equal(estimated_rank(scores, scores, torch.full((3,), 200)), exact)


def test_the_estimated_rank_is_that_of_the_formula_and_right_on_average():
    scores = normal(1, 500).squeeze(0)
    generator = torch.Generator().manual_seed(0)
    sampled = scores[torch.randint(500, (4000, 30), generator=generator)]
    chosen = scores.sort(descending=True).values[[0, 9, 99, 399]]
    found = estimated_rank(chosen.repeat(4000, 1), sampled, torch.full((4000,), 500))
    for row in range(0, 4000, 500):
        for place, score in enumerate(chosen.tolist()):
            above = sum(x > score for x in sampled[row].tolist())
            assert float(found[row, place]) == 500 * above // 30 + 1
    mean, error = found.mean(dim=0), found.std(dim=0) / 4000**0.5
    # The floor takes one half off on average, which the last term stands for.
    assert (torch.abs(mean - torch.tensor([1.0, 10.0, 100.0, 400.0])) < 4 * error + 0.5).all()


def test_dynamic_weights_are_above_zero_only_where_the_student_ranks_lower():
    ranks = torch.tensor([[1.0, 1.0, 3.0, 14.0], [2.0, 3.0, 40.0, 4.0]])
    expected = [[math.tanh(0.1 * max(rank - place, 0)) for place, rank in enumerate(row, 1)] for row in ranks.tolist()]
    assert torch.allclose(dynamic_weights(ranks, 0.1), torch.tensor(expected))


def test_ranking_distillation_is_the_weighted_likelihood_of_positives():
    logits, weights = normal(4, 3).requires_grad_(), normal(4, 3, seed=2).abs().requires_grad_()
    rows = zip(logits.tolist(), weights.tolist(), strict=True)
    expected = sum(w * -math.log(sigmoid(z)) for row, ws in rows for z, w in zip(row, ws, strict=True)) / 4
    value = ranking_distillation(logits, weights)
    assert float(value) == pytest.approx(expected, abs=1e-9)
    value.backward()
    assert (logits.grad < 0).all()  # descent raises them all
    assert weights.grad is None


def relaxed_by_hand(interesting, uninteresting):
    total = 0.0
    for row, others in zip(interesting, uninteresting, strict=True):
        for k, z in enumerate(row):
            total -= math.log(math.exp(z) / (sum(map(math.exp, row[k:])) + sum(map(math.exp, others))))
    return total / len(interesting)


@pytest.mark.parametrize(("n_interesting", "n_uninteresting"), [(3, 4), (1, 2), (4, 0)])
def test_relaxed_ranking_equals_the_equation_written_out(n_interesting, n_uninteresting):
    interesting, uninteresting = normal(5, n_interesting), normal(5, n_uninteresting, seed=2)
    expected = relaxed_by_hand(interesting.tolist(), uninteresting.tolist())
    assert float(relaxed_ranking(interesting, uninteresting)) == pytest.approx(expected, abs=1e-9)


def test_relaxed_ranking_leaves_out_what_is_not_there():
    interesting, uninteresting = normal(3, 4).requires_grad_(), normal(3, 3, seed=2).requires_grad_()
    lengths, counts = [4, 2, 1], [3, 1, 0]
    listed = torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    drawn = torch.arange(3) < torch.tensor(counts).unsqueeze(1)
    rows = [
        ([row[:length]], [others[:count]])
        for row, others, length, count in zip(
            interesting.tolist(), uninteresting.tolist(), lengths, counts, strict=True
        )
    ]
    value = relaxed_ranking(interesting, uninteresting, listed, drawn)
    assert float(value) == pytest.approx(sum(relaxed_by_hand(*row) for row in rows) / 3, abs=1e-9)
    value.backward()
    assert torch.isfinite(interesting.grad).all()
    assert (interesting.grad[~listed] == 0).all()
    assert (uninteresting.grad[~drawn] == 0).all()


def test_relaxed_ranking_raises_what_is_interesting_and_lowers_the_rest():
    interesting, uninteresting = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 3, requires_grad=True)
    relaxed_ranking(interesting, uninteresting).backward()
    assert interesting.grad[0, 0] < interesting.grad[0, 1] < 0 < uninteresting.grad.min()
    assert uninteresting.grad[0].unique().numel() == 1  # their own order is free
    better, worse = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    assert relaxed_ranking(better, torch.zeros(1, 3)) < relaxed_ranking(worse, torch.zeros(1, 3))


@pytest.mark.parametrize("spread", [1.0, 20.0, 100.0, 1000.0])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("rest", [0, 6])
def test_relaxed_ranking_has_the_gradient_of_its_sums_in_log_space(spread, precision, rest, monkeypatch):
    """Up to a spread of 60 and 600 by shared exponentials, beyond by logarithms."""
    logits = (normal(50, 5 + rest) * spread / 4).to(precision)
    listed = torch.arange(5) < torch.randint(0, 6, (50, 1), generator=torch.Generator().manual_seed(1))
    drawn = torch.arange(rest) < torch.randint(0, 7, (50, 1), generator=torch.Generator().manual_seed(2))

    def found(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own = logits.clone().requires_grad_()
        value = relaxed_ranking(own[:, :5], own[:, 5:], listed, drawn)
        (3 * value).backward()
        return value.detach(), own.grad

    value, gradient = found(logits)
    monkeypatch.setattr("recbole_bd.model.losses.precision_for", lambda *_: None)
    expected, its = found(logits.double())
    assert torch.allclose(value.double(), expected, rtol=2e-6)
    close = (
        1e-12 if precision == torch.float64 else 1e-6 if spread < 600 else 1e-4
    )  # float32 logarithms of large numbers
    assert torch.allclose(gradient.double(), its, rtol=1e-4, atol=close)
    assert (gradient[:, :5][~listed] == 0).all()
    assert (gradient[:, 5:][~drawn] == 0).all()


@pytest.mark.parametrize(
    ("logits", "precision", "expected"),
    [
        ([[0.0, -59.0]], torch.float32, torch.float32),
        ([[0.0, -61.0]], torch.float32, torch.float64),
        ([[0.0, -1.0]], torch.float64, torch.float64),
        ([[0.0, -601.0]], torch.float32, None),
        ([[0.0, -601.0]], torch.float64, None),
        ([[0.0, math.nan]], torch.float32, None),
        ([[0.0, -math.inf]], torch.float32, None),
    ],
)
def test_logits_far_apart_need_more_digits(logits, precision, expected):
    own = torch.tensor(logits, dtype=precision)
    assert precision_for(own, own[:, :0], torch.ones_like(own, dtype=torch.bool)) == expected
    assert precision_for(own, own[:, :0], torch.tensor([[True, False]])) == precision or math.isnan(logits[0][1])


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_relaxed_ranking_of_extreme_logits_stays_finite(size):
    interesting = torch.tensor([[-size, size, 0.0], [0.0, 1.0, 2.0]], requires_grad=True)
    uninteresting = torch.tensor([[size, -size], [0.0, -200.0]], requires_grad=True)
    value = relaxed_ranking(interesting, uninteresting)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(interesting.grad).all()
    assert torch.isfinite(uninteresting.grad).all()


def cross_entropy_by_hand(logits, targets, temperature):
    own, other = ([math.exp(z / temperature) for z in row] for row in (logits, targets))
    return -sum(q / sum(other) * math.log(p / sum(own)) for p, q in zip(own, other, strict=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_list_cross_entropy_is_that_of_each_rows_own_items(temperature):
    logits, targets = normal(4, 5).requires_grad_(), normal(4, 5, seed=2).requires_grad_()
    lengths = [5, 3, 1, 0]
    listed = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
    found = list_cross_entropy(logits, targets, temperature, listed)
    rows = zip(logits.tolist(), targets.tolist(), lengths, strict=True)
    expected = [cross_entropy_by_hand(row[:n], other[:n], temperature) for row, other, n in rows]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert list_cross_entropy(logits, targets, temperature)[0].item() == pytest.approx(expected[0], abs=1e-9)
    found.sum().backward()
    shares = [torch.softmax(z[0, :5].detach() / temperature, dim=0) for z in (logits, targets)]
    assert torch.allclose(logits.grad[0], (shares[0] - shares[1]) / temperature)  # descent raises what is too low
    assert (logits.grad[~listed] == 0).all()
    assert targets.grad is None
    entropy = list_cross_entropy(targets, targets, temperature, listed)
    assert (entropy <= found + 1e-12).all()


def test_list_cross_entropy_of_extreme_logits_stays_finite():
    logits = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    value = list_cross_entropy(logits, torch.tensor([[1e4, -1e4, 0.0]]), 1.0, torch.tensor([[True, True, False]]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()


def test_squared_distance_is_a_mean_over_rows_and_pulls_towards_the_target():
    vectors, target = normal(4, 3).requires_grad_(), normal(4, 3, seed=2).requires_grad_()
    expected = sum((a - b) ** 2 for a, b in zip(vectors.flatten().tolist(), target.flatten().tolist(), strict=True)) / 4
    value = squared_distance(vectors, target)
    assert float(value) == pytest.approx(expected, abs=1e-9)
    value.backward()
    assert torch.equal(vectors.grad.sign(), (vectors - target).sign())
    assert target.grad is None
    with pytest.raises(ValueError, match="equal"):
        squared_distance(vectors, target[:, :2])


def test_pairwise_ranking_equals_the_equation_written_out():
    higher, lower = normal(4, 3).requires_grad_(), normal(4, 3, seed=2).requires_grad_()
    counts = [3, 2, 1, 0]
    rows = list(zip(higher.tolist(), lower.tolist(), strict=True))
    means = [
        sum(-math.log(sigmoid(a - b)) for a, b in list(zip(*row, strict=True))[:count]) / max(count, 1)
        for row, count in zip(rows, counts, strict=True)
    ]
    listed = torch.arange(3) < torch.tensor(counts).unsqueeze(1)
    value = pairwise_ranking(higher, lower, listed)
    assert float(value.detach()) == pytest.approx(sum(means) / 4, abs=1e-9)
    value.backward()
    assert (higher.grad[listed] < 0).all()  # descent raises these
    assert (lower.grad[listed] > 0).all()
    assert (higher.grad[~listed] == 0).all()
    whole = sum(-math.log(sigmoid(a - b)) for row in rows for a, b in zip(*row, strict=True)) / 12
    assert float(pairwise_ranking(higher, lower).detach()) == pytest.approx(whole, abs=1e-9)


def test_chosen_items_above_the_rest_equal_the_equation_written_out():
    chosen, rest = normal(4, 3).requires_grad_(), normal(4, 5, seed=2).requires_grad_()
    counts = [3, 2, 1, 0]
    expected = 0.0
    for row, others, count in zip(chosen.tolist(), rest.tolist(), counts, strict=True):
        expected -= sum(z - math.log(math.exp(z) + sum(map(math.exp, others))) for z in row[:count])
    listed = torch.arange(3) < torch.tensor(counts).unsqueeze(1)
    value = set_above_rest(chosen, rest, listed)
    assert float(value.detach()) == pytest.approx(expected / 4, abs=1e-9)
    value.backward()
    assert (chosen.grad[listed] < 0).all()
    assert (chosen.grad[~listed] == 0).all()
    assert (rest.grad[:3] > 0).all()


def test_new_losses_of_extreme_logits_stay_finite():
    extreme = torch.tensor([[1e30, -1e30, 0.0]], requires_grad=True)
    for value in (pairwise_ranking(extreme, -extreme), set_above_rest(extreme, extreme.flip(1))):
        (gradient,) = torch.autograd.grad(value, extreme)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()

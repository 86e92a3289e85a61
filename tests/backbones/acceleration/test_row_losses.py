"""The faster cross-entropies of rows, against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from recbole.utils import init_seed

from recbole_bd.backbones.acceleration import row_losses
from recbole_bd.backbones.acceleration.row_losses import (
    FastRowLosses,
    MeanCrossEntropy,
    SummedBinaryCrossEntropy,
    fast_row_losses,
)
from tests.helpers.backbones import close, first_batch


@pytest.fixture
def few_at_once(monkeypatch):
    """Blocks of two rows."""
    monkeypatch.setattr(row_losses, "_LOGITS_AT_ONCE", {"cpu": 700, "cuda": 700})


def logits_of(generator) -> torch.Tensor:
    return (20 * torch.randn(7, 300, generator=generator)).requires_grad_()  # softplus is linear beyond 20


@pytest.mark.usefixtures("few_at_once")
def test_a_sum_over_zeros_and_ones_and_its_gradient_are_those_of_torch():
    generator = torch.Generator().manual_seed(1)
    logits = logits_of(generator)
    targets = (torch.rand(7, 300, generator=generator) < 0.05).float()
    exact = F.binary_cross_entropy_with_logits(logits.double(), targets.double(), reduction="sum")
    (expected,) = torch.autograd.grad(3 * exact, logits)
    found = SummedBinaryCrossEntropy.apply(logits, targets)
    (gradient,) = torch.autograd.grad(3 * found, logits)
    assert float(found) == pytest.approx(float(exact), rel=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-6)


@pytest.mark.usefixtures("few_at_once")
def test_a_mean_over_softmaxes_and_its_gradient_are_those_of_torch():
    generator = torch.Generator().manual_seed(1)
    logits, targets = logits_of(generator), torch.randint(300, (7,), generator=generator)
    exact = F.cross_entropy(logits.double(), targets)
    (expected,) = torch.autograd.grad(3 * exact, logits)
    found = MeanCrossEntropy.apply(logits, targets)
    (gradient,) = torch.autograd.grad(3 * found, logits)
    assert float(found) == pytest.approx(float(exact), rel=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("loss", [SummedBinaryCrossEntropy, MeanCrossEntropy])
def test_a_second_backward_is_an_error_and_not_a_wrong_gradient(loss):
    logits = torch.randn(2, 3, requires_grad=True)
    targets = torch.ones(2, 3) if loss is SummedBinaryCrossEntropy else torch.tensor([0, 2])
    found = loss.apply(logits, targets)
    found.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        found.backward()


LOGITS, ONES, COLUMNS = torch.arange(12.0).view(3, 4) / 7, torch.ones(3, 4), torch.tensor([3, 0, 1])
PER_COLUMN = torch.tensor([1.0, 2.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("loss", "targets", "options", "is_fast"),
    [
        (F.binary_cross_entropy_with_logits, ONES, {"reduction": "sum"}, True),
        (F.binary_cross_entropy_with_logits, ONES, {}, False),
        (F.binary_cross_entropy_with_logits, ONES, {"reduction": "sum", "weight": PER_COLUMN}, False),
        (F.binary_cross_entropy_with_logits, ONES, {"reduction": "sum", "pos_weight": PER_COLUMN}, False),
        (F.cross_entropy, COLUMNS, {}, True),
        (F.cross_entropy, COLUMNS, {"ignore_index": -1}, False),
        (F.cross_entropy, torch.tensor([3, -100, 1]), {}, False),
        (F.cross_entropy, ONES / 4, {}, False),
        (F.cross_entropy, COLUMNS, {"label_smoothing": 0.1}, False),
        (F.cross_entropy, COLUMNS, {"weight": PER_COLUMN}, False),
        (F.cross_entropy, COLUMNS, {"reduction": "none"}, False),
    ],
)
def test_plain_losses_of_rows_are_fast_and_all_others_torchs(loss, targets, options, is_fast):
    logits = LOGITS.clone().requires_grad_()
    expected = loss(logits, targets, **options)
    with FastRowLosses():
        found = loss(logits, targets, **options)
    assert torch.allclose(found, expected)
    name = type(found.grad_fn).__name__
    assert (name in ("SummedBinaryCrossEntropyBackward", "MeanCrossEntropyBackward")) == is_fast


def test_cdae_learns_what_recboles_does(build):
    interaction = first_batch(*build("CDAE", corruption_ratio=0.0))
    found = []
    for is_fast in (False, True):
        role, _ = build("CDAE", corruption_ratio=0.0)
        init_seed(5, True)
        loss = role.loss(interaction) if is_fast else role.model.calculate_loss(interaction)
        loss.backward()
        found.append((loss, {key: parameter.grad for key, parameter in role.model.named_parameters()}))
    assert float(found[1][0]) == pytest.approx(float(found[0][0]), rel=1e-6)
    assert all(close(gradient, found[1][1][key]) for key, gradient in found[0][1].items())


def test_models_that_compare_pairs_have_no_scope(build):
    assert isinstance(fast_row_losses(build("CDAE")[0].model), FastRowLosses)
    for name in ("BPR", "MultiDAE"):
        assert not isinstance(fast_row_losses(build(name)[0].model), FastRowLosses)

"""The faster sum of cross-entropies, against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from recbole.model.general_recommender import CDAE
from recbole.utils import init_seed

from recbole_bd.backbones.acceleration import row_losses
from recbole_bd.backbones.acceleration.row_losses import (
    FastLossCDAE,
    SummedCrossEntropy,
    _SumsFast,
    add_up_fast,
)
from tests.helpers.backbones import close, first_batch


def test_value_and_gradient_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(row_losses, "_LOGITS_AT_ONCE", 700)
    generator = torch.Generator().manual_seed(1)
    logits = (20 * torch.randn(7, 300, generator=generator)).requires_grad_()  # softplus is linear beyond 20
    targets = (torch.rand(7, 300, generator=generator) < 0.05).float()
    exact = F.binary_cross_entropy_with_logits(logits.double(), targets.double(), reduction="sum")
    (expected,) = torch.autograd.grad(3 * exact, logits)
    found = SummedCrossEntropy.apply(logits, targets)
    (gradient,) = torch.autograd.grad(3 * found, logits)
    assert float(found) == pytest.approx(float(exact), rel=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"reduction": "mean"}, {"reduction": "sum", "weight": torch.full((4,), 2.0)}, {"reduction": "none"}],
)
def test_other_losses_stay_torchs(options):
    logits, targets = torch.randn(3, 4, requires_grad=True), torch.ones(3, 4)
    with _SumsFast():
        found = F.binary_cross_entropy_with_logits(logits, targets, **options)
    assert torch.equal(found, F.binary_cross_entropy_with_logits(logits, targets, **options))
    assert "SummedCrossEntropy" not in type(found.grad_fn).__name__


def test_cdae_learns_what_recboles_does(build):
    found = []
    interaction = first_batch(*build("CDAE", corruption_ratio=0.0))
    for is_fast in (False, True):
        role, _ = build("CDAE", corruption_ratio=0.0)
        if is_fast:
            add_up_fast(role.model)
        assert (type(role.model) is FastLossCDAE) == is_fast
        init_seed(5, True)
        loss = role.loss(interaction)
        loss.backward()
        found.append((loss, {key: parameter.grad for key, parameter in role.model.named_parameters()}))
    assert float(found[1][0]) == pytest.approx(float(found[0][0]), rel=1e-6)
    assert all(close(gradient, found[1][1][key]) for key, gradient in found[0][1].items())


def test_other_models_stay_as_they_are(build):
    class Own(CDAE):
        """A model of somebody else."""

    for name, kind in (("CDAE", Own), ("MultiDAE", None)):
        role, _ = build(name, kind)
        before = type(role.model)
        add_up_fast(role.model)
        assert type(role.model) is before

"""Loss and gradient of a partial order in a few passes, on a CPU: torch's sums in log space take five times as long."""

from typing import Any

import torch
from torch import Tensor

# Largest difference of logits whose exponential has all digits, by precision; e^-60 and e^-600 do.
_SPREAD = {torch.float32: 60.0, torch.float64: 600.0}


class PartialOrder(torch.autograd.Function):
    """`losses.relaxed_ranking`, whose terms and gradients share their exponentials.

    With m the greatest logit of a row, e = exp(z - m) and c_k = sum over i >= k of e_i + sum over l of e_l:

        loss = mean over b of sum over k of log(c_k) + m - z_k
        dloss/dz_i = (e_i * (sum over k <= i of 1 / c_k) - 1) / B
        dloss/dz_l = e_l * (sum over k of 1 / c_k) / B
    """

    @staticmethod
    def forward(ctx: Any, interesting: Tensor, uninteresting: Tensor, listed: Tensor, precision: torch.dtype) -> Tensor:
        """Loss of logits [B, K] and [B, L] and bool [B, K], where missing logits are the lowest number; a scalar."""
        greatest = _greatest(interesting, uninteresting)
        ahead, rest = ((logits - greatest).to(precision).exp_() for logits in (interesting, uninteresting))
        behind = ahead.flip(1).cumsum(dim=1).flip(1).add_(rest.sum(dim=1, keepdim=True))
        behind.masked_fill_(~listed, torch.inf)  # no term
        terms = behind.log().add_(greatest).sub_(interesting).masked_fill_(~listed, 0)
        shares = behind.reciprocal_().cumsum(dim=1)
        of_ahead = ahead.mul_(shares).sub_(listed.to(precision)).to(interesting.dtype)
        ctx.save_for_backward(of_ahead, rest.mul_(shares[:, -1:]).to(uninteresting.dtype))
        return (terms.sum() / len(terms)).to(interesting.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the logits."""
        of_ahead, of_rest = ctx.saved_tensors
        factor = gradient / len(of_ahead)
        return of_ahead * factor, of_rest * factor, None, None


@torch.no_grad()
def precision_for(interesting: Tensor, uninteresting: Tensor, listed: Tensor) -> torch.dtype | None:
    """The least precision in which no exponential of a listed logit underflows; None if there is none, or on a GPU.

    Args:
        interesting: [B, K], missing logits filled with the lowest number.
        uninteresting: [B, L], filled likewise.
        listed: bool [B, K], see `losses.relaxed_ranking`.
    """
    if interesting.device.type != "cpu":
        return None
    spread = (
        float((_greatest(interesting, uninteresting) - interesting).masked_fill_(~listed, 0).max())
        if interesting.numel()
        else 0.0
    )
    allowed = [kind for kind, most in _SPREAD.items() if spread <= most and kind.itemsize >= interesting.element_size()]
    return allowed[0] if allowed else None


def _greatest(interesting: Tensor, uninteresting: Tensor) -> Tensor:
    """The greatest logit of each row, [B, 1]; there may be no uninteresting ones."""
    greatest = interesting.amax(dim=1, keepdim=True)
    return torch.maximum(greatest, uninteresting.amax(dim=1, keepdim=True)) if uninteresting.shape[1] else greatest

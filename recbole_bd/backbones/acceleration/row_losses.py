"""The cross-entropy of whole rows of items, added up, in about half of torch's time on a CPU.

CDAE's loss compares a row of logits with a row of zeros and ones for each user: most of its training. RecBole's code of
the loss stays as it is, and the result is the same up to rounding.

Changes model instances: CDAE gets the class `FastLossCDAE`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.general_recommender import CDAE
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Logits whose loss and gradient are computed together: they stay in the cache.
_LOGITS_AT_ONCE = 2**17


class SummedCrossEntropy(torch.autograd.Function):
    """Binary cross-entropy of logits, summed; no gradient reaches the targets.

    sum of softplus(z) - z * y;  its gradient is sigmoid(z) - y
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits and targets, both [B, n]; a scalar."""
        total, gradient = logits.new_zeros(()), torch.empty_like(logits)
        rows = max(1, _LOGITS_AT_ONCE // max(logits.shape[1], 1))
        for some, wanted, found in zip(*(table.split(rows) for table in (logits, targets, gradient)), strict=True):
            total += F.softplus(some).sum() - torch.dot(some.reshape(-1), wanted.reshape(-1))
            torch.sigmoid(some, out=found).sub_(wanted)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient of the logits."""
        (of_sum,) = ctx.saved_tensors
        return of_sum * gradient, None


class _SumsFast(TorchFunctionMode):
    """Scope in which summed cross-entropies without weights are those of `SummedCrossEntropy`."""

    def __torch_function__(
        self, function: Callable, types: Any, args: Sequence[Any] = (), given: Mapping[str, Any] | None = None
    ) -> Any:
        given = given or {}
        if function is F.binary_cross_entropy_with_logits and _is_plain_sum(*args, **given):
            return SummedCrossEntropy.apply(*args[:2])
        return function(*args, **given)


def _is_plain_sum(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> bool:
    """Whether a call of torch's cross-entropy adds up rows of plain zeros and ones, in the dtype of the logits."""
    has_options = any(option is not None for option in (weight, size_average, reduce, pos_weight))
    is_like = logits.dim() == 2 and logits.shape == targets.shape and logits.dtype == targets.dtype
    is_like &= not targets.requires_grad
    return reduction == "sum" and not has_options and is_like


class FastLossCDAE(CDAE):
    """CDAE whose cross-entropy is added up faster."""

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """RecBole's loss of a batch of users; a scalar."""
        with _SumsFast():
            return super().calculate_loss(interaction)


def add_up_fast(model: AbstractRecommender) -> None:
    """Let RecBole's own CDAE on a CPU add up its loss faster; other models stay as they are."""
    if type(model) is CDAE and next(model.parameters()).device.type == "cpu":
        model.__class__ = FastLossCDAE

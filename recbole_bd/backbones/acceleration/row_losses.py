"""Cross-entropies of whole rows of items, with fewer passes over the memory than torch's on a CPU.

CDAE compares a row of logits with zeros and ones for each user, and sequential models take the softmax of a row for
each history. Loss and gradient are computed together, over a few rows that stay in the cache. A loss has one backward
pass, which overwrites the kept gradient. RecBole's code of the loss stays as it is, and the result is the same up to
rounding. `benchmarks/README.md` says what it saves.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import AbstractRecommender, SequentialRecommender
from recbole.model.general_recommender import CDAE
from torch import Tensor
from torch.overrides import TorchFunctionMode

from recbole_bd.system.block_sizes import rows_at_once

# Logits whose loss and gradient are computed together.
_LOGITS_AT_ONCE = {"cpu": 2**17, "cuda": 2**17}


class SummedBinaryCrossEntropy(torch.autograd.Function):
    """Binary cross-entropy of logits, summed; no gradient reaches the targets.

    sum of softplus(z) - z * y;  its gradient is sigmoid(z) - y
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits and targets, both [B, n]; a scalar."""
        total, gradient = logits.new_zeros(()), torch.empty_like(logits)
        for some, wanted, found in _blocks(logits, targets, gradient):
            total += F.softplus(some).sum() - torch.dot(some.reshape(-1), wanted.reshape(-1))
            torch.sigmoid(some, out=found).sub_(wanted)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient of the logits."""
        (of_sum,) = ctx.saved_tensors
        return of_sum.mul_(gradient), None


class MeanCrossEntropy(torch.autograd.Function):
    """Cross-entropy of the softmax of rows, their mean.

    mean of logsumexp(z) - z_y;  its gradient is (softmax(z) - onehot(y)) / B
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits [B, n] and columns int64 [B]; a scalar."""
        total, gradient = logits.new_zeros(()), torch.empty_like(logits)
        for some, wanted, found in _blocks(logits, targets.unsqueeze(1), gradient):
            torch.softmax(some, dim=1, out=found)
            # The largest share is 1 / (sum of exp(logit - largest)).
            log_sums = some.amax(dim=1, keepdim=True) - found.amax(dim=1, keepdim=True).log_()
            own = some.gather(1, wanted)
            total += (log_sums - own).sum()
            found.scatter_add_(1, wanted, torch.full_like(own, -1))
        ctx.save_for_backward(gradient)
        return total / len(logits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient of the logits."""
        (of_sum,) = ctx.saved_tensors
        return of_sum.mul_(gradient / len(of_sum)), None


def _blocks(logits: Tensor, targets: Tensor, gradient: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """A few rows of each table at a time."""
    rows = rows_at_once(_LOGITS_AT_ONCE, logits.device, logits.shape[1])
    return zip(*(table.split(rows) for table in (logits, targets, gradient)), strict=True)


class FastRowLosses(TorchFunctionMode):
    """Scope in which plain cross-entropies of rows are those of this module; all else is torch's."""

    def __torch_function__(
        self, function: Callable, types: Any, args: Sequence[Any] = (), given: Mapping[str, Any] | None = None
    ) -> Any:
        given = given or {}
        if function is F.binary_cross_entropy_with_logits and _is_plain(function, "sum", args, given):
            logits, targets = args[:2]
            if targets.shape == logits.shape and targets.dtype == logits.dtype and not targets.requires_grad:
                return SummedBinaryCrossEntropy.apply(logits, targets)
        if function is F.cross_entropy and _is_plain(function, "mean", args, given):
            logits, targets = args[:2]
            if targets.dtype == torch.int64 and targets.dim() == 1 and bool((targets >= 0).all()):
                return MeanCrossEntropy.apply(logits, targets)
        return function(*args, **given)


def _is_plain(function: Callable, reduction: str, args: Sequence[Any], given: Mapping[str, Any]) -> bool:
    """Whether a loss of rows of float32 is called with this reduction, and with all other options as they are."""
    if len(args) < 2 or args[0].dim() != 2 or args[0].dtype != torch.float32 or args[0].device.type != "cpu":
        return False
    call = inspect.signature(function).bind(*args, **given)
    defaults = {name: parameter.default for name, parameter in call.signature.parameters.items()}
    options = {name: value for name, value in list(call.arguments.items())[2:] if value != defaults[name]}
    return options.pop("reduction", "mean") == reduction and not options


def fast_row_losses(model: AbstractRecommender) -> AbstractContextManager[Any]:
    """Scope for the loss of a model: `FastRowLosses` for those that compare whole rows, on a CPU."""
    has_rows = isinstance(model, CDAE | SequentialRecommender)
    return FastRowLosses() if has_rows and next(model.parameters()).device.type == "cpu" else nullcontext()

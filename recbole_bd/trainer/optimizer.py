"""Fused forms of RecBole's optimizers, their learning rates, and the decay of these."""

import inspect
from typing import Any

import torch


def fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimizer with torch's fused update, which reads and writes every parameter once.

    The mathematics are the same; rounding may differ in the last bit. On a GPU it can be captured in a CUDA graph.

    Args:
        optimizer: a new optimizer with one parameter group.

    Returns:
        A fused Adam, AdamW or SGD if all parameters are floating point on a CPU or CUDA; else the given optimizer.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    plain = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD) or not plain or not parameters:
        return optimizer
    (settings,) = optimizer.param_groups
    names = inspect.signature(type(optimizer)).parameters.keys() & settings.keys() - {"params", "foreach", "fused"}
    given = {name: settings[name] for name in names}
    if "capturable" in given:
        given["capturable"] = parameters[0].device.type == "cuda"
    kind: Any = type(optimizer)
    return kind(parameters, **given, fused=True)


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate of an optimizer as it is now; all parameters of RecBole's have the same."""
    return float(optimizer.param_groups[0]["lr"])


class RateDecay:
    """Learning rate that falls from epoch to epoch.

    rate of epoch n = first rate * factor ** n, n = 0, 1, ...

    Args:
        optimizer: a new optimizer, which has the first rate.
        factor: in (0, 1]; 1 leaves the optimizer alone.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factor: float):
        self.factor = factor
        self._optimizer, self._first = optimizer, rate_of(optimizer)

    def begin(self, epoch: int) -> None:
        """Set the rate of an epoch, counted from 0, whatever the rate is now."""
        if self.factor == 1:
            return
        for group in self._optimizer.param_groups:
            group["lr"] = self._first * self.factor**epoch

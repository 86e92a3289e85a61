"""Distillation losses as pure functions of logits."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_TEMPERATURE_ON = ("target", "both")


def pointwise_exchange(
    logits: Tensor, target_logits: Tensor, temperature: float, temperature_on: str = "target"
) -> Tensor:
    """Binary cross-entropy of each logit against the other role's softened probability.

    mean over (b, k) of BCE(z, sigmoid(z_other / temperature))   (BD, WWW 2021, Eq. 4 and 5)

    Args:
        logits: [B, K], the learner's logits.
        target_logits: [B, K], the other role's logits of the same items; a constant, no gradient reaches it.
        temperature: above 0; the larger, the nearer the targets are to one half.
        temperature_on: `target`, or `both` to divide the learner's logits too.

    Returns:
        A scalar.

    Raises:
        ValueError: unequal shapes, or a temperature or `temperature_on` that is not allowed.
    """
    learner, target = _softened(logits, target_logits, temperature, temperature_on)
    return functional.binary_cross_entropy_with_logits(learner, torch.sigmoid(target))


def listwise_exchange(
    logits: Tensor, target_logits: Tensor, temperature: float, temperature_on: str = "target"
) -> Tensor:
    """Cross-entropy between two softmax distributions over one list of items per row.

    mean over b of - sum over k of softmax(z_other / temperature)_k * log softmax(z)_k

    Args:
        logits: [B, K], the learner's logits of the list; this package puts the positive in column 0.
        target_logits: [B, K], the other role's logits of the same list; a constant, no gradient reaches it.
        temperature: above 0.
        temperature_on: `target`, or `both` to divide the learner's logits too.

    Returns:
        A scalar.

    Raises:
        ValueError: unequal shapes, or a temperature or `temperature_on` that is not allowed.
    """
    learner, target = _softened(logits, target_logits, temperature, temperature_on)
    return functional.cross_entropy(learner, torch.softmax(target, dim=1))


def _softened(logits: Tensor, target_logits: Tensor, temperature: float, temperature_on: str) -> tuple[Tensor, Tensor]:
    if logits.shape != target_logits.shape or logits.ndim != 2:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(target_logits.shape)} must be equal [B, K]")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature={temperature}: must be in (0, inf)")
    if temperature_on not in _TEMPERATURE_ON:
        raise ValueError(f"temperature_on={temperature_on!r}: must be one of {', '.join(_TEMPERATURE_ON)}")
    target = target_logits.detach() / temperature
    return (logits / temperature if temperature_on == "both" else logits), target

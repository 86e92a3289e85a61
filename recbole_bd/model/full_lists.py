"""Cross-entropy between two roles' softmax over all items that a user has not seen.

Users come in blocks. No array of users x items numbers is kept beyond a block.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.families import family_of_class
from recbole_bd.backbones.scoring.pair_networks import PairNetwork
from recbole_bd.backbones.scoring.rows import Units, users_of
from recbole_bd.sampler.seen_items import Indices, SeenItems
from recbole_bd.sampler.top_lists import mask_excluded, users_at_once

# Logits of all items, [C, n_items] with padding first, of the users at some places of a batch. Constants.
ListRows = Callable[[slice], Tensor]
# Target probabilities [C, n_items] of the users at some places, and the indices of what these users have seen.
_Targets = Callable[[slice], tuple[Tensor, Indices]]

# Blocks of row models are larger than those of inner products by this factor: each gives a gradient of all parameters.
_LARGER_FOR_ROWS = 8


def full_list_cross_entropy(
    learner: Role,
    units: Units,
    target_rows: ListRows,
    seen: SeenItems,
    temperature: float = 1.0,
    whose: str = "a model",
) -> Tensor:
    """Cross-entropy of the learner's softmax over all unseen items with another one.

    mean over u of - sum over j in I_u- of softmax(z_other / temperature)_j * log softmax(z / temperature)_j

    The gradient is computed with the loss, block by block. Where the learner's logits are inner products, a block takes
    one matrix product for the logits and one for the gradient of either side. A model of another family scores the
    block, and the gradient goes back to its parameters at once.

    Args:
        learner: the role that learns; `can_learn_full_lists` holds for it.
        units: distinct users, int64 [U], or rows of a batch; of none the value is 0.
        target_rows: logits of the other role for a slice of these units.
        seen: the training items, which are in no list.
        temperature: divides both roles' logits; above 0.
        whose: name of the other role, for the error.

    Returns:
        A scalar. Without the target's entropy, which is a constant, it is the Kullback-Leibler divergence.

    Raises:
        DataError: a score of the other role is not a number.
    """
    users = users_of(units)

    def targets(part: slice) -> tuple[Tensor, Indices]:
        excluded = seen.of(users[part])
        scores = mask_excluded(target_rows(part).detach(), excluded, whose)
        return torch.softmax(scores.div_(temperature), dim=1), excluded

    at_once = users_at_once(users.device, seen.n_items)
    with torch.autocast(users.device.type, enabled=False):
        if (vectors := learner.embeddings(units)) is not None:
            of_users, of_items = (own.float() for own in vectors)
            total = _InnerProducts.apply(of_users / temperature, of_items, targets, _blocks(len(users), at_once))
        else:
            blocks = _blocks(len(users), at_once * _LARGER_FOR_ROWS)
            total = _of_rows(learner, units, targets, temperature, blocks)
    return total / max(len(users), 1)


def can_learn_full_lists(model_class: type) -> bool:
    """Whether a model scores all items of a user together; pair networks compute one pair at a time.

    Args:
        model_class: class of the model.
    """
    return not issubclass(family_of_class(model_class), PairNetwork)


def some_units(units: Units, count: int | None, generator: torch.Generator) -> Units:
    """Draw some of the units at random; all, in their order, where there are not more.

    Args:
        units: distinct users, int64 [U], or rows of a batch.
        count: number of units to draw; None for all.
        generator: random generator on the device of the users.
    """
    if not count or len(units) <= count:
        return units
    order = torch.randperm(len(units), generator=generator, device=generator.device)
    return units[order[:count]]


def constant_rows(role: Role, units: Units, learning: bool) -> ListRows:
    """Logits of all items as constants, without dropout or noise, for the target of another role.

    The vectors of an inner product are computed once, not for each block.

    Args:
        role: the role that teaches.
        units: users, int64 [U], or rows of a batch.
        learning: whether this role learns in the same step: see `Role.target_logits`.
    """

    def scored(part: slice) -> Tensor:
        with role.scoring():
            return role.all_logits(units[part])

    with nullcontext() if learning and role.propagates else role.scoring():
        vectors = role.embeddings(units)
    if vectors is None:
        return scored
    of_users, of_items = (own.detach() for own in vectors)
    return lambda part: of_users[part] @ of_items.T


def _blocks(count: int, at_once: int) -> list[slice]:
    return [slice(start, start + at_once) for start in range(0, count, at_once)]


def _partition_and_gradient(logits: Tensor, shares: Tensor, excluded: Indices) -> tuple[Tensor, Tensor]:
    """Sum over rows of log sum exp(logits), and the gradient of the cross-entropy of softmax(logits) with the shares.

    The cross-entropy is the first less the sum of shares * logits.

    Args:
        logits: float32 [C, n_items]; changed in place.
        shares: float32 [C, n_items], 0 at excluded items; rows add up to 1.
        excluded: indices of the items that are in no list.

    Returns:
        A scalar, and [C, n_items], 0 at excluded items.
    """
    logits[excluded] = -torch.inf
    largest = logits.amax(dim=1, keepdim=True)
    sums = logits.sub_(largest).exp_().sum(dim=1, keepdim=True)
    return (sums.log() + largest).sum(), logits.div_(sums).sub_(shares)


def _of_rows(learner: Role, units: Units, targets: _Targets, temperature: float, blocks: list[slice]) -> Tensor:
    """Sum over units of the cross-entropy, for a model that is no inner product.

    Each block has a pass of its own, as its gradient frees what the pass has kept.

    The gradient is not computed by scoring a block again in the backward pass: lookups of embedding tables must not
    happen in it (`acceleration.embedding_gradients`).
    """
    parameters = [one for one in learner.model.parameters() if one.requires_grad]
    total = torch.zeros((), device=users_of(units).device)
    gradients: list[Tensor | None] = [None] * len(parameters)
    for part in blocks:
        logits = learner.all_logits(units[part]).float()
        shares, excluded = targets(part)
        scaled = logits.detach() / temperature
        total -= torch.linalg.vecdot(shares, scaled).sum()  # before the mask: 0 * -inf is no number
        partition, above = _partition_and_gradient(scaled, shares, excluded)
        total += partition
        if logits.requires_grad:
            found = torch.autograd.grad(logits, parameters, above.div_(temperature), allow_unused=True)
            gradients = [_sum_of(*both) for both in zip(gradients, found, strict=True)]
    return _WithGradients.apply(total, gradients, *parameters)


def _sum_of(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    """Add gradients; None is no gradient."""
    return more if total is None else total if more is None else total + more


class _WithGradients(torch.autograd.Function):
    """A value whose gradients by some parameters are known; None for those that it does not depend on."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if one is None else gradient * one for one in ctx.saved_tensors)


class _InnerProducts(torch.autograd.Function):
    """Sum over users of the cross-entropy of softmax(user . items) with the targets, and its gradient with it."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, targets: _Targets, blocks: list[slice]) -> Tensor:
        total, user_gradient, item_gradient = users.new_zeros(()), torch.empty_like(users), torch.zeros_like(items)
        for part in blocks:
            shares, excluded = targets(part)
            total -= ((shares @ items) * users[part]).sum()  # sum of shares * logits without their product's array
            partition, above = _partition_and_gradient(users[part] @ items.T, shares, excluded)
            total += partition
            user_gradient[part] = above @ items
            item_gradient.addmm_(above.T, users[part])
        ctx.save_for_backward(user_gradient, item_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        user_gradient, item_gradient = ctx.saved_tensors
        return gradient * user_gradient, gradient * item_gradient, None, None

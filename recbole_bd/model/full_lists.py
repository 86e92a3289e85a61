"""Cross-entropy between two roles' softmax over all items that a user has not seen.

Users come in blocks. No array of users x items numbers is kept beyond a block.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.families import family_of_class
from recbole_bd.backbones.scoring.pair_networks import PairNetwork
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.sampler.top_lists import mask_excluded, users_at_once

# Logits of all items, [C, n_items] with padding first, of the users at some places of a batch. Constants.
Rows = Callable[[slice], Tensor]
# Target probabilities [C, n_items] of the users at some places, and the indices of what these users have seen.
_Targets = Callable[[slice], tuple[Tensor, tuple[Tensor, Tensor]]]


def full_list_cross_entropy(
    learner: Role,
    users: Tensor,
    target_rows: Rows,
    seen: SeenItems,
    temperature: float = 1.0,
    whose: str = "a model",
) -> Tensor:
    """Cross-entropy of the learner's softmax over all unseen items with another one.

    mean over u of - sum over j in I_u- of softmax(z_other / temperature)_j * log softmax(z / temperature)_j

    Where the learner's logits are inner products, the gradient is computed with the loss: one matrix product for the
    logits of a block and one for each side's gradient. Other models score a block once more in the backward pass,
    unless there is one block.

    Args:
        learner: the role that learns; `can_learn_full_lists` holds for it.
        users: int64 [U], distinct users.
        target_rows: logits of the other role for a slice of these users.
        seen: the training items, which are in no list.
        temperature: divides both roles' logits; above 0.
        whose: name of the other role, for the error.

    Returns:
        A scalar. Without the target's entropy, which is a constant, it is the Kullback-Leibler divergence.

    Raises:
        DataError: a score of the other role is not a number.
    """

    def targets(part: slice) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        excluded = seen.of(users[part])
        scores = mask_excluded(target_rows(part).detach(), excluded, whose)
        return torch.softmax(scores.div_(temperature), dim=1), excluded

    at_once = users_at_once(users.device, seen.n_items)
    blocks = [slice(start, start + at_once) for start in range(0, len(users), at_once)]
    with torch.autocast(users.device.type, enabled=False):
        vectors = learner.embeddings(users)
        if vectors is not None:
            of_users, of_items = (own.float() for own in vectors)
            return _InnerProducts.apply(of_users / temperature, of_items, targets, blocks) / len(users)

        def of_block(part: slice) -> Tensor:
            logits = learner.all_logits(users[part]).float() / temperature
            shares, excluded = targets(part)
            learned = torch.linalg.vecdot(shares, logits)
            gone = torch.full_like(excluded[0], -torch.inf, dtype=logits.dtype)
            return (logits.index_put(excluded, gone).logsumexp(dim=1) - learned).sum()

        if len(blocks) == 1:
            return of_block(blocks[0]) / len(users)
        parts = [checkpoint(of_block, part, use_reentrant=False) for part in blocks]
        return torch.stack(parts).sum() / len(users)


def can_learn_full_lists(model_class: type) -> bool:
    """Whether a model scores all items of a user at once; pair networks compute one pair at a time.

    Args:
        model_class: class of the model.
    """
    return not issubclass(family_of_class(model_class), PairNetwork)


class _InnerProducts(torch.autograd.Function):
    """Sum over users of the cross-entropy of softmax(user . items) with the targets, and its gradient with it."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, targets: _Targets, blocks: list[slice]) -> Tensor:
        total, user_gradient, item_gradient = users.new_zeros(()), torch.empty_like(users), torch.zeros_like(items)
        for part in blocks:
            shares, excluded = targets(part)
            logits = users[part] @ items.T
            total -= torch.linalg.vecdot(shares, logits).sum()  # before the mask: 0 * -inf is no number
            logits[excluded] = -torch.inf
            largest = logits.amax(dim=1, keepdim=True)
            sums = logits.sub_(largest).exp_().sum(dim=1, keepdim=True)
            total += (sums.log() + largest).sum()
            above = logits.div_(sums).sub_(shares)  # gradient of the logits
            user_gradient[part] = above @ items
            item_gradient.addmm_(above.T, users[part])
        ctx.save_for_backward(user_gradient, item_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        user_gradient, item_gradient = ctx.saved_tensors
        return gradient * user_gradient, gradient * item_gradient, None, None

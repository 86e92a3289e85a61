"""Distances between lists, and moves of users along the lists of a teacher's states."""

import torch
from torch import Tensor


def list_distance(lists: Tensor, target: Tensor) -> Tensor:
    """Distance of lists from target lists.   (HetComp, WWW 2023)

    1 - sum over k of g_k [item k is in the target] / sum over k of g_k, g_k = (2^exp(-(k - 1) / 10) - 1) / log2(k + 1)

    Ranks k are from 1. The sums are over the ranks at which the row has an item.

    Args:
        lists: [n, K] items, the best first; zeros at the end are no items.
        target: [n, M] items; 0 is no item.

    Returns:
        float32 [n], from 0 to 1; 0 for rows without items.
    """
    ranks = torch.arange(lists.shape[1], device=lists.device)
    gains = (torch.exp2(torch.exp(ranks / -10)) - 1) / torch.log2(ranks + 2)
    ascending = target.sort(dim=1).values
    places = torch.searchsorted(ascending, lists.contiguous()).clamp_(max=target.shape[1] - 1)
    is_item = lists > 0
    found = (ascending.gather(1, places) == lists) & is_item
    total = (gains * is_item).sum(dim=1)
    return 1 - torch.where(total > 0, (gains * found).sum(dim=1) / total.clamp(min=gains.min()), 1)


def next_stages(stages: Tensor, before: Tensor | None, distances: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Move users to the next state of the teacher where the student has come nearer to it, or goes away from it.

    before / d > threshold, or before / d < 1, or d = 0, with d the distance to the list of the user's next state

    Args:
        stages: int64 [n_users], each user's state, from 0.
        before: float32 [n_users], d at the user's last move or at the first comparison; None for the first comparison,
            at which nobody moves.
        distances: float32 [n_states, n_users], distance of the student's list from that of every state.
        threshold: above 0.

    Returns:
        The new states, and the new `before`.
    """
    last = len(distances) - 1
    users = torch.arange(len(stages), device=stages.device)
    now = distances[(stages + 1).clamp(max=last), users]
    if before is None:
        return stages, now
    # Products in the place of quotients: a distance may be 0.
    moves = (stages < last) & ((before > threshold * now) | (before < now) | (now == 0))
    stages = stages + moves
    return stages, torch.where(moves, distances[(stages + 1).clamp(max=last), users], before)

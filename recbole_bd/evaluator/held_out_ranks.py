"""Ranks of the held-out test items."""

import torch
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.data.protocol import UserItems, candidates, left_out
from recbole_bd.data.split import Split
from recbole_bd.evaluator.shared_noise import shared_noise
from recbole_bd.sampler.seen_items import require_numbers

# Scores compared at a time, float32; a boolean array of the same shape is alive too.
_CHUNK_SCORES = 2**22


def test_ranks(role: Role, split: Split) -> torch.Tensor:
    """Rank every test interaction's item in the role's recommendations to its user.

    The list is the one that metrics measure, see `recbole_bd.data.protocol`: without padding and without the items that
    the evaluation leaves out, or with the candidates of sampled evaluation only. It holds all test items of the user.
    Tied items share the mean of their ranks, so no result depends on item ids.

    Args:
        role: the role whose model ranks.
        split: the data.

    Returns:
        float32 [number of test interactions], 1 is best, in the order of `split.pairs("test")`. Working memory is a
        chunk of 2**22 scores, never users x items.

    Raises:
        DataError: a score is NaN; infinite scores rank at the ends.
    """
    users, items = split.pairs("test")
    sampled = candidates(split, "test")
    excluded = left_out(split, "test") if sampled is None else None
    order = torch.argsort(users, stable=True)
    ranks = torch.empty(len(users))
    step = max(1, _CHUNK_SCORES // split.n_items)
    with role.scoring(), shared_noise(role, split.test_loader):
        for chunk in order.split(step):
            distinct, row = torch.unique(users[chunk], return_inverse=True)
            scores = role.all_logits(distinct.to(role.device)).float().cpu()
            require_numbers(scores.amax(dim=1), role.name)
            own = scores[row, items[chunk]].unsqueeze(1)
            scores = _listed(scores, distinct, excluded, sampled)
            better = (scores[row] > own).sum(dim=1)
            equal = (scores[row] == own).sum(dim=1)  # itself included
            ranks[chunk] = better + (equal + 1) / 2
    return ranks


def _listed(scores: Tensor, users: Tensor, excluded: UserItems | None, sampled: UserItems | None) -> Tensor:
    """Put NaN, which compares as neither greater nor equal, at items that are not ranked."""
    if sampled is not None:
        places = sampled.of(users)
        return torch.full_like(scores, torch.nan).index_put_(places, scores[places])
    if excluded is not None:
        scores[excluded.of(users)] = torch.nan
    scores[:, 0] = torch.nan
    return scores

"""Ranks of the held-out test items."""

import torch
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.data.protocol import UserItems, candidates, left_out
from recbole_bd.data.sequences import MEASURED
from recbole_bd.data.split import Split
from recbole_bd.evaluator.shared_noise import shared_noise
from recbole_bd.sampler.seen_items import require_numbers

# Scores sorted at a time, float32.
_CHUNK_SCORES = 2**21


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
        chunk of 2**21 scores, never users x items.

    Raises:
        DataError: a score is NaN; infinite scores rank at the ends.
    """
    users, items = split.pairs("test")
    sampled = candidates(split, "test")
    excluded = left_out(split, "test") if sampled is None else None
    order = torch.argsort(users, stable=True)
    distinct, counts = torch.unique_consecutive(users[order], return_counts=True)
    ranks = torch.empty(len(users))
    step = max(1, _CHUNK_SCORES // split.n_items)
    rows_of = order.split([int(part.sum()) for part in counts.split(step)])
    with role.scoring(), role.at(MEASURED), shared_noise(role, split.test_loader):
        for some, count, rows in zip(distinct.split(step), counts.split(step), rows_of, strict=True):
            scores = role.all_logits(some.to(role.device)).float().cpu()
            require_numbers(scores.amax(dim=1), role.name)
            own = scores[torch.repeat_interleave(count), items[rows]]
            n_out = _leave_out(scores, some, excluded, sampled)
            ranks[rows] = _mean_ranks(scores, n_out, own, count)
    return ranks


def _leave_out(scores: Tensor, users: Tensor, excluded: UserItems | None, sampled: UserItems | None) -> Tensor:
    """Put -inf, in place, at items that are not ranked. Returns their number in each row, int64 [B]."""
    if sampled is not None:
        places = sampled.of(users)
        listed = scores[places]
        scores.fill_(-torch.inf)[places] = listed
        return scores.shape[1] - torch.bincount(places[0], minlength=len(users))
    assert excluded is not None
    places = excluded.of(users)
    scores[places] = -torch.inf
    scores[:, 0] = -torch.inf
    return torch.bincount(places[0], minlength=len(users)) + 1


def _mean_ranks(scores: Tensor, n_out: Tensor, own: Tensor, counts: Tensor) -> Tensor:
    """Mean rank of some scores of each row: the number of better ones, and half of the others that are equal.

    Args:
        scores: float32 [B, n], -inf at items that are not ranked; sorted in place.
        n_out: int64 [B], the number of these.
        own: float32 [sum of `counts`], scores of items that are ranked, row by row.
        counts: int64 [B], how many of them each row has.

    Returns:
        float32 [sum of `counts`].
    """
    scores.numpy().sort(axis=1)
    rows = torch.repeat_interleave(counts)
    places = torch.arange(len(own)) - (counts.cumsum(0) - counts)[rows]
    wanted = torch.zeros(len(counts), int(counts.max()))
    wanted[rows, places] = own
    below, not_above = (torch.searchsorted(scores, wanted, right=right)[rows, places] for right in (False, True))
    better, equal = scores.shape[1] - not_above, not_above - below
    equal -= torch.where(own == -torch.inf, n_out[rows], 0)
    return better + (equal + 1) / 2

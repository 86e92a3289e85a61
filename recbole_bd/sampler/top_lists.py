"""The best unseen items of each user, in order.

Rank 1 is the best. Padding and the user's training items are not listed. Rows of users with fewer unseen items than
asked for end in zeros.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_bd.sampler.order import Bounds, columns_of, order_keys, order_of
from recbole_bd.sampler.seen_items import Indices, SeenItems, require_numbers
from recbole_bd.system.block_sizes import rows_at_once

# Scores ranked together: 4 MiB on a CPU, to stay near its cache.
_SCORES_AT_ONCE = {"cpu": 2**20, "cuda": 2**24}
# Largest k for which torch.topk is faster on a CPU than a sort of keys, and than one of levels.
_FEW, _FEWER = 64, 20
_LEAST = torch.finfo(torch.float32).min


def bounds_of(scores: Tensor, whose: str) -> Bounds:
    """Least and greatest score of each row. -inf counts as the least finite number.

    Args:
        scores: logits [C, n].
        whose: name of the role, for the error.

    Returns:
        float32 [C, 1] each.

    Raises:
        DataError: a score is not a number.
    """
    lowest, greatest = (bound(dim=1, keepdim=True).float() for bound in (scores.amin, scores.amax))
    require_numbers(greatest, whose)
    return lowest.clamp_(min=_LEAST), greatest


def mask_excluded(scores: Tensor, excluded: Indices, whose: str, bounds: Bounds | None = None) -> Tensor:
    """Copy scores with -inf at the excluded items, and only there; scores of -inf become the least finite number.

    Args:
        scores: logits [C, n].
        excluded: indices of the items that are not listed.
        whose: name of the role, for the error.
        bounds: result of `bounds_of`, if it is at hand.

    Returns:
        float32 [C, n], without -0.0.

    Raises:
        DataError: a score is not a number.
    """
    lowest, _ = bounds or bounds_of(scores, whose)
    scores = scores.float() + 0.0  # 0.0 in the place of -0.0
    if (lowest == _LEAST).any():
        scores.clamp_(min=_LEAST)
    scores[excluded] = -torch.inf
    return scores


def topk_sorted(scores: Tensor, length: int, bounds: Bounds | None = None) -> tuple[Tensor, Tensor]:
    """`torch.topk` of each row, sorted; faster on a CPU.

    Args:
        scores: float32 [C, n]; no NaN and no -0.0.
        length: numbers per row, n at most.
        bounds: of each row's scores but -inf; saves time. None if they are not known.

    Returns:
        Values [C, length], the greatest first, and their columns, int64 [C, length].
    """
    if scores.device.type != "cpu" or length <= (_FEW if bounds is None else _FEWER):
        greatest = scores.topk(length, dim=1)
        return greatest.values, greatest.indices
    # For a larger k, topk takes two to five times as long on a CPU.
    if bounds is None or length == scores.shape[1]:
        columns = columns_of(order_keys(scores, length))
    else:
        columns = order_of(scores, length, bounds).columns.long()
    return scores.gather(1, columns), columns


def users_at_once(device: torch.device, n_items: int) -> int:
    """Number of users whose scores of all items are ranked together."""
    return rows_at_once(_SCORES_AT_ONCE, device, n_items)


def top_lists(
    all_logits: Callable[[Tensor], Tensor],
    seen: SeenItems,
    length: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None = None,
    whose: str = "a model",
) -> Tensor:
    """The best unseen items of every user, in order.

    Users come in chunks; the result takes 4 * n_users * length bytes.

    Args:
        all_logits: logits [C, n_items], padding first, of users [C].
        seen: the training items.
        length: items per user at most.
        generator: breaks ties at random, so that lists do not depend on item ids; closed-form models have many ties.
            The lists are on its device.
        progress: called with the number of users done so far.
        whose: name of the role, for the error.

    Returns:
        int32 [n_users, min(length, n_items - 1)], the best item first; 0 for user 0 and after a user's last item.

    Raises:
        DataError: a score is not a number.
    """
    device, n_items = generator.device, seen.n_items
    length = min(length, n_items - 1)
    lists = torch.zeros(seen.n_users, length, dtype=torch.int32, device=device)
    for users in torch.arange(1, seen.n_users, device=device).split(users_at_once(device, n_items)):
        logits = all_logits(users)
        bounds = bounds_of(logits, whose)
        scores = mask_excluded(logits, seen.of(users), whose, bounds)
        # One more than is listed, to see whether the last one has an equal.
        best, columns = topk_sorted(scores, length + 1, bounds)
        tied = ((best[:, 1:] == best[:, :-1]) & (best[:, 1:] != -torch.inf)).any(dim=1)
        if tied.any():
            shuffled = torch.randperm(n_items, generator=generator, device=device)
            best[tied], places = topk_sorted(scores[tied].index_select(1, shuffled), length + 1)
            columns[tied] = shuffled[places]
        lists[users] = torch.where(best == -torch.inf, 0, columns)[:, :length].to(torch.int32)
        if progress:
            progress(int(users[-1]))
    return lists


def is_listed(items: Tensor, lists: Tensor) -> Tensor:
    """Whether items are in the list of their own row.

    Args:
        items: [n, K] item ids; 0 is no item.
        lists: [n, M] item ids, in any order; 0 is no item.

    Returns:
        bool [n, K]; False at 0.
    """
    ascending = lists.long().sort(dim=1).values
    items = items.long().contiguous()
    places = torch.searchsorted(ascending, items).clamp_(max=lists.shape[1] - 1)
    return (ascending.gather(1, places) == items) & (items > 0)


def listed_logits(logits_of: Callable[[Tensor, Tensor], Tensor], lists: Tensor, at_once: int = 64) -> Tensor:
    """Logits of every user's listed items.

    Args:
        logits_of: logits [C, K] of users [C] and their items [C, K], e.g. `Role.pair_logits`.
        lists: [n_users, K] items; 0 is no item, and its logit is arbitrary.
        at_once: users that are scored together; row models compute a row of all items for each.

    Returns:
        float32 [n_users, K].
    """
    chunks = torch.arange(len(lists), device=lists.device).split(at_once)
    return torch.cat([logits_of(users, lists[users].long()) for users in chunks])

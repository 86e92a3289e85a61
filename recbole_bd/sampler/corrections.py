"""Items that a role ranks lower, or higher, than a teacher: draws by the difference of ranks, from the teacher's list.

Rank 1 is the best.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_bd.sampler.draws import draw_listed
from recbole_bd.sampler.order import sort_rows
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.sampler.top_lists import mask_excluded, users_at_once

# Least weight of a listed item, so that as many as asked for can be drawn.
LEAST_WEIGHT = 1e-5


def listed_ranks(
    all_logits: Callable[[Tensor], Tensor],
    seen: SeenItems,
    lists: Tensor,
    progress: Callable[[int], None] | None = None,
    whose: str = "a model",
) -> Tensor:
    """Exact ranks of listed items among all unseen items of their user.

    1 + the number of unseen items with a higher score

    Users come in chunks.

    Args:
        all_logits: logits [C, n_items], padding first, of users [C].
        seen: the training items.
        lists: [n_users, K] unseen items; 0 is no item.
        progress: called with the number of users done so far.
        whose: name of the role, for the error.

    Returns:
        int64 [n_users, K], 1 is best; arbitrary at 0, and for user 0.

    Raises:
        DataError: a score is not a number.
    """
    device = lists.device
    ranks = torch.ones(lists.shape, dtype=torch.int64, device=device)
    for users in torch.arange(1, seen.n_users, device=device).split(users_at_once(device, seen.n_items)):
        scores = mask_excluded(all_logits(users), seen.of(users), whose).contiguous()
        listed = scores.gather(1, lists[users].long())
        ranks[users] = seen.n_items + 1 - torch.searchsorted(sort_rows(scores), listed, right=True)
        if progress:
            progress(int(users[-1]))
    return ranks


def correction_weights(ranks: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Weights of listed items by how much lower, or higher, a role ranks them.   (DCD, CIKM 2021)

    w = max(tanh(max(x, 0)), 1e-5), x = (rank - rank_listed) / scale; for items that are ranked higher, -x

    Args:
        ranks: [n, K], the role's rank of each item of the list.
        scale: above 0, in positions.

    Returns:
        Two of float32 [n, K]: of items that the role ranks lower than the list, and of those that it ranks higher.
    """
    listed = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    difference = torch.tanh((ranks - listed) / scale)
    return difference.clamp(min=LEAST_WEIGHT), difference.neg().clamp_(min=LEAST_WEIGHT)


def draw_corrections(
    lists: Tensor, ranks: Tensor, count: int, scale: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw items that a role ranks lower than a list, and items that it ranks higher; without replacement each.

    An item may be drawn as both, where too few have more than the least weight.

    Args:
        lists: [n, K] items, the best first; zeros at the end are never drawn.
        ranks: [n, K], the role's ranks of these items.
        count: items of each kind.
        scale: see `correction_weights`.
        generator: random generator.

    Returns:
        Underestimated and overestimated items, [n, min(count, K)] each, in the order of the list; zeros at the end of
        shorter lists.
    """
    under, over = (draw_listed(lists, weights.log_(), count, generator) for weights in correction_weights(ranks, scale))
    return under, over

"""The head of a role's ranking, what is drawn from it, and uniform draws of the other items.

Everywhere: rank 1 is the best; the padding item and the user's training items are neither listed nor drawn, so that
item 0 says "no item": rows of users who have fewer items left than asked for end in zeros.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recbole_bd.ranking import Places, SeenItems, require_numbers, slot

# Scores looked at together: 4 MiB on a CPU, so that they stay near its cache.
_SCORES_AT_ONCE = {"cpu": 2**20, "cuda": 2**24}
# Up to so many of a row torch.topk finds faster on a CPU than NumPy.
_FEW = 64
# Ranks beyond the number of draws without replacement, in temperatures, that a draw from the head can reach: fewer than
# one item in 10,000 would come from further down.
_HEAD_TEMPERATURES = 10


def listable(scores: Tensor, excluded: Places, whose: str) -> Tensor:
    """Scores by which items are listed: a copy in which only what is not listed is -inf.

    Args:
        scores: logits [C, n].
        excluded: places of what is not listed.
        whose: the role whose scores they are, for the error.

    Returns:
        float32 [C, n].

    Raises:
        DataError: a score is not a number.
    """
    scores = scores.float()
    require_numbers(scores.amax(dim=1), whose)
    scores = scores.clamp(min=torch.finfo(scores.dtype).min)
    scores[excluded] = -torch.inf
    return scores


def best_first(scores: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The greatest numbers of each row in order, as `torch.topk` gives them.

    Args:
        scores: float32 [C, n], no NaN.
        length: how many of each row, n at most.

    Returns:
        The numbers, [C, length], the greatest first, and their columns, int64 [C, length].
    """
    if scores.device.type != "cpu" or length <= _FEW:
        greatest = scores.topk(length, dim=1)
        return greatest.values, greatest.indices
    # Of more of them topk takes two to five times as long on a CPU as NumPy.
    negated = -scores.numpy()
    columns = np.argpartition(negated, length - 1, axis=1)[:, :length]
    negated = np.take_along_axis(negated, columns, axis=1)
    order = np.argsort(negated, axis=1)
    columns, negated = (np.take_along_axis(table, order, axis=1) for table in (columns, negated))
    return torch.from_numpy(-negated), torch.from_numpy(columns)


def users_at_once(device: torch.device, n_items: int) -> int:
    """How many users' scores of all items are best looked at together."""
    return max(1, _SCORES_AT_ONCE.get(device.type, _SCORES_AT_ONCE["cuda"]) // n_items)


def top_lists(
    all_logits: Callable[[Tensor], Tensor],
    seen: SeenItems,
    length: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None = None,
    whose: str = "a model",
) -> Tensor:
    """The best items of every user in order, of those that the user has not seen.

    Users come in chunks; what stays is 4 * n_users * length bytes.

    Args:
        all_logits: logits [C, n_items], padding first, of users [C].
        seen: the training items.
        length: items per user at most.
        generator: breaks ties, which closed-form models have many of, so that nothing depends on item ids; the lists
            are on its device.
        progress: called with the number of users done so far.
        whose: the role whose scores they are, for the error.

    Returns:
        int32 [n_users, min(length, n_items - 1)], the best item first; 0 for user 0 and behind the last item of a user.

    Raises:
        DataError: a score is not a number.
    """
    device, n_items = generator.device, seen.n_items
    length = min(length, n_items - 1)
    lists = torch.zeros(seen.n_users, length, dtype=torch.int32, device=device)
    for users in torch.arange(1, seen.n_users, device=device).split(users_at_once(device, n_items)):
        scores = listable(all_logits(users), seen.of(users), whose)
        shuffled = torch.randperm(n_items, generator=generator, device=device)
        best, place = best_first(scores.index_select(1, shuffled), length)
        lists[users] = torch.where(best == -torch.inf, 0, shuffled[place]).to(torch.int32)
        if progress:
            progress(int(users[-1]))
    return lists


def head_length(temperature: float, distinct: int = 0) -> int:
    """Length of the head from which draws are those from the whole list, but for one in 10,000 at most.

    Args:
        temperature: of the draw, p(rank r) proportional to exp(-r / temperature).
        distinct: how many items are drawn without replacement; 0 for draws with replacement.

    Returns:
        Number of ranks.
    """
    return distinct + math.ceil(_HEAD_TEMPERATURES * temperature)


def draw_places(lengths: Tensor, count: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw places of a list with replacement, p(rank r) proportional to exp(-r / temperature).

    Args:
        lengths: int64 [B], how many items each row's list has; at least 1.
        count: places per row.
        temperature: above 0; the smaller, the nearer the draws are to the best item.
        generator: the source of chance.

    Returns:
        int64 [B, count], from 0, the place of the best item.
    """
    lengths = lengths.unsqueeze(1)
    share = torch.rand(len(lengths), count, dtype=torch.float64, generator=generator, device=lengths.device)
    # The distribution function inverted: the first n places have the share (1 - exp(-n / T)) / (1 - exp(-length / T)).
    share.mul_(torch.expm1(lengths.double() / -temperature)).log1p_().mul_(-temperature)
    return torch.minimum(share.long(), lengths - 1)


def draw_head(lists: Tensor, count: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw items without replacement, one after another with p(rank r) proportional to exp(-r / temperature).

    The items with the largest -r / temperature + g, g from the standard Gumbel distribution, are such a draw.

    Args:
        lists: [n, H] items in order, the best first; zeros, at the end, are never drawn.
        count: items per row.
        temperature: above 0; the smaller, the nearer the draw is to the first `count` items.
        generator: the source of chance.

    Returns:
        [n, min(count, H)] of the type of `lists`, in the order of the list; zeros where it has no more.
    """
    keys = torch.empty(lists.shape, device=lists.device).exponential_(generator=generator).log_().neg_()
    keys -= torch.arange(lists.shape[1], device=lists.device) / temperature
    keys[lists == 0] = -torch.inf
    places = keys.topk(min(count, lists.shape[1]), dim=1).indices
    return lists.gather(1, places.sort(dim=1).values)


class UnseenItems:
    """Uniform draws of the items that are left to each user, exact and without a trial that could fail.

    The n-th item left is found among the others: of these in order, the i-th (from 0) has its own id less i + 1 items
    left before it. Kept is one number per item that is not drawn.

    Args:
        seen: the training items, which are never drawn.
        besides: [n_users, K] further items of each user that are not drawn; 0 is none.

    Attributes:
        left: int64 [n_users], how many items can be drawn; never padding.
    """

    def __init__(self, seen: SeenItems, besides: Tensor | None = None):
        self.n_items, device = seen.n_items, seen.items.device
        users = torch.arange(seen.n_users, device=device)
        keys = torch.repeat_interleave(users, seen.counts) * self.n_items + seen.items
        if besides is not None:
            more = (users.unsqueeze(1) * self.n_items + besides)[besides > 0]
            keys = torch.unique(torch.cat([keys, more]))
        owners = torch.div(keys, self.n_items, rounding_mode="floor")
        self.starts = torch.searchsorted(owners, torch.arange(seen.n_users + 1, device=device))
        counts = self.starts.diff()
        self.left = self.n_items - 1 - counts
        self.gaps = keys - 1 - (torch.arange(len(keys), device=device) - self.starts[owners])

    def draw(self, users: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw with replacement.

        Args:
            users: int64 [B]; users may repeat, padding is allowed.
            count: items per row.
            generator: the source of chance.

        Returns:
            int64 [B, count]; 0 where nothing is left.
        """
        share = torch.rand(len(users), count, generator=generator, device=users.device)
        return self._items(users, slot(share, self.left[users].unsqueeze(1)))

    def draw_distinct(self, users: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw without replacement: every set of `count` items is equally likely (Floyd's algorithm).

        Args:
            users: int64 [B]; users may repeat, padding is allowed.
            count: items per row.
            generator: the source of chance.

        Returns:
            int64 [B, count] in no particular order; zeros at the end where fewer are left.
        """
        share = torch.rand(count, len(users), generator=generator, device=users.device)
        at_once = users_at_once(users.device, max(count, 1))
        parts = zip(users.split(at_once), share.split(at_once, dim=1), strict=True)
        return self._items(users, torch.cat([_floyd(part.T, self.left[some]) for some, part in parts]))

    def _items(self, users: Tensor, numbers: Tensor) -> Tensor:
        """The n-th item left to each user, from 0. [B, K] to [B, K]; 0 for negative numbers."""
        users = users.unsqueeze(1)
        listed_before = torch.searchsorted(self.gaps, users * self.n_items + numbers, right=True) - self.starts[users]
        return torch.where(numbers < 0, 0, numbers + 1 + listed_before)


def _floyd(share: Tensor, left: Tensor) -> Tensor:
    """Distinct numbers below `left`, by what chance gave: step t takes the number that its share of the first
    `left` - count + t + 1 means, or the last of these where that number is taken.

    A number is taken at a step where it came in an earlier one, or where it was the last of an earlier step that took
    its last; so steps are not done one by one, but looked up in one another until nothing changes.

    Args:
        share: [n, count], uniform in [0, 1).
        left: int64 [n].

    Returns:
        int64 [n, count]; -1 in the last places of rows where `left` is below count.
    """
    count = share.shape[1]
    steps = torch.arange(count, device=share.device)
    first = (left - count).clamp(min=0).unsqueeze(1)
    last = first + steps
    number = slot(share, last + 1)
    bits = count.bit_length()
    keys = (number << bits) + steps
    is_here = keys.device.type == "cpu"  # where NumPy sorts numbers in a tenth of torch's time
    in_order = torch.from_numpy(np.sort(keys.numpy(), axis=1)) if is_here else keys.sort(dim=1).values
    came_before = (in_order >> bits).diff(dim=1) == 0
    taken = torch.zeros_like(number, dtype=torch.bool).scatter_(1, in_order[:, 1:] & (2**bits - 1), came_before)
    was_last_in = number - first  # of an earlier step, or of this one
    could_be = (was_last_in >= 0) & (was_last_in < steps)
    was_last_in.clamp_(min=0)
    while True:
        more = taken | (could_be & taken.gather(1, was_last_in))
        if torch.equal(more, taken):
            break
        taken = more
    return torch.where(last < left.unsqueeze(1), torch.where(taken, last, number), -1)

"""Uniform draws of items that a user has not seen."""

import torch
from torch import Tensor

from recbole_bd.sampler.order import sort_rows
from recbole_bd.sampler.seen_items import SeenItems, index_from_uniform
from recbole_bd.sampler.top_lists import users_at_once


class UnseenItems:
    """Uniform draws of each user's unseen items, exact and without rejection.

    The i-th excluded item (from 0), e_i, has e_i - (i + 1) unseen items before it; the 1 is padding. A binary search in
    these counts gives the n-th unseen item. Memory is one number per excluded item.

    Args:
        seen: the training items, which are never drawn.
        besides: [n_users, K] further items of each user that are never drawn; 0 is none.

    Attributes:
        n_left: int64 [n_users], how many items can be drawn; padding does not count.
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
        self.n_left = self.n_items - 1 - counts
        self.gaps = keys - 1 - (torch.arange(len(keys), device=device) - self.starts[owners])

    def draw(self, users: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw with replacement.

        Args:
            users: int64 [B]; users may repeat, padding is allowed.
            count: items per row.
            generator: random generator.

        Returns:
            int64 [B, count]; 0 for users without unseen items.
        """
        uniform = torch.rand(len(users), count, generator=generator, device=users.device)
        return self._items(users, index_from_uniform(uniform, self.n_left[users].unsqueeze(1)))

    def draw_distinct(self, users: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw without replacement: every set of `count` items is equally likely (Floyd's sampling).

        Args:
            users: int64 [B]; users may repeat, padding is allowed.
            count: items per row.
            generator: random generator.

        Returns:
            int64 [B, count] in no particular order; zeros at the end where a user has fewer unseen items.
        """
        uniform = torch.rand(count, len(users), generator=generator, device=users.device)
        at_once = users_at_once(users.device, max(count, 1))
        parts = zip(users.split(at_once), uniform.split(at_once, dim=1), strict=True)
        return self._items(users, torch.cat([_floyd(part.T, self.n_left[some]) for some, part in parts]))

    def _items(self, users: Tensor, numbers: Tensor) -> Tensor:
        """The n-th unseen item of each user, counted from 0. [B, K] to [B, K]; 0 for negative numbers."""
        users = users.unsqueeze(1)
        listed_before = torch.searchsorted(self.gaps, users * self.n_items + numbers, right=True) - self.starts[users]
        return torch.where(numbers < 0, 0, numbers + 1 + listed_before)


def _floyd(uniform: Tensor, n_left: Tensor) -> Tensor:
    """Draw distinct numbers below `n_left` by Floyd's sampling, all steps at once.

    Step t draws one of the first `n_left` - count + t + 1 numbers. If it is taken, step t takes the last of them.
    A number is taken if an earlier step drew it, or if it was the last number of an earlier step that took its last.
    The second condition refers to other steps, so it is evaluated again until nothing changes.

    Args:
        uniform: [n, count], uniform in [0, 1).
        n_left: int64 [n].

    Returns:
        int64 [n, count]; rows whose `n_left` is below `count` end in -1.
    """
    count = uniform.shape[1]
    steps = torch.arange(count, device=uniform.device)
    first = (n_left - count).clamp(min=0).unsqueeze(1)
    last = first + steps
    number = index_from_uniform(uniform, last + 1)
    bits = count.bit_length()
    keys = (number << bits) + steps
    in_order = sort_rows(keys)
    came_before = (in_order >> bits).diff(dim=1) == 0
    taken = torch.zeros_like(number, dtype=torch.bool).scatter_(1, in_order[:, 1:] & (2**bits - 1), came_before)
    was_last_in = number - first  # index of the step whose last number this is
    could_be = (was_last_in >= 0) & (was_last_in < steps)
    was_last_in.clamp_(min=0)
    while True:
        more = taken | (could_be & taken.gather(1, was_last_in))
        if torch.equal(more, taken):
            break
        taken = more
    return torch.where(last < n_left.unsqueeze(1), torch.where(taken, last, number), -1)

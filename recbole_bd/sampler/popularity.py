"""Groups of items by popularity, and pairs of items within them, from a teacher's list of each group."""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_bd.sampler.draws import draw_positions
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.sampler.top_lists import top_lists


def popularity_groups(counts: Tensor, number: int) -> Tensor:
    """Split items into groups of equal popularity mass, as far as whole items allow.   (UnKD, WSDM 2023)

    Items come in the order of their interactions, most first. An item belongs to the group in which the middle of its
    interactions lies, counted over all items in this order. Items without interactions are in the last group.

    Args:
        counts: int64 [n_items], interactions of each item; item 0 is padding.
        number: number of groups.

    Returns:
        int64 [n_items], from 0, the most popular; -1 for padding. A group has no item where one item has more than the
        mass of a group.
    """
    order = counts[1:].argsort(descending=True, stable=True) + 1
    middles = (counts[order].cumsum(0) - counts[order] / 2) / counts[1:].sum()
    groups = torch.full_like(counts, -1)
    groups[order] = (middles * number).long().clamp_(max=number - 1)
    return groups


def apportioned(counts: Tensor, groups: Tensor, total: int, power: float = 0.0) -> list[int]:
    """Apportion a user's pairs among the groups, the rest to the largest remainders.

    share of a group is proportional to (least + greatest - m)^power, m the group's mean interactions of an item

    Args:
        counts, groups: see `popularity_groups`.
        total: pairs of a user.
        power: 0 for equal shares; above 0 groups of unpopular items have more.

    Returns:
        Pairs of each group, adding up to `total`; 0 for a group without items.
    """
    sizes = torch.bincount(groups[1:], minlength=int(groups.max()) + 1)
    mass = torch.bincount(groups[1:], counts[1:].double(), minlength=len(sizes))
    mean = mass / sizes.clamp(min=1)
    is_there = sizes > 0
    shares = (mean[is_there].min() + mean[is_there].max() - mean).clamp(min=0) ** power
    exact = torch.where(is_there, shares, 0) / shares[is_there].sum() * total
    pairs = exact.floor().long()
    rest = total - int(pairs.sum())
    pairs[torch.where(is_there, exact - pairs, -1).argsort(descending=True, stable=True)[:rest]] += 1
    return pairs.tolist()


def group_lists(
    some_logits: Callable[[Tensor, Tensor], Tensor],
    seen: SeenItems,
    groups: Tensor,
    length: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None = None,
    whose: str = "a model",
) -> Tensor:
    """The best unseen items of every user in each group, in order.

    Args:
        some_logits: logits [C, M] of users [C] and items [M], e.g. `Role.all_logits`.
        seen: the training items.
        groups: int64 [n_items], the group of each item; -1 for padding.
        length: items per user and group at most.
        generator: breaks ties at random.
        progress: called with the number of users done so far.
        whose: name of the role, for the error.

    Returns:
        int32 [n_groups, n_users, length], the best item first; 0 for user 0 and after a user's last item.

    Raises:
        DataError: a score is not a number.
    """
    lists = torch.zeros(int(groups.max()) + 1, seen.n_users, length, dtype=torch.int32, device=groups.device)
    owners = torch.repeat_interleave(torch.arange(seen.n_users, device=groups.device), seen.counts)
    for group, table in enumerate(lists):
        items = (groups == group).nonzero().squeeze(1)
        if not len(items):
            continue
        columns = torch.cat([items.new_zeros(1), items])  # a catalogue of its own: padding and the group's items
        kept = groups[seen.items] == group
        own = torch.searchsorted(columns, seen.items[kept])
        seen_of_group = SeenItems(owners[kept], own, seen.n_users, len(columns), allows_full=True)
        best = top_lists(_logits_of(some_logits, columns), seen_of_group, length, generator, progress, whose)
        table[:, : best.shape[1]] = columns[best.long()].to(torch.int32)
    return lists


def _logits_of(some_logits: Callable[[Tensor, Tensor], Tensor], columns: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda users: some_logits(users, columns)


def draw_pairs(lists: Tensor, count: int, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pairs of two different items of a list, p(rank r) proportional to exp(-r / temperature) for each.

    p(r, s) is proportional to p(r) p(s) for r != s.

    Args:
        lists: [n, H] items, the best first; zeros at the end are never drawn.
        count: pairs per row; may be 0.
        temperature: above 0, in positions.
        generator: random generator.

    Returns:
        The item that the list ranks higher and the other one, [n, count] each, dtype of `lists`; 0 for rows with fewer
        than two items.
    """
    lengths = (lists > 0).sum(dim=1)
    owners = (lengths > 1).nonzero().squeeze(1)
    higher, lower = (torch.zeros(len(lists), count, dtype=lists.dtype, device=lists.device) for _ in range(2))
    if count:
        rows = owners.repeat_interleave(count)
        first, second = _two_positions(lengths[rows], temperature, generator)
        for table, positions in ((higher, first), (lower, second)):
            table[owners] = lists[rows, positions].view(-1, count)
    return higher, lower


def _two_positions(lengths: Tensor, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw two different positions of each list, the smaller first. int64 [n], lengths of at least 2, to [n] each.

    With q = exp(-1 / temperature) the positions a and a + d of a list of length L have

        p(a, d) proportional to q^(2 a) * q^d,   d = 1, ..., L - 1 - a

    a is proposed by the first factor, and accepted by the sum of the second: (1 - q^(L - 1 - a)) / (1 - q^(L - 1)).
    Half of the proposals or more are.
    """
    first = torch.empty_like(lengths)
    left = torch.arange(len(lengths), device=lengths.device)
    while len(left):
        others = lengths[left] - 1
        proposed = draw_positions(others, 1, temperature / 2, generator).squeeze(1)
        first[left] = proposed
        accepted = torch.expm1((others - proposed).double() / -temperature)
        accepted /= torch.expm1(others.double() / -temperature)
        left = left[torch.rand(len(left), dtype=accepted.dtype, generator=generator, device=left.device) >= accepted]
    return first, first + 1 + draw_positions(lengths - 1 - first, 1, temperature, generator).squeeze(1)

"""Training items of each user, and indices of excluded entries in tables of scores."""

import torch
from torch import Tensor

from recbole_bd.errors import DataError

# Row and column indices, int64, of the entries of a [C, n_items] array that are neither ranked nor drawn. A row has few
# of them, so an indexed write is cheaper than a pass over a boolean mask of all items.
Indices = tuple[Tensor, Tensor]


class SeenItems:
    """The distinct training items of every user, in compressed sparse rows (CSR).

    Args:
        users, items: int64 ids of the training interactions; 0 is padding. Repeated pairs count once.
        n_users, n_items: sizes with padding.
        allows_full: whether a user may have seen every item; there is nothing to rank or to draw for such a user.

    Attributes:
        items: int64, the items of user 0, user 1 and so on, concatenated; ascending for each user.
        starts: int64 [n_users + 1], where each user's items start in `items`.
        counts: int64 [n_users], distinct training items of each user.

    Raises:
        DataError: a user has seen every item, so there is nothing to rank.
    """

    def __init__(self, users: Tensor, items: Tensor, n_users: int, n_items: int, allows_full: bool = False):
        self.n_users, self.n_items = n_users, n_items
        keys = torch.unique(torch.as_tensor(users).long() * n_items + torch.as_tensor(items).long())
        owners = keys // n_items
        self.items = keys % n_items
        self.starts = torch.searchsorted(owners, torch.arange(n_users + 1, device=keys.device))
        self.counts = self.starts.diff()
        full = int((self.counts >= n_items - 1).sum())
        if full and not allows_full:
            raise DataError(
                f"{full} user(s) have seen every item, so no item is left for them that could be drawn or ranked; "
                "filter such users with user_inter_num_interval"
            )

    def to(self, device: torch.device) -> "SeenItems":
        """Move the tensors to a device, in place, and return the same object."""
        self.items, self.starts, self.counts = (t.to(device) for t in (self.items, self.starts, self.counts))
        return self

    def of(self, users: Tensor) -> Indices:
        """Indices of what is not ranked in these users' rows of scores: padding and training items.

        Args:
            users: int64 [C].

        Returns:
            Row numbers and item ids, int64, of one length; no entry comes twice.
        """
        rows = torch.arange(len(users), device=users.device)
        counts = self.counts[users]
        owners = torch.repeat_interleave(rows, counts)
        within = torch.arange(len(owners), device=users.device) - (counts.cumsum(0) - counts)[owners]
        return torch.cat([rows, owners]), torch.cat(
            [torch.zeros_like(rows), self.items[self.starts[users][owners] + within]]
        )

    def are_unseen(self, lists: Tensor) -> Tensor:
        """Whether items are none of their user's training items.

        Args:
            lists: [n_users, K] items of every user; 0 is no item.

        Returns:
            bool [n_users, K]; False at 0.
        """
        users = torch.arange(self.n_users, device=lists.device)
        seen = users.repeat_interleave(self.counts) * self.n_items + self.items
        return (lists > 0) & ~torch.isin(users.unsqueeze(1) * self.n_items + lists, seen)

    def random_positive(
        self, users: Tensor, generator: torch.Generator, shard: tuple[int, int] | None = None
    ) -> Tensor:
        """Draw one training item of each user, uniformly.

        Args:
            users: int64 [B].
            generator: random generator.
            shard: for a batch shared by several processes, the number of its rows before these and of all its rows.

        Returns:
            int64 [B]; an arbitrary item for users without training items.
        """
        before, rows = shard or (0, len(users))
        uniform = torch.rand(rows, generator=generator, device=users.device)[before : before + len(users)]
        return self.items[self.starts[users] + index_from_uniform(uniform, self.counts[users])]


def require_numbers(greatest: Tensor, whose: str) -> None:
    """Refuse NaN scores; infinite ones can be ranked.

    Args:
        greatest: [C], the greatest score of each row; NaN if any score of the row is.
        whose: name of the role, for the error.

    Raises:
        DataError: a score is not a number.
    """
    if torch.isnan(greatest).any():
        raise DataError(
            f"{whose}: a score is not a number (NaN), so items cannot be ranked; lower its learning rate, or use "
            "another checkpoint"
        )


def index_from_uniform(uniform: Tensor, size: Tensor) -> Tensor:
    """Index from 0 to `size` - 1 for a uniform random number in [0, 1), int64; -1 where the size is 0."""
    # Rounding may reach `size` itself, which is no index.
    return torch.minimum((uniform.double() * size).long(), size - 1)


def indices_of(mask: Tensor) -> Indices:
    """Row numbers and columns where a mask [C, n] is True."""
    rows, columns = mask.nonzero(as_tuple=True)
    return rows, columns


def of_rows(indices: Indices, chosen: Tensor) -> Indices:
    """Select the indices in the chosen rows, and renumber the rows to count the chosen ones only.

    Args:
        indices: row numbers and item ids.
        chosen: bool [C].
    """
    rows, items = indices
    kept = chosen[rows]
    return (chosen.cumsum(0) - 1)[rows[kept]], items[kept]


def number_in(columns: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Look items up among sorted columns.

    Args:
        columns: int64 [M], item ids in ascending order.
        items: int64, item ids.

    Returns:
        Their positions among the columns, and whether they are there; where not, the position is arbitrary.
    """
    number = torch.searchsorted(columns, items).clamp_(max=len(columns) - 1)
    return number, columns[number] == items


def among(columns: Tensor, indices: Indices) -> Indices:
    """Select the indices whose item is among some columns; items become positions among the columns.

    Args:
        columns: int64 [M], item ids in ascending order.
        indices: row numbers and item ids.
    """
    rows, items = indices
    number, kept = number_in(columns, items)
    return rows[kept], number[kept]

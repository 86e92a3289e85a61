"""Evaluation protocol, asked by metrics, ranks of held-out items and recommendations: which items a ranking holds.

The rules are those of RecBole's evaluation. A user's items of the parts before the measured one are left out. Items of
the measured part itself are always ranked, repeated ones included. With `repeatable: True` nothing is left out.
Sampled evaluation (`uniN`, `popN`) ranks a user's items of the part among their candidates only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from recbole_bd.data.split import Split

Pairs = tuple[Tensor, Tensor]

# Parts whose items a ranking of the part leaves out.
BEFORE = {"valid": ("train",), "test": ("train", "valid")}


@dataclass(frozen=True)
class UserItems:
    """Distinct items of every user, in compressed sparse rows (CSR).

    Attributes:
        starts: int64 [n_users + 1], where each user's items start in `items`; user 0 is padding.
        items: int64, the items of user 0, user 1 and so on, concatenated; ascending for each user, without padding.
    """

    starts: Tensor
    items: Tensor

    @classmethod
    def from_keys(cls, keys: Tensor, n_users: int, n_items: int) -> "UserItems":
        """Build from keys `user * n_items + item`, int64, in ascending order and distinct."""
        starts = torch.searchsorted(keys // n_items, torch.arange(n_users + 1))
        return cls(starts, keys % n_items)

    def of(self, users: Tensor) -> Pairs:
        """Items of some users.

        Args:
            users: int64 [C], on the device of the tensors.

        Returns:
            Row numbers, from 0 in the order of `users`, and items; int64, of one length.
        """
        counts = self.starts[users + 1] - self.starts[users]
        rows = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
        within = torch.arange(len(rows), device=users.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self.items[self.starts[users][rows] + within]


def left_out(split: "Split", part: str = "test") -> UserItems:
    """Items that a full ranking of a part leaves out, for every user of the data set; padding is always left out too.

    Args:
        split: the data.
        part: `valid` leaves out training items; `test` leaves out training and validation items. Users without
            interactions in the part have the same rule.
    """
    pairs = {name: split.pairs(name) for name in (*BEFORE[part], part)}
    return left_out_of(pairs, part, split.n_users, split.n_items, split.repeatable)


def candidates(split: "Split", part: str = "test") -> UserItems | None:
    """Items among which sampled evaluation ranks each user of a part: own items of the part and their candidates.

    Args:
        split: the data.
        part: `valid` or `test`.

    Returns:
        The candidates; users without interactions in the part have none. None where the part is ranked among all items
        except `left_out`.
    """
    return getattr(getattr(split, f"{part}_loader"), "candidates", None)


def left_out_of(
    pairs: Mapping[str, Pairs], part: str, n_users: int, n_items: int, repeatable: bool = False
) -> UserItems:
    """Compute `left_out` from the interactions.

    Args:
        pairs: users and items, int64, by the name of the part.
        part: `valid` or `test`.
        n_users, n_items: sizes with padding.
        repeatable: whether users interact with the same item again, so that nothing is left out.
    """
    if repeatable:
        return UserItems.from_keys(torch.zeros(0, dtype=torch.int64), n_users, n_items)
    keys = {name: users.long() * n_items + items.long() for name, (users, items) in pairs.items()}
    known = torch.unique(torch.cat([keys[name] for name in BEFORE[part]]))
    return UserItems.from_keys(known[~torch.isin(known, keys[part])], n_users, n_items)

"""The items a trained model recommends to a user, and those it must not."""

from dataclasses import dataclass

import torch
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.data.split import Split
from recbole_bd.sampler.seen_items import Places, SeenItems
from recbole_bd.sampler.top_lists import best_first, listable, users_at_once

# What is not recommended: a user's training items, as when the model was measured; all of a user's items in the data
# set; none.
EXCLUDED = ("train", "known", "nothing")


@dataclass(frozen=True)
class TopItems:
    """Best items of some users in order.

    Attributes:
        items: int64 [C, k], RecBole's inner ids; 0 behind the last one of a user who has no more.
        scores: float32 [C, k], logits, not probabilities, the greatest first; -inf where there is no item.
    """

    items: Tensor
    scores: Tensor


class Recommender:
    """Recommends by one model.

    Args:
        role: the model.
        split: its data.
        count: items per user.
        exclude: one of `EXCLUDED`; padding is never recommended.

    Attributes:
        count: items per user: as many as asked for, or all there are.
    """

    def __init__(self, role: Role, split: Split, count: int, exclude: str = "train"):
        self.role = role
        self.count = min(count, split.n_items - 1)
        self._known = known_items(split, exclude)

    def top(self, users: Tensor) -> TopItems:
        """The best items of users.

        Args:
            users: int64 [C], inner ids.

        Raises:
            DataError: a score is not a number.
        """
        device = self.role.device
        with self.role.scoring():
            parts = users.to(device).split(users_at_once(device, self.role.n_items))
            values, items = (torch.cat(tables) for tables in zip(*map(self._best, parts), strict=True))
        return TopItems(torch.where(values == -torch.inf, 0, items).cpu(), values.cpu())

    def _best(self, users: Tensor) -> tuple[Tensor, Tensor]:
        # On its own, so that all memory of some users' scores is free before that of the next is taken.
        return best_first(listable(self.role.all_logits(users), self._excluded(users), self.role.name), self.count)

    def known(self, users: Tensor) -> list[Tensor]:
        """What is not recommended to each of some users, int64 without padding."""
        if self._known is None:
            return [torch.zeros(0, dtype=torch.int64) for _ in users]
        return [self._known.items[self._known.starts[user] : self._known.starts[user + 1]].cpu() for user in users]

    def _excluded(self, users: Tensor) -> Places:
        if self._known is None:
            rows = torch.arange(len(users), device=users.device)
            return rows, torch.zeros_like(rows)
        return self._known.to(users.device).of(users)


def known_items(split: Split, exclude: str) -> SeenItems | None:
    """What is not recommended to each user.

    Args:
        split: the data.
        exclude: one of `EXCLUDED`.

    Raises:
        DataError: a user knows every item, so that nothing could be recommended.
    """
    if exclude == "nothing":
        return None
    parts = [split.pairs(part) for part in (("train", "valid", "test") if exclude == "known" else ("train",))]
    users, items = (torch.cat(ids) for ids in zip(*parts, strict=True))
    return SeenItems(users, items, split.n_users, split.n_items)


def ids_of(dataset: Dataset, field: str) -> list[str]:
    """Ids of the data in the order of RecBole's inner ids, without padding: the first is that of inner id 1.

    Args:
        dataset: the whole data set.
        field: `dataset.uid_field` or `dataset.iid_field`.
    """
    return [str(name) for name in dataset.field2id_token[field][1:]]


def popular_items(split: Split, count: int) -> Tensor:
    """The items with most training interactions, the most popular first, of equals the one met first in the data.

    Returns:
        int64 [min(count, number of items)], inner ids.
    """
    _, items = split.pairs("train")
    counts = torch.bincount(items, minlength=split.n_items)[1:]
    return 1 + counts.argsort(descending=True, stable=True)[:count]

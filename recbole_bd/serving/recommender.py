"""The best items of a user by a trained model, without the excluded ones."""

from dataclasses import dataclass

import torch
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.data.split import Split
from recbole_bd.sampler.seen_items import Indices, SeenItems
from recbole_bd.sampler.top_lists import mask_excluded, topk_sorted, users_at_once

# Items that are not recommended to a user: training items, as in the evaluation; all items of the user in the data set;
# none.
EXCLUDED = ("train", "known", "nothing")


@dataclass(frozen=True)
class TopItems:
    """Best items of some users, the best first.

    Attributes:
        items: RecBole's inner ids, int64 [C, k]; 0 in places beyond a user's last item.
        scores: logits, float32 [C, k], in descending order; -inf in places beyond a user's last item.
    """

    items: Tensor
    scores: Tensor


class Recommender:
    """Finds the best items of users by the scores of one model.

    Args:
        role: the model.
        split: the model's data.
        count: requested number of items per user.
        exclude: one of `EXCLUDED`; padding is never recommended.

    Attributes:
        count: items per user, at most the number of items in the data set.
    """

    def __init__(self, role: Role, split: Split, count: int, exclude: str = "train"):
        self.role = role
        self.count = min(count, split.n_items - 1)
        self._seen = seen_items(split, exclude)

    def top(self, users: Tensor) -> TopItems:
        """Find the best items of users.

        Args:
            users: inner ids, int64 [C].

        Raises:
            DataError: a score is NaN.
        """
        device = self.role.device
        with self.role.scoring():
            parts = users.to(device).split(users_at_once(device, self.role.n_items))
            values, items = (torch.cat(tables) for tables in zip(*map(self._best, parts), strict=True))
        return TopItems(torch.where(values == -torch.inf, 0, items).cpu(), values.cpu())

    def _best(self, users: Tensor) -> tuple[Tensor, Tensor]:
        # A function of its own, so that the scores of one part are freed before those of the next are allocated.
        return topk_sorted(
            mask_excluded(self.role.all_logits(users), self._excluded_places(users), self.role.name), self.count
        )

    def excluded_items(self, users: Tensor) -> list[Tensor]:
        """Inner ids of the items that are not recommended to each of some users, int64, without padding."""
        if self._seen is None:
            return [torch.zeros(0, dtype=torch.int64) for _ in users]
        return [self._seen.items[self._seen.starts[user] : self._seen.starts[user + 1]].cpu() for user in users]

    def _excluded_places(self, users: Tensor) -> Indices:
        if self._seen is None:
            rows = torch.arange(len(users), device=users.device)
            return rows, torch.zeros_like(rows)
        return self._seen.to(users.device).of(users)


def seen_items(split: Split, exclude: str) -> SeenItems | None:
    """Collect the items that are not recommended to each user.

    Args:
        split: the data.
        exclude: one of `EXCLUDED`.

    Returns:
        Excluded items of each user; None if nothing is excluded.

    Raises:
        DataError: all items are excluded for a user.
    """
    if exclude == "nothing":
        return None
    parts = [split.pairs(part) for part in (("train", "valid", "test") if exclude == "known" else ("train",))]
    users, items = (torch.cat(ids) for ids in zip(*parts, strict=True))
    return SeenItems(users, items, split.n_users, split.n_items)


def ids_of(dataset: Dataset, field: str) -> list[str]:
    """Original ids in the order of RecBole's inner ids, without padding; the first belongs to inner id 1.

    Args:
        dataset: the whole data set.
        field: `dataset.uid_field` or `dataset.iid_field`.
    """
    return [str(name) for name in dataset.field2id_token[field][1:]]


def popular_items(split: Split, count: int) -> Tensor:
    """The items with most training interactions, in descending order; ties by the smaller inner id.

    Returns:
        Inner ids, int64 [min(count, number of items)].
    """
    _, items = split.pairs("train")
    counts = torch.bincount(items, minlength=split.n_items)[1:]
    return 1 + counts.argsort(descending=True, stable=True)[:count]

"""The best items of a user by a trained model, without the excluded ones.

A sequential model recommends what comes next: after all items that the data has of a user, or after a given history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.backbones.traits import WITH_USER_VECTORS
from recbole_bd.data.protocol import UserItems, left_out
from recbole_bd.data.sequences import WHOLE, Sequences
from recbole_bd.data.split import Split
from recbole_bd.sampler.seen_items import Indices, among
from recbole_bd.sampler.top_lists import mask_excluded, topk_sorted, users_at_once
from recbole_bd.serving.names import MEASURED

if TYPE_CHECKING:
    from recbole_bd.serving.history_file import GivenHistories

_PARTS = {"train": ("train",), "known": ("train", "valid", "test")}


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
        allowed: bool [n_items], the only items that may be recommended, at least one; None for all.
        given: histories to recommend after, for a sequential model. Users are then the numbers of their rows, from 0,
            and their items those of the history, which `train` and `known` exclude.

    Attributes:
        count: items per user, at most the number of items that may be recommended.
        scored: bool by user, whether the model can score: the user of a general model has training interactions, that
            of a sequential one items.
        excluded: the excluded items of each user.
    """

    def __init__(
        self,
        role: Role,
        split: Split,
        count: int,
        exclude: str = MEASURED,
        allowed: Tensor | None = None,
        given: GivenHistories | None = None,
    ):
        if allowed is not None and allowed[1:].all():
            allowed = None
        self.role, self.given = role, given
        self._sequences = sequences_of(role) if given is None else given.sequences
        self.scored = torch.from_numpy(split.trained[0])
        if self._sequences is not None:
            self.scored = self._sequences.ends[WHOLE] > self._sequences.starts
        if given is None:
            self.excluded = excluded_by_user(split, exclude)
        else:
            self.scored = self.scored & ~self.not_in_data(torch.arange(len(given.names)))
            nothing = UserItems.from_keys(torch.zeros(0, dtype=torch.int64), len(given.names), split.n_items)
            self.excluded = given.items(split.n_items) if exclude in _PARTS else nothing
        places = torch.arange(split.n_items) if allowed is None else allowed.nonzero()[:, 0]
        self._columns = None if allowed is None else places[places > 0]  # inner ids in ascending order
        self.count = min(count, int((places > 0).sum()))
        popular = popular_items(split, split.n_items)
        self._popular = popular if allowed is None else popular[allowed[popular]]

    def not_in_data(self, users: Tensor) -> Tensor:
        """Whether users are ones of whom the model knows nothing because the data lacks them.

        A sequential model needs no more than a given history, unless it has a vector for each user too.

        Args:
            users: inner ids, 0 for users that are not in the data set; with given histories, rows. int64 [C].

        Returns:
            bool [C].
        """
        if self.given is None:
            return users == 0
        return (self.given.users[users] == 0) & has_user_vectors(self.role)

    def top(self, users: Tensor) -> TopItems:
        """Find the best items of users.

        Args:
            users: inner ids, int64 [C]; with given histories, rows.

        Raises:
            DataError: a score is NaN.
        """
        with self.role.scoring():
            parts = users.cpu().split(users_at_once(self.role.device, self.role.n_items))
            values, items = (torch.cat(tables) for tables in zip(*map(self._best, parts), strict=True))
        return TopItems(torch.where(values == -torch.inf, 0, items).cpu(), values.cpu())

    def _best(self, users: Tensor) -> tuple[Tensor, Tensor]:
        # A function of its own, so that the scores of one part are freed before those of the next are allocated.
        device, (rows, items) = self.role.device, self._excluded_places(users)
        scores = self._scores(users)
        if self._columns is None:
            return topk_sorted(mask_excluded(scores, (rows.to(device), items.to(device)), self.role.name), self.count)
        rows, places = among(self._columns, (rows, items))
        columns = self._columns.to(device)
        masked = mask_excluded(scores[:, columns], (rows.to(device), places.to(device)), self.role.name)
        values, best = topk_sorted(masked, self.count)
        return values, columns[best]

    def _scores(self, users: Tensor) -> Tensor:
        """Logits of all items, [C, n_items]."""
        if self._sequences is None:
            return self.role.all_logits(users.to(self.role.device))
        ids = users if self.given is None else self.given.users[users]
        histories = self._sequences.of_users(users, WHOLE)
        model = self.role.model
        return self.role.scores.of_histories(
            Interaction({model.USER_ID: ids, **histories.interaction}).to(self.role.device)
        )

    def popular(self, users: Tensor) -> Tensor:
        """Find the items with most training interactions that may be recommended to users.

        Args:
            users: inner ids, int64 [C]; 0 for users that are not in the data set; with given histories, rows.

        Returns:
            Inner ids, int64 [C, count], in descending order of popularity; 0 in places beyond a user's last item.
        """
        distinct, place = torch.unique(users, return_inverse=True)
        parts = distinct.split(users_at_once(torch.device("cpu"), self.role.n_items))
        return torch.cat([self._most_popular(part) for part in parts])[place]

    def _most_popular(self, users: Tensor) -> Tensor:
        rows, items = self.excluded.of(users)
        most = int(rows.bincount(minlength=1).max())
        candidates = self._popular[: self.count + most]  # the excluded items among them leave at least `count`
        order = torch.full((self.role.n_items,), -1)
        order[candidates] = torch.arange(len(candidates))
        inside = order[items] >= 0
        kept = torch.ones(len(users), len(candidates), dtype=torch.bool)
        kept[rows[inside], order[items[inside]]] = False
        places = kept.cumsum(dim=1) - 1
        rows, columns = (kept & (places < self.count)).nonzero(as_tuple=True)
        found = torch.zeros(len(users), self.count, dtype=torch.int64)
        found[rows, places[rows, columns]] = candidates[columns]
        return found

    def excluded_items(self, users: Tensor) -> list[Tensor]:
        """Inner ids of the items that are not recommended to each of some users, int64, without padding."""
        rows, items = self.excluded.of(users)
        return list(items.split(rows.bincount(minlength=len(users)).tolist()))

    def _excluded_places(self, users: Tensor) -> Indices:
        """Indices of padding and of excluded items in these users' rows of scores, on the CPU."""
        rows, items = self.excluded.of(users)
        padded = torch.arange(len(users))
        return torch.cat([padded, rows]), torch.cat([torch.zeros_like(padded), items])


def sequences_of(role: Role) -> Sequences | None:
    """The sequences of users from which a model scores, on the CPU; None for a general model."""
    return getattr(role.model, "sequences", None)


def has_user_vectors(role: Role) -> bool:
    """Whether a sequential model has a vector for each user, beside what it reads from the sequence."""
    return type(role.model).__name__ in WITH_USER_VECTORS


def excluded_by_user(split: Split, exclude: str = MEASURED) -> UserItems:
    """Collect the items that are not recommended to each user.

    Args:
        split: the data.
        exclude: one of `EXCLUDED`.
    """
    if exclude == MEASURED:
        return left_out(split, "test")
    pairs = [split.pairs(part) for part in _PARTS.get(exclude, ())]
    keys = [users * split.n_items + items for users, items in pairs] or [torch.zeros(0, dtype=torch.int64)]
    return UserItems.from_keys(torch.unique(torch.cat(keys)), split.n_users, split.n_items)


def ids_of(dataset: Dataset, field: str) -> list[str]:
    """Original ids in the order of RecBole's inner ids, without padding; the first belongs to inner id 1.

    Args:
        dataset: the whole data set.
        field: `dataset.uid_field` or `dataset.iid_field`.
    """
    return [str(name) for name in dataset.field2id_token[field][1:]]


def inner_ids(dataset: Dataset, field: str, names: Sequence[str] | np.ndarray) -> Tensor:
    """RecBole's inner ids of original ids, int64; 0 for those that are not in the data set.

    Args:
        dataset, field: see `ids_of`.
        names: original ids.
    """
    found = pd.Index(ids_of(dataset, field)).get_indexer(pd.Index(names, dtype=object))
    return torch.from_numpy(1 + found.astype(np.int64))


def popular_items(split: Split, count: int) -> Tensor:
    """The items with most training interactions, in descending order; ties by the smaller inner id.

    Returns:
        Inner ids, int64 [min(count, number of items)].
    """
    _, items = split.pairs("train")
    counts = torch.bincount(items, minlength=split.n_items)[1:]
    return 1 + counts.argsort(descending=True, stable=True)[:count]

"""Interactions of every user in order of time, from which sequential models learn and rank.

A row of training is a place in a user's sequence: the item there is the target, and the items before it are the
history. RecBole writes every history out in full for every column of the data; here a batch gathers the histories of
its own rows. Both give the same rows in the same order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_bd.errors import DataError

# Column of a training row that says where its target stands in `Sequences.items`.
PLACE = "\x1fplace"  # no file has a column of this name
# Points in time up to which a user's sequence is read.
TRAINED, MEASURED, WHOLE = POINTS = ("train", "test", "all")


@dataclass(frozen=True)
class Sequences:
    """Items of all users, each user's in order of time, over all parts.

    Attributes:
        items: int64 [N], the items of user 0, user 1 and so on.
        starts: int64 [n_users], where each user's items start in `items`.
        ends: int64 [n_users] by point in time, where the history of a user ends. `train`: after the training items.
            `test`: before the test item, so after training and validation items. `all`: after the last item.
        length: most items of a history, `MAX_ITEM_LIST_LENGTH`; of longer ones the last items count.
        fields: names of the columns of a history and of its length.
    """

    items: Tensor
    starts: Tensor
    ends: Mapping[str, Tensor]
    length: int
    fields: tuple[str, str]

    def before(self, starts: Tensor, ends: Tensor) -> Interaction:
        """Histories that end at some places.

        Args:
            starts: int64 [B], where the users' items start in `items`.
            ends: int64 [B], the place after the last item of each history.

        Returns:
            A column of items, int64 [B, length], filled up with 0 at the end, and one of their number, int64 [B]. An
            empty history counts as one padding item, since models read the item at the last place.
        """
        counts = (ends - starts).clamp(max=self.length)
        columns = torch.arange(self.length, device=ends.device)
        places = ((ends - counts).unsqueeze(1) + columns).clamp(max=len(self.items) - 1)
        listed = self.items[places] * (columns < counts.unsqueeze(1))
        return Interaction(dict(zip(self.fields, (listed, counts.clamp(min=1)), strict=True)))

    def of_users(self, users: Tensor, point: str = TRAINED) -> Interaction:
        """Histories of users at a point in time.

        Args:
            users: int64 [B], inner ids.
            point: one of `POINTS`.

        Returns:
            See `before`.
        """
        return self.before(self.starts[users], self.ends[point][users])

    def of_rows(self, users: Tensor, places: Tensor) -> Interaction:
        """Histories of training rows: see `before`.

        Args:
            users: int64 [B].
            places: int64 [B], the places of the targets in `items`.
        """
        return self.before(self.starts[users], places)

    def to(self, device: torch.device) -> "Sequences":
        """The same sequences on another device."""
        ends = {point: values.to(device) for point, values in self.ends.items()}
        return Sequences(self.items.to(device), self.starts.to(device), ends, self.length, self.fields)


def split_sequences(parts: Mapping[str, Dataset], config: Any) -> Sequences:
    """Collect the sequences of a split that leaves out the last interactions of each user.

    Args:
        parts: the data of `train`, `valid` and `test`, each user's interactions in order of time.
        config: settings of the run.
    """
    whole = parts["train"]
    pairs = [(data.inter_feat[data.uid_field], data.inter_feat[data.iid_field]) for data in parts.values()]
    users = torch.cat([users for users, _ in pairs])
    counts = [torch.bincount(users, minlength=whole.user_num) for users, _ in pairs]
    items = torch.cat([items for _, items in pairs])[torch.argsort(users, stable=True)]
    total = torch.stack(counts).sum(dim=0)
    starts = total.cumsum(0) - total
    trained = starts + counts[0]
    ends = {TRAINED: trained, MEASURED: trained + counts[1], WHOLE: starts + total}
    fields = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"], config["ITEM_LIST_LENGTH_FIELD"]
    return Sequences(items, starts, ends, config["MAX_ITEM_LIST_LENGTH"], fields)


def attach_sequences(parts: Mapping[str, Any], config: Any) -> None:
    """Give every part of a split the sequences of its users, with the columns of a history.

    Args:
        parts: the data of `train`, `valid` and `test`.
        config: settings of the run.

    Raises:
        DataError: no user has two training interactions, one to learn and one before it.
    """
    sequences = split_sequences(parts, config)
    if not (sequences.ends[TRAINED] - sequences.starts > 1).any():
        raise DataError(
            f"data set {config['dataset']}: no user has two training interactions, so that a sequential model has no "
            "row to learn from; use models that are not sequential, or data with longer sequences"
        )
    for data in parts.values():
        data.sequences = sequences
        kinds = (FeatureType.TOKEN_SEQ, sequences.length), (FeatureType.TOKEN, 1)
        for field, (kind, width) in zip(sequences.fields, kinds, strict=True):
            data.set_field_property(field, kind, FeatureSource.INTERACTION, width)


def training_rows(dataset: Any) -> Dataset:
    """The training part as rows of a user, a target and its place, in RecBole's order.

    The rows of a user are in order of time, and users in that of their first rows.

    Args:
        dataset: the training part, after `attach_sequences`. A user's first interaction has no history and is no row.
    """
    sequences = dataset.sequences
    counts = (sequences.ends[TRAINED] - sequences.starts - 1).clamp(min=0)
    order = _order_of_first_rows(dataset, counts)
    lengths = counts[order]
    users = order[torch.repeat_interleave(lengths)]
    within = torch.arange(len(users)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    places = sequences.starts[users] + 1 + within
    columns = {dataset.uid_field: users, dataset.iid_field: sequences.items[places], PLACE: places}
    return dataset.copy(Interaction(columns))


def _order_of_first_rows(dataset: Any, counts: Tensor) -> Tensor:
    """Users who have rows, int64, by the time of their second interaction; those of equal time by their id."""
    users, times = (dataset.inter_feat[field] for field in (dataset.uid_field, dataset.time_field))
    by_user = torch.argsort(users, stable=True)
    all_counts = torch.bincount(users, minlength=len(counts))
    with_rows = counts.nonzero()[:, 0]
    second = by_user[(all_counts.cumsum(0) - all_counts)[with_rows] + 1]
    return with_rows[torch.argsort(times[second], stable=True)]

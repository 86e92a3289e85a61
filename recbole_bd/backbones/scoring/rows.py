"""Rows of a training batch, each a user with the history before one target; what is scored is a user or a row."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recbole.data.interaction import Interaction
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Rows of a batch: sequential models score them after their histories, other models score their users.

    Attributes:
        users: int64 [B], the users of the rows; users may repeat.
        columns: users, histories and lengths of the rows, as the batch holds them. A whole batch gives its own
            tensors, so that a model's loss and its scores may share one pass: see `Scores.one_pass`.
    """

    users: Tensor
    columns: Interaction

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: slice | Tensor) -> "Rows":
        """Some of the rows, in tensors of their own."""
        found = {name: values[index] for name, values in self.columns.interaction.items()}
        return Rows(self.users[index], Interaction(found))


# A score is for a user, after all training items, or for a row of a batch. Users are int64 [B].
Units = Tensor | Rows


def rows_of(model: Any, batch: Interaction, users: Tensor) -> Rows:
    """The rows of a batch that a sequential model reads.

    Args:
        model: a sequential model of RecBole, which knows the names of the columns.
        batch: a batch of its loader. A loader repeats the rows for each of several negatives; the first count.
        users: int64 [B], the users of the rows.
    """
    columns = {name: batch[name] for name in (model.USER_ID, model.ITEM_SEQ, model.ITEM_SEQ_LEN)}
    if len(batch) != len(users):
        columns = {name: values[: len(users)] for name, values in columns.items()}
    return Rows(users, Interaction(columns))


def users_of(units: Units) -> Tensor:
    """Users whom units stand for. int64 [B]."""
    return units.users if isinstance(units, Rows) else units


def parts_of(units: Units, count: int) -> Iterator[Any]:
    """Split users into parts of a number; rows stay whole, since their model reads them in one pass.

    Args:
        units: users or rows.
        count: users of a part.
    """
    yield from [units] if isinstance(units, Rows) else units.split(count)

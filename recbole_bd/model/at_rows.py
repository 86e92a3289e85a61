"""Where a sequential learner is compared with its guide: at the rows of a batch, or at their users."""

from typing import Any

from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units, rows_of
from recbole_bd.data.batches import Batch

ROWS = "rows"  # value of `exchange_at`


class AtRows:
    """Mixin of methods: what learner and guide score, by `exchange_at`.

    Attributes:
        config: settings of the run. A method without the option learns at users.
        roles: the two roles by name.
    """

    config: Any
    roles: dict[str, Role]

    def units(self, role: str, users: Tensor, batch: Batch, distinct: bool = False) -> Units:
        """Choose the rows of a batch, or its users, for a learner and its guide to score in distillation.

        Args:
            role: the learner.
            users: int64 [B], users of the batch who have training items, in the order of its rows.
            batch: the whole batch.
            distinct: whether a user counts once.

        Returns:
            With `exchange_at: rows`, and a sequential learner, the rows of the batch. A guide scores them after the
            same histories if it is sequential, else by their users. In all other cases the users, each of whom a
            sequential role scores after all training items.
        """
        if self.at_rows(role) and batch.positives is not None:
            return rows_of(self.roles[role].model, batch.rows or batch.interaction, users)
        return users.unique() if distinct else users

    def at_rows(self, role: str) -> bool:
        """Whether a role learns at the rows of its batches."""
        return self.config["exchange_at"] == ROWS and self.roles[role].scores.reads_histories

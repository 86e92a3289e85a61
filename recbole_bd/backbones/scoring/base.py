"""Common base of the scoring families: logits of pairs, and of whole rows of items."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.scoring.rows import Rows, Units, users_of


class Scores:
    """Logits of one family of models: `pairs` as `Role.pair_logits`, `rows` as `Role.all_logits`."""

    pairs: Callable[[Tensor, Tensor], Tensor]
    rows: Callable[[Tensor, Tensor | None], Tensor]

    propagates = False  # whether a pair's score needs a pass over the whole model
    reads_histories = False  # whether a user stands for a history

    def __init__(self, model: AbstractRecommender):
        self.model = model
        self.shared: list[tuple[Any, str]] = []  # owners and methods that run once per scope

    @contextmanager
    def at(self, point: str) -> Iterator[None]:
        """Score from what users had done at a point in time; only sequential models read it.

        Args:
            point: `train`: the training items, as outside of the scope. `test`: the items before the test item. `all`:
                all items.
        """
        yield

    def of_histories(self, interaction: Any) -> Tensor:
        """Score all items after given histories; sequential models alone do.

        Args:
            interaction: a column of users, int64 [B], and those of `Sequences.before`; models without vectors of users
                read no user.

        Returns:
            Logits [B, n_items], column 0 being the padding item.
        """
        raise NotImplementedError(f"{type(self.model).__name__} reads no histories")

    def read(self, units: Units) -> Any:
        """Turn units into what `pairs` and `rows` score: their users; a sequential model scores the units."""
        return users_of(units)

    def keeps_for_users(self, units: Units) -> bool:
        """Whether what was computed for users, each after all training items, holds for units."""
        return not (self.reads_histories and isinstance(units, Rows))

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """Scope in which a sequential model reads the same tensors of histories once; others change nothing."""
        yield

    def graph_rows(self, users: Tensor) -> Tensor:
        """Logits of all items by the same operations for any number of users, for export. [B] to [B, n_items]."""
        return self.rows(users, None)

    def all_items(self) -> Tensor:
        """Ids of all items, padding first. [n_items]."""
        return torch.arange(self.model.n_items, device=device_of(self.model))


def device_of(model: AbstractRecommender) -> torch.device:
    """Device of a model's parameters."""
    parameter = next(model.parameters(), None)
    return torch.device(model.device) if parameter is None else parameter.device

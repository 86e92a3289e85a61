"""What every family of models gives: logits of pairs, and of whole rows of items."""

from collections.abc import Callable
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor


class Scores:
    """How one family of models turns users and items into logits: `pairs` as `pair_logits`, `rows` as `all_logits`."""

    pairs: Callable[[Tensor, Tensor], Tensor]
    rows: Callable[[Tensor, Tensor | None], Tensor]

    propagates = False  # whether a pair's score needs the propagation of the whole model

    def __init__(self, model: AbstractRecommender):
        self.model = model
        self.shared: list[tuple[Any, str]] = []  # objects and methods to run once per scope, such as the propagation

    def graph_rows(self, users: Tensor) -> Tensor:
        """`rows` of all items by the same operations for any number of users, as a graph needs. [B] to [B, n_items]."""
        return self.rows(users, None)

    def all_items(self) -> Tensor:
        """Ids of all items, padding first. [n_items]."""
        return torch.arange(self.model.n_items, device=device_of(self.model))


def device_of(model: AbstractRecommender) -> torch.device:
    """Where a model's parameters are."""
    parameter = next(model.parameters(), None)
    return torch.device(model.device) if parameter is None else parameter.device

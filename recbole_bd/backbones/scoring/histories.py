"""Sequential models: a user stands for the items before a point in time, from which the model scores all items.

Changes model instances: a model of mixtures gets a `full_sort_predict` that needs no target.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.scoring.base import device_of
from recbole_bd.backbones.scoring.row_models import RowModel

# Least probability whose logarithm is a score.
_LEAST = 1e-30


class HistoryScores(RowModel):
    """One forward per distinct user, over the history of training items unless another point in time is chosen."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self._point = "train"
        self._on_device = model.sequences

    @contextmanager
    def at(self, point: str) -> Iterator[None]:
        """Score from the histories at another point in time; see `Scores.at`."""
        before, self._point = self._point, point
        try:
            yield
        finally:
            self._point = before

    def row(self, users: Tensor) -> Tensor:
        """Logits of all items for distinct users. [U] to [U, n_items]."""
        if self._on_device.items.device != users.device:
            self._on_device = self._on_device.to(users.device)
        histories = self._on_device.of_users(users, self._point)
        return self.scores_of(Interaction({self.model.USER_ID: users, **histories.interaction}))

    def scores_of(self, interaction: Interaction) -> Tensor:
        """Logits of all items for histories. [U, n_items]."""
        users = len(interaction[self.model.USER_ID])
        return self.model.full_sort_predict(interaction).reshape(users, -1).to(device_of(self.model), torch.float32)


class ProbabilityScores(HistoryScores):
    """Models whose scores are probabilities of the next item: the logit is their logarithm."""

    def scores_of(self, interaction: Interaction) -> Tensor:
        """See `HistoryScores.scores_of`."""
        return super().scores_of(interaction).clamp(min=_LEAST).log()


class MixtureScores(ProbabilityScores):
    """Mixtures of softmaxes, whose own `full_sort_predict` computes the loss of a target too."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        model.full_sort_predict = self.full_sort_predict

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Probabilities of all items. [B, n_items]."""
        model = self.model
        _, probabilities = model.calculate_loss_prob(interaction, only_compute_prob=True)
        if model.post_remove_context:
            probabilities = probabilities.scatter(1, interaction[model.ITEM_SEQ], 0)
        return probabilities

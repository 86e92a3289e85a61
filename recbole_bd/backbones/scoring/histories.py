"""Sequential models: a user stands for the items before a point in time, from which the model scores all items.

Changes model instances: a model of mixtures gets a `full_sort_predict` that needs no target.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.scoring.base import Scores, device_of
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.scoring.rows import Rows, Units
from recbole_bd.backbones.traits import traits_of

# Least probability whose logarithm is a score.
_LEAST = 1e-30


class _Histories(Scores):
    """Mixin: the histories of users, after their training items unless another point in time is chosen; or of rows."""

    reads_histories = True

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self._point = "train"
        self._sequences = model.sequences
        self._is_one_pass = False

    @contextmanager
    def at(self, point: str) -> Iterator[None]:
        """Score from the histories at another point in time; see `Scores.at`."""
        before, self._point = self._point, point
        try:
            yield
        finally:
            self._point = before

    def read(self, units: Units) -> Units:
        """See `Scores.read`."""
        return units

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """Run the model's forward once for the same tensors, so that its loss and its scores share it."""
        if self._is_one_pass:
            yield
            return
        forward, results = self.model.forward, dict[tuple, tuple]()
        was_replaced, by_products = "forward" in vars(self.model), traits_of(self.model).by_products

        def once(*arguments: Tensor) -> Tensor:
            key = (*map(id, arguments), self.model.training, torch.is_grad_enabled())
            if key not in results:
                result = forward(*arguments)
                left = {name: getattr(self.model, name) for name in by_products}
                results[key] = (arguments, result, left)  # ids are safe keys while the arguments are held
            _, result, left = results[key]
            vars(self.model).update(left)
            return result

        self._is_one_pass, self.model.forward = True, once
        try:
            yield
        finally:
            self._is_one_pass = False
            if was_replaced:
                self.model.forward = forward
            else:
                del self.model.forward

    def distinct(self, units: Units) -> tuple[Interaction, Tensor | slice]:
        """Histories to score, and the index of each unit's among them.

        Args:
            units: users, int64 [B], who may repeat; or rows.
        """
        if isinstance(units, Rows):
            return units.columns, slice(None)
        distinct, index = units.unique(return_inverse=True)
        return self.histories(distinct), index

    def histories(self, users: Tensor) -> Interaction:
        """Columns that RecBole's model reads: ids of users and their histories, see `Sequences.before`."""
        if self._sequences.items.device != users.device:
            self._sequences = self._sequences.to(users.device)
        histories = self._sequences.of_users(users, self._point)
        return Interaction({self.model.USER_ID: users, **histories.interaction})

    def of_histories(self, interaction: Interaction) -> Tensor:
        """Logits of all items after given histories: see `Scores.of_histories`."""
        scores = self.model.full_sort_predict(interaction).reshape(-1, self.model.n_items)
        return scores.to(device_of(self.model), torch.float32)


class HistoryVectors(_Histories, InnerProduct):
    """Models whose logit is the inner product of a history's vector and the embedding of an item."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        columns = {"user": model.USER_ID, "item_seq": model.ITEM_SEQ, "item_seq_len": model.ITEM_SEQ_LEN}
        columns |= {"seq_item": model.ITEM_SEQ, "seq_item_len": model.ITEM_SEQ_LEN}
        _, *names = inspect.signature(type(model).forward).parameters  # without `self`
        self._columns = [columns[name] for name in names]

    def user_vectors(self, users: Units) -> Tensor:
        """Vectors of the histories of users or rows; one forward per distinct user. [B] to [B, d]."""
        histories, index = self.distinct(users)
        return self.model.forward(*(histories[name] for name in self._columns))[index]


class HistoryScores(_Histories):
    """Models that score all items of a history at once; one forward per distinct user, or per row."""

    def pairs(self, users: Units, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users [B]. [B, K]."""
        histories, index = self.distinct(users)
        return self.of_histories(histories)[index].gather(1, items)

    def rows(self, users: Units, items: Tensor | None = None) -> Tensor:
        """Logits of all items, or of the same few [M], for users [B]. [B, n_items] or [B, M]."""
        histories, index = self.distinct(users)
        scores = self.of_histories(histories)
        return (scores if items is None else scores[:, items])[index]


class ProbabilityScores(HistoryScores):
    """Models whose scores are probabilities of the next item: the logit is their logarithm."""

    def of_histories(self, interaction: Interaction) -> Tensor:
        """See `Scores.of_histories`."""
        return super().of_histories(interaction).clamp(min=_LEAST).log()


class MixtureScores(ProbabilityScores):
    """Mixtures of softmaxes, whose own `full_sort_predict` computes the loss of a target too."""

    def __init__(self, model: Any):
        super().__init__(model)
        model.full_sort_predict = self.full_sort_predict

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Probabilities of all items. [B, n_items]."""
        model = self.model
        _, probabilities = model.calculate_loss_prob(interaction, only_compute_prob=True)
        if model.post_remove_context:
            probabilities = probabilities.scatter(1, interaction[model.ITEM_SEQ], 0)
        return probabilities

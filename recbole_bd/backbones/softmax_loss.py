"""Softmax as a role's own loss, in the place of the loss of its RecBole model: the setting `own_loss: softmax`."""

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_bd.backbones import shared_softmax
from recbole_bd.backbones.scoring.base import device_of
from recbole_bd.backbones.scoring.families import family_of_class
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.scoring.pair_networks import PairNetwork
from recbole_bd.backbones.shared_propagation import SharedPropagation
from recbole_bd.backbones.traits import OTHER_MODEL

ALL = "all"  # value of `softmax_negatives` for the whole catalogue
# Shared items where `softmax_negatives` is not set. A pair network computes every pair of a row and an item.
_SHARED, _SHARED_BY_PAIRS = 512, 8


def negatives_of(model_class: type, given: int | str | None) -> int | str:
    """Number of items that the positives of a batch are compared with, or `all`.

    Args:
        model_class: the class of the model.
        given: the setting `softmax_negatives`; None chooses by the way in which the model scores.
    """
    if given is not None:
        return given
    scores = family_of_class(model_class)
    if issubclass(scores, InnerProduct):
        return _SHARED
    return _SHARED_BY_PAIRS if issubclass(scores, PairNetwork) else ALL


def softmax_problem(name: str, model_class: type, settings: Any) -> str | None:
    """Say which of the softmax's settings a model cannot have, and the way out; None if it can have all.

    Args:
        name: name of the model.
        model_class: a class that learns by gradient.
        settings: settings of the role.
    """
    scores, negatives = family_of_class(model_class), settings["softmax_negatives"]
    if isinstance(negatives, str) and negatives != ALL:
        return f"softmax_negatives={negatives!r}: must be a number of items, all, or ~"
    if not issubclass(scores, InnerProduct):
        for key in ("softmax_cosine", "softmax_l2"):
            if settings[key]:
                return (
                    f"{key}={settings[key]}: {name} has no vectors of users and items; leave it out, or use MF or BPR"
                )
    if issubclass(scores, PairNetwork) and negatives == ALL:
        return f"softmax_negatives=all: {name} scores one pair at a time; name a small number of items"
    if not issubclass(scores, InnerProduct | PairNetwork) and negatives not in (None, ALL):
        return f"softmax_negatives={negatives}: {name} always scores every item; leave it out"
    return None


class SoftmaxLoss:
    """Cross-entropy of each positive against items that the batch shares.

    loss = mean over interactions (u, i) of
        -log( exp(z(u, i) / t) / (exp(z(u, i) / t) + sum over the other items j of exp(z(u, j) / t)) )
        + l2 * (|u|^2 + |i|^2)

    The sum is over the whole catalogue, or estimated from uniform draws, see `shared_softmax`. Other positives of the
    user count as other items. With `softmax_cosine`, z is the cosine of the two vectors. The model still ranks by its
    own scores.

    Batches of users hold no positives: all training items of these users are taken. A user with more of them weighs
    more, and the loss is divided by the mean number of items per user. So it is a mean over the rows of a batch.

    Args:
        propagation: the model's scopes of one propagation, with the model and its scoring family.
        config: settings of the role.
        dataset: the training part.

    Attributes:
        generator: draws the shared items, on the model's device.
        traits: facts about this loss; its scoring is that of the model.
    """

    traits = OTHER_MODEL  # a mean over rows

    def __init__(self, propagation: SharedPropagation, config: Any, dataset: Any):
        self.propagation, self.model, self.scores = propagation, propagation.model, propagation.scores
        self.negatives = negatives_of(type(self.model), config["softmax_negatives"])
        self.temperature, self.l2 = config["softmax_temperature"], config["softmax_l2"]
        self.is_cosine, self.seed = config["softmax_cosine"], config["seed"]
        self.generator = torch.Generator(device_of(self.model))
        self.begin()
        self._dataset = dataset

    @cached_property
    def _training_items(self) -> tuple[Tensor, Tensor, Tensor]:
        """Items of all users one after the other [interactions], where each user's begin and how many [n_users]."""
        users, items = (self._dataset.inter_feat[field] for field in (self.model.USER_ID, self.model.ITEM_ID))
        counts = torch.bincount(users, minlength=self.model.n_users)
        parts = (items[torch.argsort(users, stable=True)], counts.cumsum(0) - counts, counts)
        items, begins, counts = (part.to(self.generator.device) for part in parts)
        return items, begins, counts

    def begin(self) -> None:
        """Seed the generator anew, at the start of a stage."""
        self.generator.manual_seed(self.seed)

    def __call__(self, interaction: Interaction) -> Tensor:
        """Compute the loss of a batch.

        Args:
            interaction: a batch of the model's own loader: interactions without negatives, or users.

        Returns:
            A scalar.
        """
        users = interaction[self.model.USER_ID]
        if self.model.ITEM_ID in interaction:
            positives, weights = (
                interaction[self.model.ITEM_ID],
                torch.full(users.shape, 1 / len(users), device=users.device),
            )
        else:
            items, begins, counts = self._training_items
            weight = (self.model.n_users - 1) / (len(users) * len(items))
            own = counts[users]
            rows = torch.repeat_interleave(own)
            place = torch.arange(len(rows), device=rows.device) - (own.cumsum(0) - own)[rows]
            positives = items[begins[users][rows] + place]
            users, weights = users[rows], torch.full(rows.shape, weight, device=rows.device)
        with self.propagation.fresh():
            return self._loss(users, positives, weights)

    def _loss(self, users: Tensor, positives: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum over interactions. int64 [B], int64 [B] and float32 [B] to a scalar."""
        if isinstance(self.scores, InnerProduct):
            return self._of_vectors(self.scores, users, positives, weights)
        if self.negatives == ALL:
            distinct, rows = users.unique(return_inverse=True)
            logits = self.scores.rows(distinct, None).float() / self.temperature
            return _total(weights, logits[:, 1:].logsumexp(dim=1)[rows] - logits[rows, positives])
        drawn = self._draw()
        items = torch.cat([positives.unsqueeze(1), drawn.expand(len(users), -1)], dim=1)
        logits = self.scores.pairs(users, items).float() / self.temperature
        hits, corrections = self._left_out(positives, drawn)
        losses = shared_softmax.sampled_cross_entropy(logits[:, 0], logits[:, 1:], hits, corrections)
        return _total(weights, losses)

    def _of_vectors(self, scores: InnerProduct, users: Tensor, positives: Tensor, weights: Tensor) -> Tensor:
        """Loss of inner products, whose items are looked up together."""
        is_whole = self.negatives == ALL
        distinct, rows = users.unique(return_inverse=True) if is_whole else (users, None)
        shared = scores.all_items()[1:] if is_whole else self._draw()
        of_users = scores.user_vectors(distinct).float()
        of_items = scores.item_vectors(torch.cat([positives, shared])).float()
        of_positives, of_shared = of_items.split([len(users), len(shared)])
        sizes = _squares(of_users, rows) + _squares(of_positives)
        if self.is_cosine:
            of_users, of_positives, of_shared = (F.normalize(own, dim=1) for own in (of_users, of_positives, of_shared))
        of_users = of_users / self.temperature
        if rows is not None:
            per_user = torch.zeros(len(distinct), device=users.device).index_add_(0, rows, weights)
            partition = shared_softmax.weighted_log_partition(of_users, of_shared, per_user)
            loss = partition - _total(weights, (of_users[rows] * of_positives).sum(dim=1))
        else:
            left_out = self._left_out(positives, shared)
            loss = shared_softmax.inner_product_cross_entropy(of_users, of_positives, of_shared, *left_out, weights)
        return loss + self.l2 * _total(weights, sizes) if self.l2 else loss

    def _draw(self) -> Tensor:
        """Draw the shared items uniformly from all but padding, with replacement. int64, ascending."""
        assert isinstance(self.negatives, int)
        shape, device = (self.negatives,), self.generator.device
        return torch.randint(1, self.model.n_items, shape, generator=self.generator, device=device).sort().values

    def _left_out(self, positives: Tensor, drawn: Tensor) -> tuple[shared_softmax.Hits, Tensor]:
        hits = shared_softmax.own_hits(positives, drawn)
        return hits, shared_softmax.log_corrections(hits, len(positives), len(drawn), self.model.n_items - 2)


def _squares(vectors: Tensor, rows: Tensor | None = None) -> Tensor:
    """Squared length of each vector, or of the vectors of the given rows. [B]."""
    squares = vectors.square().sum(dim=1)
    return squares if rows is None else squares[rows]


def _total(weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sum; a matrix product would round to half precision under autocast. [B] and [B] to a scalar."""
    return (weights * values).sum()

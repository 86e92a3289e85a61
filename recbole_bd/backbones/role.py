"""One model in one role: the common interface of all RecBole models for methods and trainers.

Scores are always logits, never probabilities, and never from a stale cache. `backbones.scoring` computes them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.acceleration.row_losses import fast_row_losses
from recbole_bd.backbones.scoring.base import device_of
from recbole_bd.backbones.scoring.families import family
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.scoring.rows import Units, parts_of
from recbole_bd.backbones.shared_propagation import SharedPropagation
from recbole_bd.backbones.softmax_loss import SoftmaxLoss
from recbole_bd.backbones.stored import numbers_in
from recbole_bd.backbones.traits import traits_of

_USERS_AT_ONCE = 1024  # user vectors computed at once: DMF makes a dense row over all items for each


class Role:
    """One model in one role: its scores as logits, and its own loss.

    Users and items are RecBole's internal ids (0 is padding) on the model's device. Rows of a batch may stand where
    users do: a sequential model scores them after their histories, any other one their users. Outside `step` and
    `scoring` every call propagates anew in the model's current train or eval mode, with gradient.
    Models that draw noise for a score (by dropout in train mode; DiffRec; Random) draw it anew as well.

    Attributes:
        name: `teacher` or `student`; `model` for a baseline.
        model: RecBole's model.
        scores: how its logits are computed.
        config: the configuration the model was built with.
        softmax: the role's own loss in the place of its model's; made if the training part is given as `dataset`.
        pretrained: whether the model took parameters from files when it was built.
        earlier: states of its warm-up before its best one, see `Snapshot.earlier`.
    """

    def __init__(self, name: str, model: AbstractRecommender, config: Any, dataset: Any = None):
        self.name, self.model, self.config = name, model, config
        self.pretrained, self.earlier = False, list[dict[str, Any]]()
        self.scores = family(model)(model)
        self._propagation = SharedPropagation(model, self.scores)
        self.softmax = None if dataset is None else SoftmaxLoss(self._propagation, config, dataset)
        self._of_loss = traits_of(model) if self.softmax is None else SoftmaxLoss.traits

    @property
    def n_users(self) -> int:
        """Number of users, padding user 0 included."""
        return self.model.n_users

    @property
    def n_items(self) -> int:
        """Number of items, padding item 0 included."""
        return self.model.n_items

    @property
    def device(self) -> torch.device:
        """Device of the model's parameters."""
        return device_of(self.model)

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters; of a closed-form model, of the numbers that it stores."""
        if traits_of(self.model).closed_form:
            return sum(map(numbers_in, vars(self.model).values()))
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    @property
    def propagates(self) -> bool:
        """Whether a pair's score needs a pass over the whole model, such as a graph convolution or an item tower."""
        return self.scores.propagates

    @property
    def shares_batches(self) -> bool:
        """Whether processes may split a batch: the loss is a mean over its rows."""
        return self._of_loss.shares_batches

    def interactions_added(self, rows: int, positives_per_user: float) -> float:
        """Count the training interactions that the role's own loss adds up on a batch.

        BPR's loss and the softmax are means over interactions. MultiVAE's adds up the items of a user, CDAE's those of
        all users. Multiply another term by this count to give it the same weight per interaction.

        Args:
            rows: number of rows of the batch.
            positives_per_user: mean number of training items of a user.

        Returns:
            1 if the loss is a mean over interactions, which is assumed of models that are not RecBole's own.
        """
        facts = self._of_loss
        return (rows if facts.loss_adds_rows else 1) * (positives_per_user if facts.loss_adds_items else 1)

    def pair_logits(self, users: Units, items: Tensor) -> Tensor:
        """Score some items for each user, or row of a batch.

        Row models compute [distinct users, n_items] first. Pair networks compute 8 MiB of activations at a time,
        and keep all of them if a gradient is needed.

        Args:
            users: [B] int64, users may repeat; or rows.
            items: [B, K] int64, K items for each.

        Returns:
            Logits [B, K], not probabilities.
        """
        with self._propagation.fresh():
            return self.scores.pairs(self.scores.read(users), items)

    def all_logits(self, users: Units, items: Tensor | None = None) -> Tensor:
        """Score all items, or a few, for each user, in the order of the model's own full ranking.

        The result takes 4 * B * n_items bytes; pair networks add 8 MiB at a time on a CPU. Row models score all items
        even if only a few are asked for.

        Args:
            users: [B] int64, users may repeat; or rows.
            items: [M] int64, scored for every user, or [B, M], each user's own; None for all items.

        Returns:
            Logits [B, n_items], not probabilities, column 0 being the padding item; or [B, M].
        """
        if items is not None and items.dim() == 2:
            return self.pair_logits(users, items)
        with self._propagation.fresh():
            return self.scores.rows(self.scores.read(users), items)

    def target_logits(self, users: Units, items: Tensor, learning: bool) -> Tensor:
        """Score some items for each user as constants: the target of another role, without dropout or noise.

        Args:
            users: [B] int64, users may repeat; or rows.
            items: [B, K] int64, K items for each.
            learning: whether this role learns in the same step. If so and if it propagates, the propagation of its
                own loss is used, in train mode.

        Returns:
            Logits [B, K] without gradient.
        """
        if learning and self.scores.propagates:
            return self.pair_logits(users, items).detach()
        with self.scoring():
            return self.pair_logits(users, items)

    def embeddings(self, users: Units | None = None, items: Tensor | None = None) -> tuple[Tensor, Tensor] | None:
        """Compute the vectors whose inner product is the logit, if the model is an inner product.

        Shared weights and biases are folded in exactly (ENMF, GCMC, FISM), so the width may differ from the model's
        embedding size. With gradient unless in `scoring`.

        Args:
            users: int64 [U], or rows; None for all users, padding first.
            items: int64 [I]; None for all items, padding first.

        Returns:
            Users [U, d] and items [I, d], or None if the model is no inner product.
        """
        if not isinstance(self.scores, InnerProduct):
            return None
        with self._propagation.fresh():
            users = torch.arange(self.n_users, device=self.device) if users is None else users
            items = self.scores.all_items() if items is None else items
            parts = parts_of(self.scores.read(users), _USERS_AT_ONCE)
            return torch.cat([self.scores.user_vectors(some) for some in parts]), self.scores.item_vectors(items)

    def graph_logits(self, users: Tensor) -> Tensor:
        """Score all items by operations that can be exported once and run for any number of users, int64 [B].

        Pair networks take all pairs at once, in B * n_items * (width of their layers) numbers.

        Returns:
            Logits [B, n_items], column 0 being the padding item.
        """
        with self._propagation.fresh():
            return self.scores.graph_rows(users)

    def parts_of_loss(self, interaction: Interaction) -> Tensor | tuple[Tensor, ...]:
        """Compute `loss` in the form of RecBole's `calculate_loss`: a scalar, or a model's several parts."""
        with fast_row_losses(self.model):
            return (self.softmax or self.model.calculate_loss)(interaction)

    def loss(self, interaction: Interaction) -> Tensor:
        """Compute the role's own training loss: its model's, or the softmax.

        Args:
            interaction: a batch of its own train loader.

        Returns:
            A scalar; several parts of a loss are summed.
        """
        parts = self.parts_of_loss(interaction)
        return torch.as_tensor(sum(parts) if isinstance(parts, tuple) else parts).sum()

    @contextmanager
    def step(self) -> Iterator["Role"]:
        """Share one propagation between the loss and all scores of a training step, with autograd intact.

        Sum the losses and call `backward` once: they share a graph. After an optimizer step inside the
        scope, scores propagate anew. Scopes may be nested.
        """
        with self._propagation.sharing():
            yield self

    @contextmanager
    def scoring(self) -> Iterator["Role"]:
        """Score in eval mode without gradient, sharing one propagation, and leave the model as it was found.

        RecBole's caches are dropped on entry and exit. See `SharedPropagation.scoring`.
        """
        with self._propagation.scoring():
            yield self

    def at(self, point: str) -> AbstractContextManager[None]:
        """Scope of scores from what users had done at a `point` of `sequences.POINTS`; see `Scores.at`."""
        return self.scores.at(point)

    def forget(self) -> None:
        """Drop the embeddings RecBole keeps between evaluations; a closed-form model keeps all it consists of."""
        self._propagation.forget()

"""One model in one role: the seam through which methods and trainer see every RecBole model alike.

It speaks logits, never probabilities and never a stale cache; how a model comes to them is `backbones.scoring`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.scoring.base import device_of
from recbole_bd.backbones.scoring.families import family
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.shared_propagation import SharedPropagation
from recbole_bd.backbones.traits import traits_of

_USERS_AT_ONCE = 1024  # user vectors made at once: DMF spreads each user over all items to make one


class Role:
    """One model in one role, with scores as logits and its own loss.

    Users and items are RecBole's internal ids (0 is padding) on the model's device. Outside `step` and
    `scoring` every call propagates anew in the model's current train or eval mode, with gradient.
    Models that draw noise for a score (dropout in train mode; DiffRec with `sampling_noise` or
    `sampling_steps`; Random) draw it anew as well.

    Attributes:
        name: `teacher` or `student`; `model` for a baseline.
        model: RecBole's model.
        config: the configuration the model was built with.
    """

    def __init__(self, name: str, model: AbstractRecommender, config: Any):
        self.name = name
        self.model = model
        self.config = config
        self._scores = family(model)(model)
        self._propagation = SharedPropagation(model, self._scores)

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
        """Where the model's parameters are."""
        return device_of(self.model)

    @property
    def parameter_count(self) -> int:
        """Number of trainable numbers in the model."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    @property
    def propagates(self) -> bool:
        """Whether a pair's score needs the propagation of the whole model: a graph convolution, a tower."""
        return self._scores.propagates

    @property
    def shares_batches(self) -> bool:
        """Whether several processes may each take the loss of a part of a batch's rows: it is a mean over rows."""
        return traits_of(self.model).shares_batches

    def interactions_added(self, rows: int, positives_per_user: float) -> float:
        """How many training interactions the model's own loss adds up on a batch.

        BPR's takes the mean of them; MultiVAE's adds up those of a user and takes the mean over users; CDAE's adds up
        all. Another term that is to weigh as much for each interaction is multiplied by this.

        Args:
            rows: of the batch.
            positives_per_user: training items of a user, on average.

        Returns:
            1 where the loss is a mean over interactions, as are those of models that are not RecBole's own.
        """
        traits = traits_of(self.model)
        return (rows if traits.loss_adds_rows else 1) * (positives_per_user if traits.loss_adds_items else 1)

    def pair_logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Score some items for each user.

        Row models compute [different users, n_items] on the way; pair networks 8 MiB of activations at
        a time (all of them are kept where a gradient is).

        Args:
            users: [B] int64; users may repeat.
            items: [B, K] int64, K items for each of them.

        Returns:
            Logits [B, K], not probabilities.
        """
        with self._propagation.fresh():
            return self._scores.pairs(users, items)

    def all_logits(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Score all items, or a few, for each user, in the order of the model's own full ranking.

        The result takes 4 * B * n_items bytes; pair networks add 8 MiB at a time on a CPU. Row models come to a few
        items through all of them.

        Args:
            users: [B] int64; users may repeat.
            items: [M] int64, scored for every user, or [B, M], each user's own; None for all items.

        Returns:
            Logits [B, n_items], not probabilities, column 0 being the padding item; or [B, M].
        """
        if items is not None and items.dim() == 2:
            return self.pair_logits(users, items)
        with self._propagation.fresh():
            return self._scores.rows(users, items)

    def target_logits(self, users: Tensor, items: Tensor, learning: bool) -> Tensor:
        """Score some items for each user as constants: what another role learns from, without dropout or noise.

        Args:
            users: [B] int64; users may repeat.
            items: [B, K] int64, K items for each of them.
            learning: whether this role learns in the same step. Its propagation, if it has one, then comes with
                gradient for its own loss, in train mode, and serves here too.

        Returns:
            Logits [B, K] without gradient.
        """
        if learning and self._scores.propagates:
            return self.pair_logits(users, items).detach()
        with self.scoring():
            return self.pair_logits(users, items)

    def embeddings(self, users: Tensor | None = None, items: Tensor | None = None) -> tuple[Tensor, Tensor] | None:
        """Give the vectors whose inner product is the logit, where the model is of that form.

        Weights and biases that belong to neither side are folded in exactly (ENMF, GCMC, FISM), so the
        width may differ from the model's embedding size. Under autograd unless in `scoring`.

        Args:
            users: int64 [U]; None for all of them, padding first.
            items: int64 [I]; None for all of them, padding first.

        Returns:
            Users [U, d] and items [I, d], or None for models that are no inner product.
        """
        if not isinstance(self._scores, InnerProduct):
            return None
        with self._propagation.fresh():
            users = torch.arange(self.n_users, device=self.device) if users is None else users
            items = self._scores.all_items() if items is None else items
            user_vectors = torch.cat([self._scores.user_vectors(some) for some in users.split(_USERS_AT_ONCE)])
            return user_vectors, self._scores.item_vectors(items)

    def graph_logits(self, users: Tensor) -> Tensor:
        """`all_logits` by operations that can be recorded once and run for any number of users.

        Pair networks take all pairs at once: B * n_items times the width of their layers.

        Args:
            users: [B] int64.

        Returns:
            Logits [B, n_items], column 0 being the padding item.
        """
        with self._propagation.fresh():
            return self._scores.graph_rows(users)

    def loss(self, interaction: Interaction) -> Tensor:
        """Compute the model's own training loss.

        Args:
            interaction: a batch of its own train loader.

        Returns:
            A scalar; the parts of a model that gives several are summed.
        """
        parts = self.model.calculate_loss(interaction)
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

    def forget(self) -> None:
        """Drop the embeddings RecBole keeps between evaluations; a closed-form model keeps all it consists of."""
        self._propagation.forget()

"""Models that score all items of a user at once.

Changes model instances: CDAE gets a `full_sort_predict` that reads sparse histories; an autoencoder's output layer is
replaced while pairs are scored.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn

from recbole_bd.backbones.acceleration.pair_products import pair_products
from recbole_bd.backbones.scoring.base import Scores, device_of


class _RowModel(Scores):
    """One forward per distinct user gives the scores of all items; pairs are picked from these rows."""

    row: Callable[[Tensor], Tensor]  # distinct users [U] -> logits [U, n_items]

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users [B]. [B, K]."""
        distinct, index = users.unique(return_inverse=True)
        return self.row(distinct)[index.unsqueeze(1), items]

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Logits of all items, or of the same few [M], for users [B]. [B, n_items] or [B, M]."""
        distinct, index = users.unique(return_inverse=True)
        row = self.row(distinct)
        return (row if items is None else row[:, items])[index]


class Autoencoder(_RowModel):
    """Autoencoders: the output of the decoder, before CDAE's output activation.

    If the decoder ends in a linear layer over all items, pairs use only the items' rows of its weight.
    """

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        outputs = [name for name, layer in linear.items() if layer.out_features == model.n_items]
        self.output_name = outputs[0] if len(outputs) == 1 else None

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users [B]. [B, K]."""
        if self.output_name is None:
            return super().pairs(users, items)
        distinct, index = users.unique(return_inverse=True)
        output = self.model.get_submodule(self.output_name)
        with self._layer(self.output_name, nn.Identity()):
            hidden = self.row(distinct)[index]
        logits = pair_products(hidden, output.weight, items)
        return logits if output.bias is None else logits + output.bias[items]

    def row(self, users: Tensor) -> Tensor:
        """Logits of all items for distinct users. [U] to [U, n_items]."""
        output = self.forward(self.model.get_rating_matrix(users))
        return output[0] if isinstance(output, tuple) else output

    def forward(self, ratings: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The model's `forward` of users' histories as dense rows. [U, n_items], alone or first of several."""
        return self.model.forward(ratings)

    @contextmanager
    def _layer(self, name: str, replacement: nn.Module) -> Iterator[None]:
        """Replace a layer while the scope is open."""
        path, _, own_name = name.rpartition(".")
        parent, layer = self.model.get_submodule(path), self.model.get_submodule(name)
        setattr(parent, own_name, replacement)
        try:
            yield
        finally:
            setattr(parent, own_name, layer)


class RecVAEScores(Autoencoder):
    """RecVAE, whose `forward` takes the rate of dropout."""

    def forward(self, ratings: Tensor) -> Tensor | tuple[Tensor, ...]:
        """See `Autoencoder.forward`."""
        return self.model.forward(ratings, self.model.dropout_prob)


class CDAEScores(Autoencoder):
    """CDAE on sparse histories: dropout and the first layer skip the zeros of all other items.

    RecBole ranks from a dense row of every history, so the model gets another `full_sort_predict`.
    """

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        model.full_sort_predict = self.full_sort_predict
        ids, order = model.history_item_id.sort(dim=1)
        repeated = F.pad(ids[:, 1:] == ids[:, :-1], (1, 0))  # a repeated interaction counts once, as in a dense row
        real = (ids > 0) & ~repeated
        self.items, self.values = ids[real], model.history_item_value.gather(1, order)[real]
        self.counts = real.sum(dim=1)
        self.starts = self.counts.cumsum(0) - self.counts

    def row(self, users: Tensor) -> Tensor:
        """Logits of all items for distinct users. [U] to [U, n_items]."""
        model = self.model
        counts = self.counts[users]
        offsets = counts.cumsum(0) - counts
        shift = torch.repeat_interleave(self.starts[users] - offsets, counts)
        indices = torch.arange(len(shift), device=shift.device) + shift
        values = model.dropout(self.values[indices])
        history = F.embedding_bag(
            self.items[indices], model.h_item.weight.T, offsets, per_sample_weights=values, mode="sum"
        )
        return model.out_layer(model.h_act(model.h_user(users) + history + model.h_item.bias))

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items in the unit of the model's `predict`. [B * n_items]."""
        return self.model.o_act(self.row(interaction[self.model.USER_ID])).view(-1)


class FullSortScores(_RowModel):
    """The model's own `full_sort_predict`: diffusion models, closed-form models, models of third parties."""

    def row(self, users: Tensor) -> Tensor:
        """Logits of all items for distinct users. [U] to [U, n_items]."""
        scores = self.model.full_sort_predict(Interaction({self.model.USER_ID: users}))
        return scores.reshape(len(users), -1).to(device_of(self.model), torch.float32)


class ADMMSLIMScores(_RowModel):
    """ADMMSLIM without the noise that its own scores add at every call to break ties."""

    def row(self, users: Tensor) -> Tensor:
        """Logits of all items for distinct users. [U] to [U, n_items]."""
        model = self.model
        history = model.interaction_matrix[users.cpu().numpy(), :].toarray()
        center = model.item_means if model.center_columns else 0.0
        scores = (history - center) @ model.item_similarity + center
        return torch.from_numpy(scores).to(device_of(model), torch.float32)


class SameForAllUsers(Scores):
    """The same scores for every user: Pop counts interactions; Random draws scores once per scope."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = [(self, "draw")]

    def draw(self) -> Tensor:
        """Scores of all items, drawn uniformly from [0, 1). [n_items]."""
        return torch.rand(self.model.n_items, device=device_of(self.model))

    def row(self) -> Tensor:
        """Logits of all items, the same for every user. [n_items]."""
        if not hasattr(self.model, "item_cnt"):
            return self.draw()
        counts = self.model.item_cnt.squeeze(-1).float()
        return counts / counts.max().clamp(min=1)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users [B]. [B, K]."""
        return self.row()[items]

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Logits of all items, or of the same few [M], for users [B]. [B, n_items] or [B, M]."""
        row = self.row() if items is None else self.row()[items]
        return row.repeat(len(users), 1)  # the caller may mask items in place

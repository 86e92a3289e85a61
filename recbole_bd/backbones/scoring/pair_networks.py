"""Models that put each pair of user and item through a network.

Changes model instances: models without `full_sort_predict` get one, of the same scores in chunks.
"""

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn

from recbole_bd.backbones.scoring.base import Scores, device_of
from recbole_bd.system.block_sizes import rows_at_once

# Activations of one chunk of a pair network, in numbers: 8 MiB on a CPU, where more would leave the cache.
_FLOATS_AT_ONCE = {"cpu": 2**21, "cuda": 2**26}
# Activations of one layer of one user: 1 MiB, which stay in a core's cache.
_FLOATS_CACHED = {"cpu": 2**18, "cuda": 2**26}
_FLOATS_UNKNOWN = 1024  # activations of a pair in a network that is not known


class PairNetwork(Scores):
    """A network over pairs whose `forward` gives logits.

    RecBole ranks all items of these models by sending every pair through `predict`. Here the model gets a
    `full_sort_predict` of the same scores, in chunks that stay in the cache.
    """

    predicts_probabilities = False  # whether the model's `predict` is the sigmoid of its `forward`

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        if type(model).full_sort_predict is AbstractRecommender.full_sort_predict:
            model.full_sort_predict = self.full_sort_predict
        self.pairs_at_once = rows_at_once(_FLOATS_AT_ONCE, device_of(model), self.floats_per_pair())

    def floats_per_pair(self) -> int:
        """Number of activations of one pair, roughly."""
        return _FLOATS_UNKNOWN

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items in the unit of the model's `predict`. [B * n_items]."""
        logits = self.rows(interaction[self.model.USER_ID])
        return (logits.sigmoid() if self.predicts_probabilities else logits).view(-1)

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of N pairs of a user and an item. [N] and [N] to [N]."""
        return self.model.forward(users, items)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users [B]. [B, K]."""
        flat_users, flat_items = users.repeat_interleave(items.shape[1]), items.reshape(-1)
        chunks = zip(flat_users.split(self.pairs_at_once), flat_items.split(self.pairs_at_once), strict=True)
        return torch.cat([self.network(*chunk) for chunk in chunks]).view(items.shape)

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Logits of all items, or of the same few [M], for users [B]. [B, n_items] or [B, M]."""
        width = max(1, self.pairs_at_once // max(len(users), 1))
        items = self.all_items() if items is None else items
        return torch.cat([self.pairs(users, some.expand(len(users), -1)) for some in items.split(width)], dim=1)

    def graph_rows(self, users: Tensor) -> Tensor:
        """See `Scores.graph_rows`; all pairs are scored at once."""
        items = self.all_items()
        pairs = users.repeat_interleave(len(items)), items.repeat(users.shape[0])
        return self.network(*pairs).view(-1, len(items))


class NeuMFScores(PairNetwork):
    """NeuMF's rows without a pass of every pair through the whole network; equal up to rounding.

    The first layer is linear, so users and items pass it separately and their halves are added. The GMF part is a
    matrix product. Dropout rules this out: in train mode every pair goes through the network.
    """

    predicts_probabilities = True

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = [(self, "item_half")]
        layers = list(model.mlp_layers.mlp_layers)
        self.first, self.rest = layers[1], nn.Sequential(*layers[2:])
        self.items_at_once = rows_at_once(_FLOATS_CACHED, device_of(model), self.first.out_features)

    def floats_per_pair(self) -> int:
        """Number of activations of one pair, roughly."""
        return 2 * self.model.mf_embedding_size + 2 * sum(self.model.mlp_layers.layers)

    def item_half(self) -> Tensor:
        """Output of the first layer for the items' half of its input, with the bias. [n_items, hidden]."""
        weight = self.first.weight[:, self.model.mlp_embedding_size :]
        return F.linear(self.model.item_mlp_embedding(self.all_items()), weight, self.first.bias)

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Logits of all items, or of the same few [M], for users [B]. [B, n_items] or [B, M]."""
        model = self.model
        if model.training and model.dropout_prob:
            return super().rows(users, items)
        item_half = self.item_half() if items is None else self.item_half()[items]
        items = self.all_items() if items is None else items
        weight, bias = model.predict_layer.weight[0], model.predict_layer.bias
        width = model.mf_embedding_size if model.mf_train else 0
        logits = bias.expand(len(users), len(items))
        if model.mf_train:
            logits = logits + (model.user_mf_embedding(users) * weight[:width]) @ model.item_mf_embedding(items).T
        if model.mlp_train:
            halves = F.linear(model.user_mlp_embedding(users), self.first.weight[:, : model.mlp_embedding_size])
            logits = logits + torch.stack([self._deep(half, item_half, weight[width:]) for half in halves])
        return logits

    def _deep(self, user_half: Tensor, item_half: Tensor, weight: Tensor) -> Tensor:
        """The MLP's part of one user's logits. [M]."""
        logits = []
        for part in item_half.split(self.items_at_once):
            hidden = user_half + part
            for layer in self.rest:
                in_place = type(layer) is nn.ReLU and not torch.is_grad_enabled()
                hidden = hidden.relu_() if in_place else layer(hidden)
            logits.append(hidden @ weight)
        return torch.cat(logits)


class NNCFScores(PairNetwork):
    """NNCF, whose `predict` gives probabilities."""

    predicts_probabilities = True

    def floats_per_pair(self) -> int:
        """Number of activations of one pair, roughly."""
        return 2 * self.model.neigh_num * (self.model.neigh_embedding_size + self.model.num_conv_kernel)


class ConvNCFScores(PairNetwork):
    """ConvNCF: convolutions over the outer product of both vectors."""

    def floats_per_pair(self) -> int:
        """Number of activations of one pair, roughly."""
        return self.model.embedding_size**2 * (1 + max(self.model.cnn_channels))


class NAISScores(PairNetwork):
    """NAIS attends to the history. Without a history its softmax is 0 / 0, so the logit is the item's bias."""

    def floats_per_pair(self) -> int:
        """Number of activations of one pair, roughly."""
        return self.model.history_item_matrix.shape[1] * 2 * (self.model.embedding_size + self.model.weight_size)

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of N pairs of a user and an item. [N] and [N] to [N]."""
        known = (self.model.history_lens[users] > 0).nonzero().squeeze(1)
        return self.model.bias[items].index_copy(0, known, self.model.forward(users[known], items[known]))


class PredictScores(PairNetwork):
    """Models of third parties without `full_sort_predict`: their `predict` in chunks of pairs."""

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of N pairs of a user and an item. [N] and [N] to [N]."""
        return self.model.predict(Interaction({self.model.USER_ID: users, self.model.ITEM_ID: items}))

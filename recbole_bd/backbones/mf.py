"""Matrix factorization as a RecBole model: the inner product of a user's and an item's vector."""

from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.init import xavier_normal_initialization
from recbole.utils import InputType
from torch import Tensor, nn


class MF(GeneralRecommender):
    """Score = user vector . item vector, with `biases` also plus the bias of the user and that of the item.

    Koren, Bell, Volinsky: Matrix Factorization Techniques for Recommender Systems. IEEE Computer 2009. Eq. 1, 4.
    Its own loss is BPR's, -log sigmoid(score of the positive - score of the negative), a mean over interactions.
    Without biases it equals RecBole's BPR. With `own_loss: softmax` it is trained by the softmax.

    Args:
        config: settings of the role, with those of MF.yaml.
        dataset: the training part, which gives the numbers of users and items.
    """

    input_type = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.user_embedding = nn.Embedding(self.n_users, config["embedding_size"])
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        self.apply(xavier_normal_initialization)
        self.user_bias = self.item_bias = None
        if config["biases"]:
            self.user_bias, self.item_bias = nn.Embedding(self.n_users, 1), nn.Embedding(self.n_items, 1)
            for bias in (self.user_bias, self.item_bias):
                nn.init.zeros_(bias.weight)

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users; with biases, the bias and a one behind. [B] to [B, d] or [B, d + 2]."""
        vectors = self.user_embedding(users)
        if self.user_bias is None:
            return vectors
        bias = self.user_bias(users)
        return torch.cat([vectors, bias, torch.ones_like(bias)], dim=-1)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors of items; with biases, a one and the bias behind. Any shape to that shape and [d] or [d + 2]."""
        vectors = self.item_embedding(items)
        if self.item_bias is None:
            return vectors
        bias = self.item_bias(items)
        return torch.cat([vectors, torch.ones_like(bias), bias], dim=-1)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """BPR's loss of a batch with negatives. A scalar."""
        pairs = torch.stack([interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID]])
        positive, negative = (self.item_vectors(pairs) * self.user_vectors(interaction[self.USER_ID])).sum(dim=-1)
        return -F.logsigmoid(positive - negative).mean()

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of each (user, item) row. [B]."""
        users, items = self.user_vectors(interaction[self.USER_ID]), self.item_vectors(interaction[self.ITEM_ID])
        return (users * items).sum(dim=-1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of every item for each user, padding first. [B * n_items]."""
        items = self.item_vectors(torch.arange(self.n_items, device=self.item_embedding.weight.device))
        return (self.user_vectors(interaction[self.USER_ID]) @ items.T).view(-1)

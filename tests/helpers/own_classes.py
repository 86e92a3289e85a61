"""Backbones and metrics as a user writes them, with the options of one in BiasMF.yaml beside this file."""

from typing import ClassVar

from recbole.evaluator.base_metric import AbstractMetric, TopkMetric
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from recbole.model.general_recommender import BPR, LightGCN, MultiVAE, NeuMF
from recbole.model.loss import BPRLoss
from recbole.utils import EvaluatorType, InputType
from torch import nn


class BiasMF(GeneralRecommender):
    """Inner products with a bias for each item."""

    input_type = InputType.PAIRWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.users = nn.Embedding(self.n_users, config["width"])
        self.items = nn.Embedding(self.n_items, config["width"])
        self.bias = nn.Embedding(self.n_items, 1)
        for table in (self.users, self.items, self.bias):
            nn.init.normal_(table.weight, std=config["spread"])
        self.bpr = BPRLoss()

    def score(self, users, items):
        return (self.users(users) * self.items(items)).sum(-1) + self.bias(items).squeeze(-1)

    def calculate_loss(self, interaction):
        users = interaction[self.USER_ID]
        return self.bpr(self.score(users, interaction[self.ITEM_ID]), self.score(users, interaction[self.NEG_ITEM_ID]))

    def predict(self, interaction):
        return self.score(interaction[self.USER_ID], interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction):
        users = self.users(interaction[self.USER_ID])
        return (users @ self.items.weight.T + self.bias.weight.T).view(-1)


class LouderBPR(BPR):
    """A model of RecBole with another loss."""

    def calculate_loss(self, interaction):
        return 2 * super().calculate_loss(interaction)


class SquaredBPR(BPR):
    """A model of RecBole with other scores."""

    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction).pow(3)

    def predict(self, interaction):
        return super().predict(interaction).pow(3)


class OwnVAE(MultiVAE):
    """A model of RecBole that reads users."""


class OwnNeuMF(NeuMF):
    """A model of RecBole whose own scores are probabilities."""


class OwnGCN(LightGCN):
    """A graph model of RecBole."""


class Rows(GeneralRecommender, AutoEncoderMixin):
    """An autoencoder that inherits from no model of RecBole."""

    input_type = InputType.PAIRWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.build_histroy_items(dataset)
        self.layer = nn.Linear(self.n_items, self.n_items)

    def forward(self, users):
        return self.layer(self.get_rating_matrix(users))

    def calculate_loss(self, interaction):
        users = interaction[self.USER_ID]
        return -(nn.functional.log_softmax(self.forward(users), 1) * self.get_rating_matrix(users)).sum(1).mean()

    def predict(self, interaction):
        scores = self.forward(interaction[self.USER_ID])
        return scores.gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)

    def full_sort_predict(self, interaction):
        return self.forward(interaction[self.USER_ID]).view(-1)


class FirstHit(TopkMetric):
    """Share of users with a hit among the first k."""

    def calculate_metric(self, dataobject):
        hits, _ = self.used_info(dataobject)
        return self.topk_result("firsthit", hits.cumsum(axis=1) > 0)


class FirstMiss(FirstHit):
    """Share of users without such a hit: the smaller, the better."""

    smaller = True

    def calculate_metric(self, dataobject):
        hits, _ = self.used_info(dataobject)
        return self.topk_result("firstmiss", hits.cumsum(axis=1) == 0)


class Misnamed(FirstHit):
    """A metric that calls its values otherwise."""


class Recall(FirstHit):
    """A metric with the name of one of RecBole's."""


class Needy(FirstHit):
    """A metric that asks for what nobody collects."""

    metric_need: ClassVar = ["rec.topk", "rec.mood"]


class Typeless(AbstractMetric):
    """A metric without a type."""


class OfValues(AbstractMetric):
    """A metric of predicted values."""

    metric_type = EvaluatorType.VALUE
    metric_need: ClassVar = ["rec.score", "data.label"]

"""The contract test of backbones: it passes RecBole's models and the user's own, and names each breach."""

import numpy as np
import pytest
import torch
from torch import nn

from recbole_bd.backbones.registry import recommender_class
from recbole_bd.backbones.traits import BackboneTraits
from recbole_bd.config.known_options import top_level_options
from recbole_bd.errors import ConfigError, RoleError
from recbole_bd.testing import check_backbone
from tests.helpers.backbones import NAMES, SETTINGS, SMALL
from tests.helpers.own_classes import BiasMF, LouderBPR, OwnGCN, OwnNeuMF, OwnVAE, Rows, SquaredBPR

SMALL_BIASED = {"width": 4}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "Random"])
def test_the_models_of_recbole_keep_the_contract(name):
    known = top_level_options(None, [name])
    settings = {key: value for key, value in {**SMALL, **SETTINGS.get(name, {})}.items() if key in known}
    check_backbone(recommender_class(name), settings)


def test_a_model_that_ranks_by_chance_breaks_it():
    with pytest.raises(
        RoleError, match=r"^Random: predict and full_sort_predict rank the items of a user differently$"
    ):
        check_backbone(recommender_class("Random"))


@pytest.mark.parametrize("model_class", [BiasMF, LouderBPR, OwnVAE, OwnNeuMF, OwnGCN, SquaredBPR, Rows])
def test_models_of_the_users_own_keep_it(model_class):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_backbone(model_class)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers go on as they were"


def test_settings_of_the_model_are_taken_and_checked():
    check_backbone(BiasMF, {"width": 3})
    with pytest.raises(ConfigError, match="width=0"):
        check_backbone(BiasMF, {"width": 0})


def test_a_class_that_no_run_could_name_is_refused():
    with pytest.raises(ConfigError, match="cannot be imported by its name"):
        check_backbone(type("Local", (BiasMF,), {}))


class NaNLoss(BiasMF):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) * float("nan")


class DetachedLoss(BiasMF):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction).detach()


class BrokenLoss(BiasMF):
    def calculate_loss(self, interaction):
        return interaction["mood"]


class Unreached(BiasMF):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.idle = nn.Linear(2, 2)


class Motionless(BiasMF):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) * 0.0


class UnseededStart(BiasMF):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        nn.init.normal_(
            self.bias.weight, generator=torch.Generator().manual_seed(np.random.SeedSequence().entropy % 2**31)
        )


class UnseededTraining(BiasMF):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) * (1 + np.random.default_rng().random())


class OtherOrder(BiasMF):
    def full_sort_predict(self, interaction):
        return -super().full_sort_predict(interaction)


class TooFewScores(BiasMF):
    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction)[1:]


class SumOfPairs(BiasMF):
    def predict(self, interaction):
        return super().predict(interaction).sum()


class InfiniteScores(BiasMF):
    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction) / 0.0


class WithoutGradient(BiasMF):
    @torch.no_grad()
    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction)


class Stale(BiasMF):
    kept = None

    def calculate_loss(self, interaction):
        self.kept = None
        return super().calculate_loss(interaction)

    def full_sort_predict(self, interaction):
        if self.training or self.kept is None:
            scores = self.users.weight @ self.items.weight.T + self.bias.weight.T
            self.kept = None if self.training else scores
        else:
            scores = self.kept
        return scores[interaction[self.USER_ID]].view(-1)


class Declared(Stale):
    """The same model, which says where it keeps its results."""

    bd_traits = BackboneTraits("FullSortScores", caches=("kept",))


class Forgetful(BiasMF):
    """Keeps what it learns in a list, which no checkpoint holds."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.shifts = [0.0] * self.n_items

    def calculate_loss(self, interaction):
        for item in interaction[self.ITEM_ID].tolist():
            self.shifts[item] += 0.5
        return super().calculate_loss(interaction)

    def predict(self, interaction):
        shifts = torch.tensor(self.shifts)[interaction[self.ITEM_ID]]
        return super().predict(interaction) + shifts

    def full_sort_predict(self, interaction):
        scores = super().full_sort_predict(interaction).view(-1, self.n_items)
        return (scores + torch.tensor(self.shifts)).view(-1)


class WrongSeam(BiasMF):
    """Says that it scores as BPR does, which it does not."""

    bd_traits = BackboneTraits("InnerProduct")

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.user_embedding, self.item_embedding = self.users, self.items
        nn.init.normal_(self.bias.weight)


@pytest.mark.parametrize(
    ("model_class", "breach"),
    [
        (NaNLoss, "calculate_loss gives nan on untrained parameters"),
        (DetachedLoss, "the loss of calculate_loss has no gradient: keep it a tensor of torch"),
        (BrokenLoss, "calculate_loss fails with KeyError: 'mood'"),
        (Unreached, "no gradient of calculate_loss reaches the parameter idle.weight"),
        (Motionless, "all gradients of calculate_loss are 0"),
        (UnseededStart, "two models built with the same seed differ: draw first values with torch"),
        (UnseededTraining, "two models trained with the same seed differ: draw only with torch or NumPy"),
        (OtherOrder, "predict and full_sort_predict rank the items of a user differently"),
        (TooFewScores, "full_sort_predict gives "),
        (SumOfPairs, "predict gives 1 scores for "),
        (InfiniteScores, "full_sort_predict gives scores that are not finite"),
        (WithoutGradient, "its scores have no gradient, so that it cannot be taught by them"),
        (
            Stale,
            "its scores are older than its parameters: name the attributes in which it keeps results between calls",
        ),
        (Forgetful, "a model restored from its file scores differently: keep what training changes in parameters"),
    ],
)
def test_a_breach_is_named_in_one_line(model_class, breach):
    with pytest.raises(RoleError) as error:
        check_backbone(model_class, SMALL_BIASED)
    assert str(error.value).startswith(f"tests.test_testing:{model_class.__name__}: {breach}")
    assert "\n" not in str(error.value)


def test_a_cache_that_is_named_is_dropped():
    check_backbone(Declared, SMALL_BIASED)


def test_facts_that_do_not_hold_are_found():
    with pytest.raises(
        RoleError, match=r"WrongSeam: its logits rank the items of a user differently from its own scores$"
    ):
        check_backbone(WrongSeam, SMALL_BIASED)

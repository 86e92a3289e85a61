"""The table of facts, held against RecBole's own classes."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from recbole.utils import ModelType

from recbole_bd.backbones.extra_state import changed_attributes, note_attributes
from recbole_bd.backbones.registry import recommender_class
from recbole_bd.backbones.scoring.base import Scores
from recbole_bd.backbones.scoring.families import FAMILIES, has_embeddings
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.traits import (
    CACHES,
    OTHER_MODEL,
    OTHER_MODEL_BY_PAIRS,
    RECBOLE_TRAITS,
    TRAITS,
    BackboneTraits,
    caches_of,
    scores_with_noise,
    traits_of,
)
from tests.helpers.backbones import NAMES, TEACHABLE, everyone, own_ranking_scores
from tests.helpers.own_classes import BiasMF, OwnGCN, OwnVAE


def test_every_general_recommender_of_recbole_has_a_line_and_every_line_is_of_one():
    assert [name for name in TRAITS if name != "Lists"] == NAMES
    assert len(TRAITS) == 35


@pytest.mark.parametrize("name", NAMES)
def test_a_line_says_what_the_class_says(name):
    traits, model_class = TRAITS[name], recommender_class(name)
    assert traits.closed_form == (model_class.type == ModelType.TRADITIONAL or name == "NCEPLRec")
    assert not (traits.closed_form and traits.own_trainer)
    assert issubclass(FAMILIES[traits.scoring], Scores)
    assert has_embeddings(model_class) == issubclass(FAMILIES[traits.scoring], InnerProduct)


def test_every_scoring_class_is_of_some_model():
    used = {traits.scoring for traits in (*RECBOLE_TRAITS.values(), OTHER_MODEL, OTHER_MODEL_BY_PAIRS)}
    assert used == {name for name in FAMILIES if not name.startswith("_")} - {"PairNetwork"}


def test_batches_that_processes_may_not_share():
    assert {name for name, traits in TRAITS.items() if not traits.shares_batches} == {
        *("CDAE", "ConvNCF", "DGCF", "DiffRec", "ENMF", "LDiffRec", "LINE", "NCL", "RaCT", "RecVAE", "SGL")
    }


def test_caches_are_named_as_old_checkpoints_have_them():
    assert set(CACHES) == {"restore_user_e", "restore_item_e", "i_embedding"}


def test_a_model_of_a_third_party_counts_as_a_mean_over_rows():
    class Theirs:
        pass

    traits = traits_of(Theirs())
    assert traits.shares_batches
    assert traits == OTHER_MODEL


def test_a_subclass_has_the_facts_of_the_nearest_model_of_recbole():
    class Theirs(OwnVAE):
        pass

    class Declared(OwnVAE):
        bd_traits = BackboneTraits("FullSortScores", caches=("mine",))

    assert traits_of(object.__new__(Theirs)) == TRAITS["MultiVAE"]
    assert traits_of(object.__new__(OwnGCN)) == TRAITS["LightGCN"]
    assert traits_of(object.__new__(BiasMF)) == OTHER_MODEL
    assert traits_of(object.__new__(Declared)) == Declared.bd_traits
    assert caches_of(object.__new__(Declared)) == (*CACHES, "mine")


def test_a_namesake_has_no_facts_of_recbole():
    namesake = type("CDAE", (), {"__module__": "theirs"})
    assert traits_of(namesake()) == OTHER_MODEL
    named_alike = type("MultiVAE", (recommender_class("BPR"),), {"__module__": "theirs"})
    assert traits_of(object.__new__(named_alike)) == TRAITS["BPR"]


def test_facts_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TRAITS["BPR"].closed_form = True


@pytest.mark.parametrize("name", sorted({*TEACHABLE, "RaCT"}))
def test_training_changes_the_extra_state_of_a_line_and_ranking_fills_its_caches(build, name):
    role, loader = build(name)
    model = role.model
    note_attributes(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        model.train()
        for interaction in loader:
            optimizer.zero_grad()
            role.loss(interaction).backward()
            optimizer.step()
    assert changed_attributes(model).keys() == set(TRAITS[name].extra_state)
    model.eval()
    own_ranking_scores(model, everyone(model))
    assert {cache for cache in CACHES if getattr(model, cache, None) is not None} == set(TRAITS[name].caches)


def test_noise_is_a_fact_of_the_class():
    def settings(base, **attributes):
        kind = type(base, (recommender_class(base),), {"__module__": "theirs", **attributes})
        return SimpleNamespace(model_class=kind)

    assert scores_with_noise(settings("Random"))
    assert not scores_with_noise(settings("BPR"))
    assert scores_with_noise(settings("BPR", bd_traits=BackboneTraits("InnerProduct", noisy=True)))
    namesake = type("Random", (recommender_class("BPR"),), {"__module__": "theirs"})
    assert not scores_with_noise(SimpleNamespace(model_class=namesake))

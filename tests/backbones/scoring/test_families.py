"""Logits of every family, held against the scores of the model itself."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.general_recommender import BPR, LightGCN

from recbole_bd.backbones.scoring.families import family_of_class, has_embeddings
from recbole_bd.backbones.traits import BackboneTraits
from tests.helpers.backbones import (
    CLOSED_FORM,
    NAMES,
    PROBABILITIES,
    batch,
    close,
    everyone,
    first_batch,
    own_ranking_scores,
    predicted,
    spread,
)
from tests.helpers.own_classes import BiasMF, LouderBPR, OwnGCN, OwnNeuMF, OwnVAE, SquaredBPR


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Random"])
def test_logits_rank_as_the_model_itself_does(build, name):
    role, _ = build(name)
    users = everyone(role.model)
    with role.scoring():
        logits, own = role.all_logits(users), own_ranking_scores(role.model, users)
        pairwise = predicted(role.model, users)
        if "full_sort_predict" in vars(role.model):  # given to a model that has none
            given = role.model.full_sort_predict(Interaction({role.model.USER_ID: users}))
            assert close(given.reshape(len(users), -1), own, 1e-5)
    expected = logits.sigmoid() if name in PROBABILITIES else logits
    assert close(own, expected)
    ordered = own.gather(1, logits.argsort(dim=1))
    assert (ordered.diff(dim=1) >= -2e-5).all()
    assert own.std() > 1e-3  # not all the same
    assert close(pairwise, logits.sigmoid().sigmoid() if name == "FISM" else expected)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CLOSED_FORM])
def test_logits_are_no_probabilities(build, name):
    role, _ = build(name)
    with role.scoring():
        logits = role.all_logits(everyone(role.model))
    assert logits.min() < 0 or logits.max() > 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SimpleX", {"aggregator": "user_attention"}),
        ("SimpleX", {"aggregator": "self_attention", "gamma": 0.2}),
        ("NAIS", {"algorithm": "concat", "alpha": 0.3}),
        ("NeuMF", {"mf_train": False}),
        ("GCMC", {"accum": "sum", "sparse_feature": False, "num_basis_functions": 3}),
        ("SGL", {"type": "RW"}),
        ("SGL", {"type": "ND"}),
        ("FISM", {"alpha": 0.0, "split_to": 4}),
        ("ADMMSLIM", {"center_columns": True}),
        ("ItemKNN", {"knn_method": "user"}),
        ("NGCF", {"node_dropout": 0.2}),
        ("DiffRec", {"mean_type": "eps"}),
        ("DiffRec", {"noise_scale": 0.0}),
    ],
)
def test_other_settings_rank_as_the_model_itself_does(build, name, settings):
    role, _ = build(name, **settings)
    role.model.train()
    users, items = batch(role)
    with role.scoring():
        logits, own = role.all_logits(users), own_ranking_scores(role.model, users)
        assert close(role.pair_logits(users, items), logits.gather(1, items), 1e-5)
    assert close(own, logits.sigmoid() if name in PROBABILITIES else logits)


@pytest.mark.parametrize("name", ["FISM", "NAIS", "DMF", "SimpleX", "CDAE", "MultiVAE", "LightGCN"])
def test_user_without_history_gets_finite_scores_and_gradients(build, name):
    role, _ = build(name)
    users, items = torch.tensor([0, 3, 0]), torch.tensor([[1, 2], [3, 4], [5, 0]])  # user 0 is padding
    logits = role.pair_logits(users, items)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in role.model.parameters() if p.grad is not None)


class CachingGCN(LightGCN):
    """A third party's model: RecBole's caching, and scores of its own."""

    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction) * 2


class PredictOnly(BPR):
    """A third party's model that only scores pairs."""

    full_sort_predict = AbstractRecommender.full_sort_predict


@pytest.mark.parametrize(("parent", "model_class", "factor"), [("LightGCN", CachingGCN, 2), ("BPR", PredictOnly, 1)])
def test_third_party_models_score_by_their_own_methods(build, parent, model_class, factor):
    role, loader = build(parent, model_class)
    known, _ = build(parent)
    users, items = batch(role)
    assert role.embeddings() is None
    with role.scoring(), known.scoring():
        before = role.pair_logits(users, items)
        assert close(before, known.pair_logits(users, items) * factor, 1e-5)
        assert close(role.all_logits(users), known.all_logits(users) * factor, 1e-5)
    role.model.eval()
    own_ranking_scores(role.model, users)  # fills the cache
    spread(role.model, seed=6)
    after = role.pair_logits(users, items)
    after.sum().backward()
    assert not close(before, after)
    assert role.model.user_embedding.weight.grad.abs().sum() > 0
    assert role.loss(first_batch(role, loader)).isfinite()


@pytest.mark.parametrize(
    ("model_class", "scores"),
    [
        (LouderBPR, "InnerProduct"),
        (OwnGCN, "GraphConvolution"),
        (OwnNeuMF, "NeuMFScores"),
        (OwnVAE, "Autoencoder"),
        (SquaredBPR, "FullSortScores"),
        (BiasMF, "FullSortScores"),
        (PredictOnly, "PredictScores"),
    ],
)
def test_a_subclass_scores_as_its_model_does_unless_it_replaces_a_method_of_that(model_class, scores):
    assert family_of_class(model_class).__name__ == scores
    assert has_embeddings(model_class) == (scores in ("InnerProduct", "GraphConvolution"))


def test_a_subclass_of_a_model_that_scores_by_probabilities_is_distilled_by_logits(build):
    role, _ = build("NeuMF", OwnNeuMF)
    known, _ = build("NeuMF")
    users, items = batch(role)
    with role.scoring(), known.scoring():
        logits = role.pair_logits(users, items)
        assert close(logits, known.pair_logits(users, items), 1e-6)
    assert logits.min() < 0


def test_facts_that_a_class_declares_go_first():
    declared = type("Declared", (SquaredBPR,), {"bd_traits": BackboneTraits("PredictScores")})
    assert family_of_class(declared).__name__ == "PredictScores"

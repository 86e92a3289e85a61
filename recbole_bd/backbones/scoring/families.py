"""The scoring families: how each RecBole model turns users and items into logits.

A logit is a model's score before any output activation: unbounded, never a probability, and in the order in which the
model itself ranks. RecBole's models score in four ways, each with a base class:

- inner products (BPR, LightGCN, DMF, ...): a user vector times an item vector, so embeddings exist too;
- pair networks (NeuMF, NAIS, ...): a network per (user, item) pair, all items scored in chunks;
- row models (CDAE, MultiVAE, DiffRec, EASE, ...): one forward gives a user's scores of all items;
- other models (of third parties): the result of `full_sort_predict`, or else of `predict`, counts as logits. If these
  scores are probabilities, probabilities are distilled.

No array has users x items numbers unless the caller asks for so many users at once.
"""

from recbole.model.abstract_recommender import AbstractRecommender

from recbole_bd.backbones.scoring import inner_products, pair_networks, row_models
from recbole_bd.backbones.scoring.base import Scores
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.traits import OTHER_MODEL, OTHER_MODEL_BY_PAIRS, TRAITS, is_recbole_model

# Every scoring class by its name, as `BackboneTraits.scoring` gives it.
FAMILIES: dict[str, type[Scores]] = {
    name: member
    for module in (inner_products, pair_networks, row_models)
    for name, member in vars(module).items()
    if isinstance(member, type) and issubclass(member, Scores) and member.__module__ == module.__name__
}


def family(model: AbstractRecommender) -> type[Scores]:
    """Look up the class by which a model scores: by name if it is RecBole's own, else by its scoring methods."""
    if is_recbole_model(model) and type(model).__name__ in TRAITS:
        return FAMILIES[TRAITS[type(model).__name__].scoring]
    has_rows = type(model).full_sort_predict is not AbstractRecommender.full_sort_predict
    return FAMILIES[(OTHER_MODEL if has_rows else OTHER_MODEL_BY_PAIRS).scoring]


def has_embeddings(name: str) -> bool:
    """Whether the scores of one of RecBole's models are inner products of user and item vectors, by its name."""
    return name in TRAITS and issubclass(FAMILIES[TRAITS[name].scoring], InnerProduct)

"""The scoring families: how each RecBole model turns users and items into logits.

A logit is a model's score before any output activation: unbounded, never a probability, and in the order in which the
model itself ranks. RecBole's models score in five ways, each with a base class:

- inner products (BPR, LightGCN, DMF, ...): a user vector times an item vector, so embeddings exist too;
- pair networks (NeuMF, NAIS, ...): a network per (user, item) pair, all items scored in chunks;
- row models (CDAE, MultiVAE, DiffRec, EASE, ...): one forward gives a user's scores of all items;
- sequential models (GRU4Rec, SASRec, ...): a forward over a user's history gives the scores of all items;
- other models (of third parties): the result of `full_sort_predict`, or else of `predict`, counts as logits. If these
  scores are probabilities, probabilities are distilled. A subclass of a RecBole model scores as that model does, unless
  it has methods of its own in place of the model's.

No array has users x items numbers unless the caller asks for so many users at once.
"""

from recbole.model.abstract_recommender import AbstractRecommender

from recbole_bd.backbones.scoring import histories, inner_products, pair_networks, row_models
from recbole_bd.backbones.scoring.base import Scores
from recbole_bd.backbones.scoring.inner_products import InnerProduct
from recbole_bd.backbones.traits import OTHER_MODEL, OTHER_MODEL_BY_PAIRS, RECBOLE_TRAITS, declared_traits, recbole_base

# Every scoring class by its name, as `BackboneTraits.scoring` gives it.
FAMILIES: dict[str, type[Scores]] = {
    name: member
    for module in (histories, inner_products, pair_networks, row_models)
    for name, member in vars(module).items()
    if isinstance(member, type) and issubclass(member, Scores) and member.__module__ == module.__name__
}

# Methods that a subclass may replace without changing how it scores.
_NOT_SCORING = {"__init__", "calculate_loss", "other_parameter", "load_other_parameter"}


def family(model: AbstractRecommender) -> type[Scores]:
    """Look up the class by which a model scores."""
    return family_of_class(type(model))


def family_of_class(model_class: type) -> type[Scores]:
    """Look up the class by which a model scores: by its facts if they hold for it, else by its scoring methods."""
    if declared := declared_traits(model_class):
        return FAMILIES[declared.scoring]
    base = recbole_base(model_class)
    if base is not None and not _replaces_methods(model_class, base):
        return FAMILIES[RECBOLE_TRAITS[base.__name__].scoring]
    has_rows = model_class.full_sort_predict is not AbstractRecommender.full_sort_predict  # type: ignore[attr-defined]
    return FAMILIES[(OTHER_MODEL if has_rows else OTHER_MODEL_BY_PAIRS).scoring]


def _replaces_methods(model_class: type, base: type) -> bool:
    """Whether a subclass replaces a method by which its base may score."""
    own = model_class.__mro__[: model_class.__mro__.index(base)]
    return any(
        hasattr(base, name)
        for kind in own
        for name, member in vars(kind).items()
        if name not in _NOT_SCORING and (callable(member) or isinstance(member, property | staticmethod | classmethod))
    )


def has_embeddings(model_class: type) -> bool:
    """Whether the scores of a model are inner products of user and item vectors."""
    return issubclass(family_of_class(model_class), InnerProduct)

"""How each family of RecBole models turns users and items into logits.

A logit is a model's score before any output activation: unbounded, never a probability, in the order in
which the model itself ranks. RecBole's models score in four ways, one small class each:

- inner products (BPR, LightGCN, DMF, ...): a user vector times an item vector, so embeddings exist too;
- pair networks (NeuMF, NAIS, ...): a network per (user, item) pair, all items scored in chunks;
- row models (CDAE, MultiVAE, DiffRec, EASE, ...): one forward gives a user's scores of all items;
- anything else (a third party's model): what its `full_sort_predict`, or else `predict`, returns is taken
  as logits as it is. A model whose own scores are probabilities will then distil probabilities.

Nothing here is of size users x items unless the caller asks for so many users at once.
"""

from recbole.model.abstract_recommender import AbstractRecommender

from recbole_bd.backbones.registry import PACKAGE
from recbole_bd.backbones.scoring.base import Scores
from recbole_bd.backbones.scoring.inner_products import (
    _DMF,
    _ENMF,
    _FISM,
    _GCMC,
    _SGL,
    InnerProduct,
    _Graph,
    _NCEPLRec,
    _SimpleX,
)
from recbole_bd.backbones.scoring.pair_networks import _NAIS, _NNCF, _NeuMF, _PairNetwork, _Predict
from recbole_bd.backbones.scoring.row_models import _ADMMSLIM, _CDAE, _Autoencoder, _FullSort, _OneRow

FAMILIES: dict[str, type[Scores]] = {
    **dict.fromkeys(("BPR", "LINE"), InnerProduct),
    **dict.fromkeys(("LightGCN", "NGCF", "DGCF", "SpectralCF", "NCL"), _Graph),
    **{"SGL": _SGL, "GCMC": _GCMC, "ENMF": _ENMF, "SimpleX": _SimpleX, "DMF": _DMF, "FISM": _FISM},
    **{"NCEPLRec": _NCEPLRec, "ADMMSLIM": _ADMMSLIM, "Pop": _OneRow, "Random": _OneRow, "NAIS": _NAIS},
    "NeuMF": _NeuMF,
    **{"NNCF": _NNCF, "ConvNCF": _PairNetwork},
    "CDAE": _CDAE,
    **dict.fromkeys(("MultiDAE", "MultiVAE", "MacridVAE", "RaCT", "RecVAE"), _Autoencoder),
    **dict.fromkeys(("DiffRec", "LDiffRec", "ItemKNN", "AsymKNN", "EASE", "SLIMElastic"), _FullSort),
}


def family(model: AbstractRecommender) -> type[Scores]:
    """The class by which a model scores: RecBole's own by name, others by the scoring methods they have."""
    # A subclass or a third party's model of the same name may score otherwise: only RecBole's own classes are known.
    if type(model).__module__.startswith(PACKAGE + ".") and type(model).__name__ in FAMILIES:
        return FAMILIES[type(model).__name__]
    has_rows = type(model).full_sort_predict is not AbstractRecommender.full_sort_predict
    return _FullSort if has_rows else _Predict


def has_embeddings(name: str) -> bool:
    """Whether the scores of one of RecBole's models are inner products of user and item vectors, by its name."""
    return issubclass(FAMILIES.get(name, Scores), InnerProduct)

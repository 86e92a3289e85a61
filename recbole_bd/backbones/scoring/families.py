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
    DMFScores,
    ENMFScores,
    FISMScores,
    GCMCScores,
    GraphConvolution,
    InnerProduct,
    NCEPLRecScores,
    SGLScores,
    SimpleXScores,
)
from recbole_bd.backbones.scoring.pair_networks import NAISScores, NeuMFScores, NNCFScores, PairNetwork, PredictScores
from recbole_bd.backbones.scoring.row_models import (
    ADMMSLIMScores,
    Autoencoder,
    CDAEScores,
    FullSortScores,
    SameForAllUsers,
)

FAMILIES: dict[str, type[Scores]] = {
    **dict.fromkeys(("BPR", "LINE"), InnerProduct),
    **dict.fromkeys(("LightGCN", "NGCF", "DGCF", "SpectralCF", "NCL"), GraphConvolution),
    **{
        "SGL": SGLScores,
        "GCMC": GCMCScores,
        "ENMF": ENMFScores,
        "SimpleX": SimpleXScores,
        "DMF": DMFScores,
        "FISM": FISMScores,
    },
    **{
        "NCEPLRec": NCEPLRecScores,
        "ADMMSLIM": ADMMSLIMScores,
        "Pop": SameForAllUsers,
        "Random": SameForAllUsers,
        "NAIS": NAISScores,
    },
    "NeuMF": NeuMFScores,
    **{"NNCF": NNCFScores, "ConvNCF": PairNetwork},
    "CDAE": CDAEScores,
    **dict.fromkeys(("MultiDAE", "MultiVAE", "MacridVAE", "RaCT", "RecVAE"), Autoencoder),
    **dict.fromkeys(("DiffRec", "LDiffRec", "ItemKNN", "AsymKNN", "EASE", "SLIMElastic"), FullSortScores),
}


def family(model: AbstractRecommender) -> type[Scores]:
    """The class by which a model scores: RecBole's own by name, others by the scoring methods they have."""
    # A subclass or a third party's model of the same name may score otherwise: only RecBole's own classes are known.
    if type(model).__module__.startswith(PACKAGE + ".") and type(model).__name__ in FAMILIES:
        return FAMILIES[type(model).__name__]
    has_rows = type(model).full_sort_predict is not AbstractRecommender.full_sort_predict
    return FullSortScores if has_rows else PredictScores


def has_embeddings(name: str) -> bool:
    """Whether the scores of one of RecBole's models are inner products of user and item vectors, by its name."""
    return issubclass(FAMILIES.get(name, Scores), InnerProduct)

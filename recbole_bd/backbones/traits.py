"""Facts about RecBole's recommenders that their classes do not state: one line for each model.

A new backbone of a known scoring family is one new line. Nothing here imports RecBole's models or a scoring class.
"""

from dataclasses import dataclass
from typing import Any

PACKAGE = "recbole.model.general_recommender"
SEQUENTIAL_PACKAGE = "recbole.model.sequential_recommender"
# Modules of this package's own models, which are looked up by name as RecBole's are.
OWN_MODULES = ("recbole_bd.backbones.lists", "recbole_bd.backbones.mf")


@dataclass(frozen=True)
class OwnTrainer:
    """Training that only a model's own trainer in RecBole runs.

    Attributes:
        step: its special step, as an error message names it.
        choice: models to choose instead.
    """

    step: str
    choice: str


@dataclass(frozen=True)
class BackboneTraits:
    """Facts about one model.

    Attributes:
        scoring: name of the class in `backbones.scoring` that gives its logits, see `scoring.families`.
        closed_form: has no parameters to train by gradient, so it cannot learn by distillation.
        own_trainer: the trainer it needs, which distillation does not run; None if RecBole's default one trains it.
        loss_adds_rows: its loss is a sum over the rows of a batch, not their mean.
        loss_adds_items: a row of its loss is a sum over the user's training items, not their mean.
        loss_couples_rows: its loss compares rows of a batch, or uses numbers that one batch leaves to the next.
        caches: attributes in which RecBole keeps embeddings between two evaluations. They are dropped, never saved.
        by_products: attributes in which a pass leaves numbers for the loss of the same batch. They are never saved.
        extra_state: attributes that training changes and `state_dict` lacks; see `backbones.extra_state`.
        noisy: its scores contain noise, newly drawn whenever it scores.
        noisy_if: settings each of which, if set, makes it noisy.
        history_dropout: the dropout module through which it sends users' histories; empty if none is made sparse.
        skips_padding: the vector of a history does not change with the padding behind it.
        is_capturable: its loss and its scores neither wait for the GPU nor read numbers of the host that change from
            step to step, so that a training step can be captured as a CUDA graph.
        short_steps: a step is many short operations on rows of tables, which takes longer on several CPU threads where
            other programs run too.
    """

    scoring: str
    closed_form: bool = False
    own_trainer: OwnTrainer | None = None
    loss_adds_rows: bool = False
    loss_adds_items: bool = False
    loss_couples_rows: bool = False
    caches: tuple[str, ...] = ()
    by_products: tuple[str, ...] = ()
    extra_state: tuple[str, ...] = ()
    noisy: bool = False
    noisy_if: tuple[str, ...] = ()
    history_dropout: str = ""
    skips_padding: bool = False
    is_capturable: bool = False
    short_steps: bool = False

    @property
    def shares_batches(self) -> bool:
        """Whether processes may split a batch: the loss is a mean over its rows."""
        return not (self.loss_adds_rows or self.loss_couples_rows)


CLUSTERING = OwnTrainer("the clustering step of NCLTrainer", "SGL or LightGCN")
_ACTOR_CRITIC = OwnTrainer("the actor and critic pretraining of RaCTTrainer", "MultiVAE")
_ALTERNATING = OwnTrainer("the alternating encoder and decoder updates of RecVAETrainer", "MultiVAE")
_GRAPH = ("restore_user_e", "restore_item_e")
_SEEN = ("number_of_seen_items", "number_of_unseen_items")
_CRITIC = ("update", "input_matrix", "predict_matrix", "true_matrix", *_SEEN)
_LOSSES = ("Lt_count", "Lt_history")
_LATENT = (*_LOSSES, "update_count", "update_count_vae")
_DIFFUSION = ("sampling_steps", "sampling_noise")
_Traits = BackboneTraits

TRAITS = {
    "ADMMSLIM": _Traits("ADMMSLIMScores", closed_form=True, noisy=True),
    "AsymKNN": _Traits("FullSortScores", closed_form=True),
    "BPR": _Traits("InnerProduct", is_capturable=True, short_steps=True),
    "CDAE": _Traits("CDAEScores", loss_adds_rows=True, loss_adds_items=True, history_dropout="dropout"),
    "ConvNCF": _Traits("ConvNCFScores", loss_adds_rows=True),
    "DGCF": _Traits("GraphConvolution", loss_couples_rows=True, caches=_GRAPH),
    "DMF": _Traits("DMFScores", caches=("i_embedding",)),
    "DiffRec": _Traits("FullSortScores", loss_couples_rows=True, extra_state=_LOSSES, noisy_if=_DIFFUSION),
    "EASE": _Traits("FullSortScores", closed_form=True),
    "ENMF": _Traits("ENMFScores", loss_adds_rows=True, loss_adds_items=True),
    "FISM": _Traits("FISMScores"),
    "GCMC": _Traits("GCMCScores"),
    "ItemKNN": _Traits("FullSortScores", closed_form=True),
    "LDiffRec": _Traits(
        "FullSortScores", loss_adds_items=True, loss_couples_rows=True, extra_state=_LATENT, noisy_if=_DIFFUSION
    ),
    "LINE": _Traits("InnerProduct", loss_couples_rows=True, extra_state=("random_list", "random_pr")),
    "LightGCN": _Traits("GraphConvolution", caches=_GRAPH, is_capturable=True),
    "Lists": _Traits("FullSortScores", closed_form=True),
    "MF": _Traits("MFScores", is_capturable=True, short_steps=True),
    "MacridVAE": _Traits("Autoencoder", loss_adds_items=True, extra_state=("update",)),
    "MultiDAE": _Traits("Autoencoder", loss_adds_items=True),
    "MultiVAE": _Traits("Autoencoder", loss_adds_items=True, extra_state=("update",)),
    "NAIS": _Traits("NAISScores"),
    "NCEPLRec": _Traits("NCEPLRecScores", closed_form=True),  # its class calls itself GENERAL, yet it solves
    "NCL": _Traits("GraphConvolution", own_trainer=CLUSTERING, loss_couples_rows=True, caches=_GRAPH),
    "NGCF": _Traits("GraphConvolution", caches=_GRAPH),
    "NNCF": _Traits("NNCFScores"),
    "NeuMF": _Traits("NeuMFScores", is_capturable=True),
    "Pop": _Traits("SameForAllUsers", closed_form=True),
    "RaCT": _Traits("Autoencoder", own_trainer=_ACTOR_CRITIC, loss_couples_rows=True, extra_state=_CRITIC),
    "Random": _Traits("SameForAllUsers", closed_form=True, noisy=True),
    "RecVAE": _Traits("RecVAEScores", own_trainer=_ALTERNATING, loss_couples_rows=True),
    "SGL": _Traits("SGLScores", loss_adds_rows=True, loss_couples_rows=True, caches=_GRAPH),
    "SLIMElastic": _Traits("FullSortScores", closed_form=True),
    "SimpleX": _Traits("SimpleXScores", is_capturable=True),
    "SpectralCF": _Traits("GraphConvolution", caches=_GRAPH, is_capturable=True),
}
# Sequential recommenders; each scores from a user's history.
SEQUENTIAL_TRAITS = {
    **dict.fromkeys(
        ("FDSA", "GCSAN", "GRU4Rec", "GRU4RecF", "NARM", "SASRec", "SASRecF", "SRGNN"),
        _Traits("HistoryVectors", skips_padding=True),
    ),
    **dict.fromkeys(
        ("Caser", "FOSSIL", "HRM", "LightSANs", "NextItNet", "SINE", "STAMP"), _Traits("HistoryVectors")
    ),
    **dict.fromkeys(("FPMC", "HGN", "NPE"), _Traits("HistoryScores")),
    "CORE": _Traits("HistoryScores", skips_padding=True),
    **dict.fromkeys(("GRU4RecCPR", "SASRecCPR"), _Traits("MixtureScores")),
    # A mean over masked items, and norms of a batch's vectors.
    **dict.fromkeys(("BERT4Rec", "TransRec"), _Traits("HistoryScores", loss_couples_rows=True)),
    "RepeatNet": _Traits("ProbabilityScores", by_products=("repeat_explore",)),
    "SHAN": _Traits("HistoryVectors", loss_couples_rows=True),
}  # fmt: skip
# Sequential recommenders that have a vector for each user too, so that they score users of the data alone.
WITH_USER_VECTORS = frozenset({"Caser", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"})
# Sequential recommenders that take no role, with the reason.
NO_ROLE = {
    **dict.fromkeys(("DIN", "DIEN"), "it scores one pair at a time from features, by labels"),
    **dict.fromkeys(("GRU4RecKG", "KSR"), "it needs embeddings of entities of a knowledge graph"),
    "FEARec": "its loss reads the histories of other rows one by one",
    "S3Rec": "it needs a stage of pretraining by item features",
}
# Models that are not RecBole's own: the loss counts as a mean over rows; `full_sort_predict` gives logits.
OTHER_MODEL = _Traits("FullSortScores")
OTHER_MODEL_BY_PAIRS = _Traits("PredictScores")  # its class lacks `full_sort_predict`

RECBOLE_TRAITS = TRAITS | SEQUENTIAL_TRAITS

# Names of the caches of all of RecBole's models; models of third parties often inherit them.
CACHES = tuple(dict.fromkeys(name for traits in TRAITS.values() for name in traits.caches))


def scores_with_noise(settings: Any) -> bool:
    """Whether two evaluations of the same weights may differ.

    Args:
        settings: settings of a role; RecBole keeps the class of its backbone in `model_class`.
    """
    traits = traits_of_class(settings.model_class)
    return traits.noisy or any(settings[name] for name in traits.noisy_if)


def is_recbole_model(model: Any) -> bool:
    """Whether a model's class is RecBole's or this package's: a subclass or namesake of others may score otherwise."""
    return _is_recboles(type(model))


def recbole_base(model_class: type) -> type | None:
    """The class itself if it is RecBole's or this package's, else the nearest one that it inherits from, or None."""
    return next((kind for kind in model_class.__mro__ if _is_recboles(kind) and kind.__name__ in RECBOLE_TRAITS), None)


def declared_traits(model_class: type) -> BackboneTraits | None:
    """The facts that a class of the user's own declares as `bd_traits`; a subclass inherits them."""
    return getattr(model_class, "bd_traits", None)


def traits_of(model: Any) -> BackboneTraits:
    """Look up the facts about a model; see `traits_of_class`."""
    return traits_of_class(type(model))


def traits_of_class(model_class: type) -> BackboneTraits:
    """Look up the facts about a model by its class.

    A class of the user's own has those it declares, or those of the RecBole model it inherits from. A class that only
    has the name of a RecBole model has neither.

    Args:
        model_class: the class of the model.

    Returns:
        The facts; `OTHER_MODEL` if nothing is known.
    """
    if declared := declared_traits(model_class):
        return declared
    base = recbole_base(model_class)
    return OTHER_MODEL if base is None else RECBOLE_TRAITS[base.__name__]


def caches_of(model: Any) -> tuple[str, ...]:
    """Attributes of a model that hold embeddings between two evaluations, if they exist."""
    return (*CACHES, *traits_of(model).caches)


def _is_recboles(kind: type) -> bool:
    return kind.__module__.startswith((f"{PACKAGE}.", f"{SEQUENTIAL_PACKAGE}.")) or kind.__module__ in OWN_MODULES

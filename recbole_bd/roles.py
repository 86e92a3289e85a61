"""The scoring seam: any general recommender of RecBole, asked for logits in one way.

A logit is a model's score before any output activation: unbounded, never a probability, in the order in
which the model itself ranks. RecBole's models score in four ways, one small class each:

- inner products (BPR, LightGCN, DMF, ...): a user vector times an item vector, so embeddings exist too;
- pair networks (NeuMF, NAIS, ...): a network per (user, item) pair, all items scored in chunks;
- row models (CDAE, MultiVAE, DiffRec, EASE, ...): one forward gives a user's scores of all items;
- anything else (a third party's model): what its `full_sort_predict`, or else `predict`, returns is taken
  as logits as it is. A model whose own scores are probabilities will then distil probabilities.

Nothing here is of size users x items unless the caller asks for so many users at once.
"""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender, GeneralRecommender
from recbole.utils import ModelType
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from recbole_bd.errors import RoleError

TEACHER, STUDENT = "teacher", "student"

_PACKAGE = "recbole.model.general_recommender"
_OTHER_KINDS = ("sequential", "context_aware", "knowledge_aware", "exlib")
_CACHES = ("restore_user_e", "restore_item_e", "i_embedding")  # what hosts keep between two evaluations
_FLOATS_AT_ONCE = 2**26  # 256 MiB of activations for one chunk of a pair network
_USERS_AT_ONCE = 1024  # user vectors made at once: DMF spreads each user over all items to make one

_OWN_TRAINER = {
    "RecVAE": ("the alternating encoder and decoder updates of RecVAETrainer", "MultiVAE"),
    "RaCT": ("the actor and critic pretraining of RaCTTrainer", "MultiVAE"),
    "NCL": ("the clustering step of NCLTrainer", "SGL or LightGCN"),
}


def _shipped() -> dict[str, type]:
    try:
        package = importlib.import_module(_PACKAGE)
    except ImportError as error:
        raise RoleError(f"RecBole's models need the package {error.name}. Run: pip install {error.name}") from error
    return {
        name: member
        for name, member in vars(package).items()
        if inspect.isclass(member) and issubclass(member, GeneralRecommender) and member is not GeneralRecommender
    }


def general_recommenders() -> list[str]:
    """List the names of all general recommenders that RecBole ships, sorted.

    Raises:
        RoleError: a package that RecBole's models import is missing.
    """
    return sorted(_shipped())


def recommender_class(name: str) -> type:
    """Look up a general recommender of RecBole by its name.

    Raises:
        RoleError: no such model, with the nearest name and all names; a model of another kind
            (sequential, context-aware, knowledge-aware); or a package it needs is missing.
    """
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    for kind in _OTHER_KINDS:
        folder = importlib.util.find_spec(f"recbole.model.{kind}_recommender").submodule_search_locations
        if str(name).lower() in {module.name for module in pkgutil.iter_modules(folder)}:
            kind = kind.replace("_", "-").replace("exlib", "external-library")
            raise RoleError(f"{name} is a {kind} recommender; a role is a general recommender, e.g. BPR or LightGCN")
    spelled = {known.lower(): known for known in shipped}
    nearest = difflib.get_close_matches(str(name).lower(), spelled, n=1, cutoff=0.5)
    hint = f" Did you mean {spelled[nearest[0]]}?" if nearest else ""
    raise RoleError(f"unknown model {name!r}.{hint} Available models: {', '.join(sorted(shipped))}")


def require_teachable(name: str, role: str) -> None:
    """Refuse, before anything is built, a model that cannot learn in a role of bidirectional distillation.

    Args:
        name: the model's name, e.g. `LightGCN`.
        role: `teacher` or `student`, named in the message.

    Raises:
        RoleError: the model has nothing to train by gradient, needs a trainer of its own, or is unknown.
    """
    model_class = recommender_class(name)
    if model_class.type == ModelType.TRADITIONAL or name == "NCEPLRec":  # NCEPLRec solves, yet calls itself GENERAL
        raise RoleError(
            f"{role}: {name} has no parameters to train by gradient; BD's student and teacher both learn. "
            f"Choose e.g. BPR, or use {name} as the teacher of a one-way method (RD, CD or RRD)"
        )
    if name in _OWN_TRAINER:
        need, choice = _OWN_TRAINER[name]
        raise RoleError(f"{role}: {name} needs {need}, which distillation does not run. Choose {choice}")


class _Scores:
    """How one family of models turns users and items into logits: `pairs` as `pair_logits`, `rows` as `all_logits`."""

    pairs: Callable[[Tensor, Tensor], Tensor]
    rows: Callable[[Tensor], Tensor]

    def __init__(self, model: AbstractRecommender):
        self.model = model
        self.shared: tuple[Any, str] | None = None  # object and method to run once per scope: the propagation

    def all_items(self) -> Tensor:
        return torch.arange(self.model.n_items, device=_device(self.model))


class _InnerProduct(_Scores):
    """Logit = user vector . item vector; BPR and LINE, whose vectors are rows of two tables."""

    def user_vectors(self, users: Tensor) -> Tensor:
        return self.model.user_embedding(users)

    def item_vectors(self, items: Tensor) -> Tensor:
        # Always a lookup, never the whole `weight`: lookups keep the padding row of models that have one
        # free of gradient (SimpleX takes a zero row for "no item").
        return self.model.item_embedding(items)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return (self.item_vectors(items) @ self.user_vectors(users).unsqueeze(-1)).squeeze(-1)

    def rows(self, users: Tensor) -> Tensor:
        return self.user_vectors(users) @ self.item_vectors(self.all_items()).T


class _Graph(_InnerProduct):
    """Vectors propagated over the interaction graph by a `forward` that takes no users and items."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = (model, "forward")

    def propagate(self) -> tuple[Tensor, Tensor]:
        return self.model.forward()[:2]

    def user_vectors(self, users: Tensor) -> Tensor:
        return self.propagate()[0][users]

    def item_vectors(self, items: Tensor) -> Tensor:
        return self.propagate()[1][items]


class _SGL(_Graph):
    """SGL scores with the whole graph; its two augmented graphs only serve its own loss."""

    def propagate(self) -> tuple[Tensor, Tensor]:
        return self.model.forward(self.model.train_graph)


class _GCMC(_Graph):
    """GCMC's bilinear decoder, folded into the user side: exact, since it is linear and without dropout.

    The logit is the output of class 1 ("interacted"), by which GCMC ranks, not its difference to class 0.
    """

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = (model.GcEncoder, "forward")

    def propagate(self) -> tuple[Tensor, Tensor]:
        return self.model.GcEncoder(self.model.user_features, self.model.item_features)

    def user_vectors(self, users: Tensor) -> Tensor:
        decoder = self.model.BiDecoder
        bilinear = torch.einsum("b,bij->ij", decoder.dense_layer.weight[1], torch.stack(list(decoder.weights)))
        return super().user_vectors(users) @ bilinear


class _ENMF(_InnerProduct):
    """ENMF weighs each dimension by H, folded into the user side. Its dropout acts in train mode, as in its loss."""

    def user_vectors(self, users: Tensor) -> Tensor:
        return self.model.dropout(self.model.user_embedding(users)) * self.model.H_i.weight


class _SimpleX(_InnerProduct):
    """Cosine of the item and of the user's own vector mixed with their history; both sides normalised."""

    def user_vectors(self, users: Tensor) -> Tensor:
        model = self.model
        history = model.item_emb(model.history_item_id[users])  # [B, H, d]
        mixed = model.get_UI_aggregation(model.user_emb(users), history, model.history_item_len[users])
        return F.normalize(model.dropout(mixed), dim=1)

    def item_vectors(self, items: Tensor) -> Tensor:
        return F.normalize(self.model.item_emb(items), dim=-1)


class _DMF(_InnerProduct):
    """Two towers over the interaction matrix; the item tower runs once over all items, as a sparse product."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = (self, "item_tower")
        matrix = model.interaction_matrix.T.tocoo()
        places = torch.stack([torch.from_numpy(matrix.row).long(), torch.from_numpy(matrix.col).long()])
        values = torch.from_numpy(matrix.data)
        histories = torch.sparse_coo_tensor(places, values, matrix.shape, check_invariants=False)
        self.histories = histories.coalesce()  # [n_items, n_users], sparse

    def item_tower(self) -> Tensor:
        weight = self.model.item_linear.weight
        self.histories = self.histories.to(weight.device)
        return self.model.item_fc_layers(torch.sparse.mm(self.histories, weight.T))

    def user_vectors(self, users: Tensor) -> Tensor:
        return self.model.user_fc_layers(self.model.get_user_embedding(users))

    def item_vectors(self, items: Tensor) -> Tensor:
        return self.item_tower()[items]


class _FISM(_InnerProduct):
    """Sum of the history's vectors times the item's, plus both biases as two more dimensions: exact."""

    def user_vectors(self, users: Tensor) -> Tensor:
        model = self.model
        source = model.item_src_embedding
        # The mask drops the padding of shorter histories; a user without history counts as length 1, not 0 ** -alpha.
        history = F.embedding_bag(
            model.history_item_matrix[users], source.weight, mode="sum", per_sample_weights=model.mask_mat[users]
        )
        scale = model.history_lens[users].clamp(min=1).float().pow(-model.alpha).unsqueeze(1)
        bias = model.user_bias[users].unsqueeze(1)
        return torch.cat([scale * history, bias, torch.ones_like(bias)], dim=1)

    def item_vectors(self, items: Tensor) -> Tensor:
        bias = self.model.item_bias[items].unsqueeze(-1)
        return torch.cat([self.model.item_dst_embedding(items), torch.ones_like(bias), bias], dim=-1)


class _NCEPLRec(_InnerProduct):
    """Closed-form factors kept in float64; nothing to train."""

    def user_vectors(self, users: Tensor) -> Tensor:
        return self.model.user_embeddings[users].float()

    def item_vectors(self, items: Tensor) -> Tensor:
        return self.model.item_embeddings.T[items].float()


_FLOATS_PER_PAIR: dict[str, Callable[[Any], int]] = {  # the activations of one pair, roughly
    "NeuMF": lambda model: 2 * model.mf_embedding_size + 2 * sum(model.mlp_layers.layers),
    "NNCF": lambda model: 2 * model.neigh_num * (model.neigh_embedding_size + model.num_conv_kernel),
    "ConvNCF": lambda model: model.embedding_size**2 * (1 + max(model.cnn_channels)),
    "NAIS": lambda model: model.history_item_matrix.shape[1] * 2 * (model.embedding_size + model.weight_size),
}
_FLOATS_UNKNOWN = 1024


class _PairNetwork(_Scores):
    """A network over pairs whose `forward` gives logits: NeuMF, NNCF, ConvNCF."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.pairs_at_once = max(1, _FLOATS_AT_ONCE // self.floats_per_pair())

    def floats_per_pair(self) -> int:
        return _FLOATS_PER_PAIR[type(self.model).__name__](self.model)

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        return self.model.forward(users, items)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        flat_users, flat_items = users.repeat_interleave(items.shape[1]), items.reshape(-1)
        chunks = zip(flat_users.split(self.pairs_at_once), flat_items.split(self.pairs_at_once), strict=True)
        return torch.cat([self.network(*chunk) for chunk in chunks]).view(items.shape)

    def rows(self, users: Tensor) -> Tensor:
        width = max(1, self.pairs_at_once // max(len(users), 1))
        return torch.cat(
            [self.pairs(users, items.expand(len(users), -1)) for items in self.all_items().split(width)], dim=1
        )


class _NAIS(_PairNetwork):
    """NAIS attends to the history; without any its softmax is 0 / 0, so only the item's bias is left."""

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        known = (self.model.history_lens[users] > 0).nonzero().squeeze(1)
        return self.model.bias[items].index_copy(0, known, self.model.forward(users[known], items[known]))


class _Rows(_Scores):
    """One forward per different user gives the scores of all items; pairs are picked from these rows."""

    row: Callable[[Tensor], Tensor]  # users that do not repeat [U] -> logits [U, n_items]

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        different, place = users.unique(return_inverse=True)
        return self.row(different)[place.unsqueeze(1), items]

    def rows(self, users: Tensor) -> Tensor:
        different, place = users.unique(return_inverse=True)
        return self.row(different)[place]


class _Autoencoder(_Rows):
    """Autoencoders: what the decoder gives, before CDAE's output activation."""

    def row(self, users: Tensor) -> Tensor:
        model = self.model
        name = type(model).__name__
        ratings = model.get_rating_matrix(users)
        more = {"CDAE": (users,), "RecVAE": (getattr(model, "dropout_prob", None),)}.get(name, ())
        output = model.forward(ratings, *more)
        return output[0] if isinstance(output, tuple) else output


class _FullSort(_Rows):
    """The model's own `full_sort_predict`: the diffusion models, closed-form models, third parties."""

    def row(self, users: Tensor) -> Tensor:
        scores = self.model.full_sort_predict(Interaction({self.model.USER_ID: users}))
        return scores.reshape(len(users), -1).to(_device(self.model), torch.float32)


class _ADMMSLIM(_Rows):
    """ADMMSLIM's own scores carry fresh noise at every call to break ties; here they do not."""

    def row(self, users: Tensor) -> Tensor:
        model = self.model
        history = model.interaction_matrix[users.cpu().numpy(), :].toarray()
        center = model.item_means if model.center_columns else 0.0
        scores = (history - center) @ model.item_similarity + center
        return torch.from_numpy(scores).to(_device(model), torch.float32)


class _OneRow(_Scores):
    """The same scores for everyone: Pop counts them; Random draws them, once per scope."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = (self, "draw")

    def draw(self) -> Tensor:
        return torch.rand(self.model.n_items, device=_device(self.model))

    def row(self) -> Tensor:
        if not hasattr(self.model, "item_cnt"):
            return self.draw()
        counts = self.model.item_cnt.squeeze(-1).float()
        return counts / counts.max().clamp(min=1)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return self.row()[items]

    def rows(self, users: Tensor) -> Tensor:
        return self.row().repeat(len(users), 1)  # the caller may mask items in place


class _Predict(_PairNetwork):
    """A third party's model without `full_sort_predict`: its `predict` in chunks of pairs."""

    def floats_per_pair(self) -> int:
        return _FLOATS_UNKNOWN

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        return self.model.predict(Interaction({self.model.USER_ID: users, self.model.ITEM_ID: items}))


_FAMILIES: dict[str, type[_Scores]] = {
    **dict.fromkeys(("BPR", "LINE"), _InnerProduct),
    **dict.fromkeys(("LightGCN", "NGCF", "DGCF", "SpectralCF", "NCL"), _Graph),
    **{"SGL": _SGL, "GCMC": _GCMC, "ENMF": _ENMF, "SimpleX": _SimpleX, "DMF": _DMF, "FISM": _FISM},
    **{"NCEPLRec": _NCEPLRec, "ADMMSLIM": _ADMMSLIM, "Pop": _OneRow, "Random": _OneRow, "NAIS": _NAIS},
    **dict.fromkeys(("NeuMF", "NNCF", "ConvNCF"), _PairNetwork),
    **dict.fromkeys(("CDAE", "MultiDAE", "MultiVAE", "MacridVAE", "RaCT", "RecVAE"), _Autoencoder),
    **dict.fromkeys(("DiffRec", "LDiffRec", "ItemKNN", "AsymKNN", "EASE", "SLIMElastic"), _FullSort),
}


def _family(model: AbstractRecommender) -> type[_Scores]:
    # A subclass or a third party's model of the same name may score otherwise: only RecBole's own classes are known.
    if type(model).__module__.startswith(_PACKAGE + ".") and type(model).__name__ in _FAMILIES:
        return _FAMILIES[type(model).__name__]
    has_rows = type(model).full_sort_predict is not AbstractRecommender.full_sort_predict
    return _FullSort if has_rows else _Predict


def _device(model: AbstractRecommender) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device(model.device) if parameter is None else parameter.device


class Role:
    """One model in one role, with scores as logits and its own loss.

    Users and items are RecBole's internal ids (0 is padding) on the model's device. Outside `step` and
    `scoring` every call propagates anew in the model's current train or eval mode, with gradient.
    Models that draw noise for a score (dropout in train mode; DiffRec with `sampling_noise` or
    `sampling_steps`; Random) draw it anew as well.

    Attributes:
        name: `teacher` or `student`.
        model: RecBole's model.
        config: the configuration the model was built with.
    """

    def __init__(self, name: str, model: AbstractRecommender, config: Any):
        self.name = name
        self.model = model
        self.config = config
        self._scores = _family(model)(model)
        self._results: dict | None = None  # what the open scope has propagated; None outside
        self._is_scoring = False

    @property
    def n_users(self) -> int:
        """Number of users, padding user 0 included."""
        return self.model.n_users

    @property
    def n_items(self) -> int:
        """Number of items, padding item 0 included."""
        return self.model.n_items

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return _device(self.model)

    @property
    def parameter_count(self) -> int:
        """Number of trainable numbers in the model."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def pair_logits(self, users: Tensor, items: Tensor) -> Tensor:
        """Score some items for each user.

        Row models compute [different users, n_items] on the way; pair networks 256 MiB of activations at
        a time (all of them are kept where a gradient is).

        Args:
            users: [B] int64; users may repeat.
            items: [B, K] int64, K items for each of them.

        Returns:
            Logits [B, K], not probabilities.
        """
        with self._fresh():
            return self._scores.pairs(users, items)

    def all_logits(self, users: Tensor) -> Tensor:
        """Score all items for each user, in the order of the model's own full ranking.

        The result takes 4 * B * n_items bytes; pair networks add 256 MiB at a time.

        Args:
            users: [B] int64; users may repeat.

        Returns:
            Logits [B, n_items], not probabilities; column 0 is the padding item.
        """
        with self._fresh():
            return self._scores.rows(users)

    def embeddings(self) -> tuple[Tensor, Tensor] | None:
        """Give the vectors whose inner product is the logit, where the model is of that form.

        Weights and biases that belong to neither side are folded in exactly (ENMF, GCMC, FISM), so the
        width may differ from the model's embedding size. Under autograd unless in `scoring`.

        Returns:
            Users [n_users, d] and items [n_items, d], or None for models that are no inner product.
        """
        if not isinstance(self._scores, _InnerProduct):
            return None
        with self._fresh():
            users = torch.arange(self.n_users, device=self.device).split(_USERS_AT_ONCE)
            user_vectors = torch.cat([self._scores.user_vectors(some) for some in users])
            return user_vectors, self._scores.item_vectors(self._scores.all_items())

    def loss(self, interaction: Interaction) -> Tensor:
        """Compute the model's own training loss on a batch of its own train loader.

        Returns:
            A scalar; the parts of a model that gives several are summed.
        """
        parts = self.model.calculate_loss(interaction)
        return sum(parts).sum() if isinstance(parts, tuple) else parts.sum()

    @contextmanager
    def step(self) -> Iterator["Role"]:
        """Share one propagation between the loss and all scores of a training step, with autograd intact.

        Sum the losses and call `backward` once: they share a graph. After an optimizer step inside the
        scope scores propagate anew. Scopes may be nested.
        """
        with self._sharing():
            yield self

    @contextmanager
    def scoring(self) -> Iterator["Role"]:
        """Score in eval mode without gradient, sharing one propagation, and leave the model as it was found.

        The host's caches are dropped on entry and exit. Modes are restored by flag and not through
        `train()`, which would make SGL draw new graphs in the middle of an epoch.
        """
        if self._is_scoring:
            yield self
            return
        modes = [(module, module.training) for module in self.model.modules()]
        self.forget()
        self._is_scoring = True
        try:
            for module, _ in modes:
                module.training = False
            with torch.no_grad(), self._sharing():
                yield self
        finally:
            self._is_scoring = False
            for module, mode in modes:
                module.training = mode
            self.forget()

    def forget(self) -> None:
        """Drop the embeddings the host keeps between evaluations; what a closed-form model consists of stays."""
        for name in _CACHES:
            if getattr(self.model, name, None) is not None:
                setattr(self.model, name, None)

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Scope of a single call. Scores through `full_sort_predict` must not find the host's old cache."""
        if not self._is_scoring:
            self.forget()
        with self._sharing():
            yield
        if not self._is_scoring:
            self.forget()

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Run the propagation once per mode, grad mode and state of the parameters while the scope is open."""
        if self._results is not None or self._scores.shared is None:
            yield
            return
        owner, method = self._scores.shared
        propagate = getattr(owner, method)
        results = self._results = {}

        def shared(*arguments: Any) -> Any:
            # Ids are safe keys: the entry holds the arguments. Changing a parameter in place raises its version.
            version = sum(parameter._version for parameter in self.model.parameters())
            key = (*map(id, arguments), self.model.training, torch.is_grad_enabled(), version)
            if key not in results:
                results[key] = (arguments, propagate(*arguments))
            return results[key][1]

        # Fused optimizers change parameters without raising the version, hence the hook.
        hook = register_optimizer_step_post_hook(lambda *_: results.clear())
        setattr(owner, method, shared)
        try:
            yield
        finally:
            delattr(owner, method)
            hook.remove()
            self._results = None


def build_role(name: str, config: Any, dataset: Any) -> Role:
    """Build the RecBole model of a role.

    Args:
        name: `teacher`, `student`, or `model` for a baseline.
        config: settings of the role.
        dataset: the training part, from which RecBole models take sizes, graphs and histories.

    Raises:
        RoleError: the model refuses its settings or needs a package that is missing.
    """
    backbone = config["model"]
    try:
        model = recommender_class(backbone)(config, dataset)
    except ImportError as error:
        raise RoleError(f"{name}: {backbone} needs the package {error.name}. Run: pip install {error.name}") from error
    except (ValueError, TypeError, NotImplementedError, AssertionError, KeyError, RuntimeError) as error:
        raise RoleError(
            f"{name}: {backbone} cannot be built with these settings: {' '.join(str(error).split())}"
        ) from error
    return Role(name, model.to(config["device"]), config)

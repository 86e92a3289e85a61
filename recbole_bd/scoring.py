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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn

from recbole_bd.backbones import PACKAGE
from recbole_bd.propagation import CompressedGraph

_FLOATS_CACHED = 2**18  # 1 MiB: activations that stay in a core's cache
# Activations of one chunk of a pair network, in numbers: 8 MiB on a CPU, where more only leave the cache.
_FLOATS_AT_ONCE = {"cpu": 2**21, "cuda": 2**26}


class Scores:
    """How one family of models turns users and items into logits: `pairs` as `pair_logits`, `rows` as `all_logits`."""

    pairs: Callable[[Tensor, Tensor], Tensor]
    rows: Callable[[Tensor, Tensor | None], Tensor]

    propagates = False  # whether a pair's score needs the propagation of the whole model

    def __init__(self, model: AbstractRecommender):
        self.model = model
        self.shared: list[tuple[Any, str]] = []  # objects and methods to run once per scope, such as the propagation

    def graph_rows(self, users: Tensor) -> Tensor:
        """`rows` of all items by the same operations for any number of users, as a graph needs. [B] to [B, n_items]."""
        return self.rows(users, None)

    def all_items(self) -> Tensor:
        """Ids of all items, padding first. [n_items]."""
        return torch.arange(self.model.n_items, device=device_of(self.model))


class InnerProduct(Scores):
    """Logit = user vector . item vector; BPR and LINE, whose vectors are rows of two tables."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = [(self, "item_table")]

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        return self.model.user_embedding(users)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors of items. Any shape to that shape and [d]."""
        # Always a lookup, never the whole `weight`: lookups keep the padding row of models that have one
        # free of gradient (SimpleX takes a zero row for "no item").
        return self.model.item_embedding(items)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users [B]. [B, K]."""
        # Not a batched matrix product, which for few items per user costs three times as much.
        return (self.item_vectors(items) * self.user_vectors(users).unsqueeze(1)).sum(dim=-1)

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Logits of all items, or of the same few [M], for users [B]. [B, n_items] or [B, M]."""
        table = self.item_table()
        return self.user_vectors(users) @ (table if items is None else table[items]).T

    def item_table(self) -> Tensor:
        """Vectors of all items, once per scope. [n_items, d]."""
        return self.item_vectors(self.all_items())


class _Graph(InnerProduct):
    """Vectors propagated over the interaction graph by a `forward` that takes no users and items."""

    propagates = True

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared += [(model, "forward")]

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
        self.shared += [(model.GcEncoder, "forward")]

    def propagate(self) -> tuple[Tensor, Tensor]:
        return self.model.GcEncoder(self.model.user_features, self.model.item_features)

    def user_vectors(self, users: Tensor) -> Tensor:
        decoder = self.model.BiDecoder
        bilinear = torch.einsum("b,bij->ij", decoder.dense_layer.weight[1], torch.stack(list(decoder.weights)))
        return super().user_vectors(users) @ bilinear


class _ENMF(InnerProduct):
    """ENMF weighs each dimension by H, folded into the user side. Its dropout acts in train mode, as in its loss."""

    def user_vectors(self, users: Tensor) -> Tensor:
        return self.model.dropout(self.model.user_embedding(users)) * self.model.H_i.weight


class _SimpleX(InnerProduct):
    """Cosine of the item and of the user's own vector mixed with their history; both sides normalised."""

    def user_vectors(self, users: Tensor) -> Tensor:
        model = self.model
        history = model.item_emb(model.history_item_id[users])  # [B, H, d]
        mixed = model.get_UI_aggregation(model.user_emb(users), history, model.history_item_len[users])
        return F.normalize(model.dropout(mixed), dim=1)

    def item_vectors(self, items: Tensor) -> Tensor:
        return F.normalize(self.model.item_emb(items), dim=-1)


class _DMF(InnerProduct):
    """Two towers over the interaction matrix; the item tower runs once over all items, as a sparse product."""

    propagates = True

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared += [(self, "item_tower")]
        matrix = model.interaction_matrix.T.tocoo()
        places = torch.stack([torch.from_numpy(matrix.row).long(), torch.from_numpy(matrix.col).long()])
        values = torch.from_numpy(matrix.data)
        histories = torch.sparse_coo_tensor(places, values, matrix.shape, check_invariants=False)
        self.histories = CompressedGraph(histories.coalesce().to(device_of(model)))  # [n_items, n_users], sparse

    def item_tower(self) -> Tensor:
        return self.model.item_fc_layers(torch.sparse.mm(self.histories, self.model.item_linear.weight.T))

    def user_vectors(self, users: Tensor) -> Tensor:
        return self.model.user_fc_layers(self.model.get_user_embedding(users))

    def item_vectors(self, items: Tensor) -> Tensor:
        return self.item_tower()[items]


class _FISM(InnerProduct):
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


class _NCEPLRec(InnerProduct):
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


class _PairNetwork(Scores):
    """A network over pairs whose `forward` gives logits: NeuMF, NNCF, ConvNCF.

    RecBole has no ranking of all items for these but sends every pair through `predict`. Here `full_sort_predict` is
    given to the model: the same scores, in chunks that stay in the cache.
    """

    predicts_probabilities = False  # whether the model's `predict` is the sigmoid of its `forward`

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        if type(model).full_sort_predict is AbstractRecommender.full_sort_predict:
            model.full_sort_predict = self.full_sort_predict
        at_once = _FLOATS_AT_ONCE.get(device_of(model).type, _FLOATS_AT_ONCE["cuda"])
        self.pairs_at_once = max(1, at_once // self.floats_per_pair())

    def floats_per_pair(self) -> int:
        return _FLOATS_PER_PAIR[type(self.model).__name__](self.model)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """All items' scores in the unit of the model's `predict`. [B * n_items]."""
        logits = self.rows(interaction[self.model.USER_ID])
        return (logits.sigmoid() if self.predicts_probabilities else logits).view(-1)

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        return self.model.forward(users, items)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        flat_users, flat_items = users.repeat_interleave(items.shape[1]), items.reshape(-1)
        chunks = zip(flat_users.split(self.pairs_at_once), flat_items.split(self.pairs_at_once), strict=True)
        return torch.cat([self.network(*chunk) for chunk in chunks]).view(items.shape)

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        width = max(1, self.pairs_at_once // max(len(users), 1))
        items = self.all_items() if items is None else items
        return torch.cat([self.pairs(users, some.expand(len(users), -1)) for some in items.split(width)], dim=1)

    def graph_rows(self, users: Tensor) -> Tensor:
        """See `Scores`; all pairs at once."""
        items = self.all_items()
        pairs = users.repeat_interleave(len(items)), items.repeat(users.shape[0])
        return self.network(*pairs).view(-1, len(items))


class _NeuMF(_PairNetwork):
    """NeuMF's rows without a pass of every pair through the whole network; exact but for rounding.

    The first layer is linear, so that users and items pass it apart and their halves are added; the product part is a
    matrix product. Only without dropout: in train mode every pair goes through the network.
    """

    predicts_probabilities = True

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = [(self, "item_half")]
        layers = list(model.mlp_layers.mlp_layers)
        self.first, self.rest = layers[1], nn.Sequential(*layers[2:])
        at_once = _FLOATS_CACHED if device_of(model).type == "cpu" else _FLOATS_AT_ONCE["cuda"]
        self.items_at_once = max(1, at_once // self.first.out_features)

    def item_half(self) -> Tensor:
        """What the items add to the first layer, its bias included. [n_items, hidden]."""
        weight = self.first.weight[:, self.model.mlp_embedding_size :]
        return F.linear(self.model.item_mlp_embedding(self.all_items()), weight, self.first.bias)

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        model = self.model
        if model.training and model.dropout_prob:
            return super().rows(users, items)
        item_half = self.item_half() if items is None else self.item_half()[items]
        items = self.all_items() if items is None else items
        weight, bias = model.predict_layer.weight[0], model.predict_layer.bias
        width = model.mf_embedding_size if model.mf_train else 0
        logits = bias.expand(len(users), len(items))
        if model.mf_train:
            logits = logits + (model.user_mf_embedding(users) * weight[:width]) @ model.item_mf_embedding(items).T
        if model.mlp_train:
            halves = F.linear(model.user_mlp_embedding(users), self.first.weight[:, : model.mlp_embedding_size])
            logits = logits + torch.stack([self._deep(half, item_half, weight[width:]) for half in halves])
        return logits

    def _deep(self, user_half: Tensor, item_half: Tensor, weight: Tensor) -> Tensor:
        """The deep part's share of one user's logits. [M]."""
        logits = []
        for part in item_half.split(self.items_at_once):
            hidden = user_half + part
            for layer in self.rest:
                in_place = type(layer) is nn.ReLU and not torch.is_grad_enabled()
                hidden = hidden.relu_() if in_place else layer(hidden)
            logits.append(hidden @ weight)
        return torch.cat(logits)


class _NNCF(_PairNetwork):
    """NNCF, whose `predict` gives probabilities."""

    predicts_probabilities = True


class _NAIS(_PairNetwork):
    """NAIS attends to the history; without any its softmax is 0 / 0, so only the item's bias is left."""

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        known = (self.model.history_lens[users] > 0).nonzero().squeeze(1)
        return self.model.bias[items].index_copy(0, known, self.model.forward(users[known], items[known]))


class _Rows(Scores):
    """One forward per different user gives the scores of all items; pairs are picked from these rows."""

    row: Callable[[Tensor], Tensor]  # users that do not repeat [U] -> logits [U, n_items]

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        different, place = users.unique(return_inverse=True)
        return self.row(different)[place.unsqueeze(1), items]

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        different, place = users.unique(return_inverse=True)
        row = self.row(different)
        return (row if items is None else row[:, items])[place]


class _Autoencoder(_Rows):
    """Autoencoders: what the decoder gives, before CDAE's output activation.

    Where the decoder ends in a linear layer of all items, pairs take the items' columns of it only.
    """

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        outputs = [name for name, layer in linear.items() if layer.out_features == model.n_items]
        self.output_name = outputs[0] if len(outputs) == 1 else None

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        if self.output_name is None:
            return super().pairs(users, items)
        different, place = users.unique(return_inverse=True)
        output = self.model.get_submodule(self.output_name)
        with self._layer(self.output_name, nn.Identity()):
            hidden = self.row(different)[place]
        logits = (F.embedding(items, output.weight) * hidden.unsqueeze(1)).sum(dim=-1)
        return logits if output.bias is None else logits + output.bias[items]

    def row(self, users: Tensor) -> Tensor:
        model = self.model
        ratings = model.get_rating_matrix(users)
        more = (model.dropout_prob,) if type(model).__name__ == "RecVAE" else ()
        output = model.forward(ratings, *more)
        return output[0] if isinstance(output, tuple) else output

    @contextmanager
    def _layer(self, name: str, replacement: nn.Module) -> Iterator[None]:
        """Put another layer in the place of one."""
        path, _, own_name = name.rpartition(".")
        parent, layer = self.model.get_submodule(path), self.model.get_submodule(name)
        setattr(parent, own_name, replacement)
        try:
            yield
        finally:
            setattr(parent, own_name, layer)


class _CDAE(_Autoencoder):
    """CDAE from its users' histories alone: dropout and the first layer leave the zeros of all other items out.

    RecBole ranks from a dense row of every history, so another `full_sort_predict` is given to the model.
    """

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        model.full_sort_predict = self.full_sort_predict
        ids, order = model.history_item_id.sort(dim=1)
        repeated = F.pad(ids[:, 1:] == ids[:, :-1], (1, 0))  # a repeated interaction counts once, as in a dense row
        real = (ids > 0) & ~repeated
        self.items, self.values = ids[real], model.history_item_value.gather(1, order)[real]
        self.counts = real.sum(dim=1)
        self.starts = self.counts.cumsum(0) - self.counts

    def row(self, users: Tensor) -> Tensor:
        model = self.model
        counts = self.counts[users]
        offsets = counts.cumsum(0) - counts
        shift = torch.repeat_interleave(self.starts[users] - offsets, counts)
        places = torch.arange(len(shift), device=shift.device) + shift
        values = model.dropout(self.values[places])
        history = F.embedding_bag(
            self.items[places], model.h_item.weight.T, offsets, per_sample_weights=values, mode="sum"
        )
        return model.out_layer(model.h_act(model.h_user(users) + history + model.h_item.bias))

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """All items' scores in the unit of the model's `predict`. [B * n_items]."""
        return self.model.o_act(self.row(interaction[self.model.USER_ID])).view(-1)


class _FullSort(_Rows):
    """The model's own `full_sort_predict`: the diffusion models, closed-form models, third parties."""

    def row(self, users: Tensor) -> Tensor:
        scores = self.model.full_sort_predict(Interaction({self.model.USER_ID: users}))
        return scores.reshape(len(users), -1).to(device_of(self.model), torch.float32)


class _ADMMSLIM(_Rows):
    """ADMMSLIM's own scores carry fresh noise at every call to break ties; here they do not."""

    def row(self, users: Tensor) -> Tensor:
        model = self.model
        history = model.interaction_matrix[users.cpu().numpy(), :].toarray()
        center = model.item_means if model.center_columns else 0.0
        scores = (history - center) @ model.item_similarity + center
        return torch.from_numpy(scores).to(device_of(model), torch.float32)


class _OneRow(Scores):
    """The same scores for everyone: Pop counts them; Random draws them, once per scope."""

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared = [(self, "draw")]

    def draw(self) -> Tensor:
        return torch.rand(self.model.n_items, device=device_of(self.model))

    def row(self) -> Tensor:
        if not hasattr(self.model, "item_cnt"):
            return self.draw()
        counts = self.model.item_cnt.squeeze(-1).float()
        return counts / counts.max().clamp(min=1)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return self.row()[items]

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        row = self.row() if items is None else self.row()[items]
        return row.repeat(len(users), 1)  # the caller may mask items in place


class _Predict(_PairNetwork):
    """A third party's model without `full_sort_predict`: its `predict` in chunks of pairs."""

    def floats_per_pair(self) -> int:
        return _FLOATS_UNKNOWN

    def network(self, users: Tensor, items: Tensor) -> Tensor:
        return self.model.predict(Interaction({self.model.USER_ID: users, self.model.ITEM_ID: items}))


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


def device_of(model: AbstractRecommender) -> torch.device:
    """Where a model's parameters are."""
    parameter = next(model.parameters(), None)
    return torch.device(model.device) if parameter is None else parameter.device

"""Models whose logit is the inner product of a user's and an item's vector."""

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.acceleration.embedding_gradients import GatheredEmbedding
from recbole_bd.backbones.acceleration.pair_products import pair_products
from recbole_bd.backbones.acceleration.sparse_graphs import CompressedGraph
from recbole_bd.backbones.scoring.base import Scores, device_of


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
        # A lookup, never the whole `weight`: lookups give no gradient to the padding row. SimpleX needs a zero row
        # for "no item".
        return self.model.item_embedding(items)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users [B]. [B, K]."""
        return self.products(self.user_vectors(users), items)

    def products(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users' vectors [B, d]. [B, K]."""
        table = self.looked_up()
        if isinstance(table, GatheredEmbedding):
            return table.products(vectors, items)
        if table is not None:
            return pair_products(vectors, table, items)
        # A batched matrix product costs three times as much for few items per user.
        return (self.item_vectors(items) * vectors.unsqueeze(1)).sum(dim=-1)

    def looked_up(self) -> GatheredEmbedding | Tensor | None:
        """Table whose rows are the items' vectors, if it is at hand: an embedding, or [n_items, d]."""
        if type(self).item_vectors is not InnerProduct.item_vectors:
            return None
        table = self.model.item_embedding
        return table if isinstance(table, GatheredEmbedding) else None

    def rows(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Logits of all items, or of the same few [M], for users [B]. [B, n_items] or [B, M]."""
        table = self.item_table()
        return self.user_vectors(users) @ (table if items is None else table[items]).T

    def item_table(self) -> Tensor:
        """Vectors of all items, computed once per scope. [n_items, d]."""
        return self.item_vectors(self.all_items())


class MFScores(InnerProduct):
    """MF, whose biases are two more dimensions of its vectors."""

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        return self.model.user_vectors(users)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors of items. Any shape to that shape and [d]."""
        return self.model.item_vectors(items)

    def products(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Logits of items [B, K] for users' vectors [B, d], with biases [B, d + 2]. [B, K]."""
        table = self.model.item_embedding
        if not isinstance(table, GatheredEmbedding):
            return super().products(vectors, items)
        if self.model.item_bias is None:
            return table.products(vectors, items)
        of_items, of_user, one = vectors.split([vectors.shape[1] - 2, 1, 1], dim=1)
        return table.products(of_items, items) + of_user + one * self.model.item_bias(items).squeeze(-1)


class GraphConvolution(InnerProduct):
    """Vectors propagated over the interaction graph by a `forward` that takes no users and items."""

    propagates = True

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared += [(model, "forward")]

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Vectors of all users and all items after the propagation. [n_users, d] and [n_items, d]."""
        return self.model.forward()[:2]

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        return self.propagate()[0][users]

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors of items. Any shape to that shape and [d]."""
        return self.looked_up()[items]

    def looked_up(self) -> Tensor:
        """Vectors of all items after the propagation. [n_items, d]."""
        return self.propagate()[1]


class SGLScores(GraphConvolution):
    """SGL scores with the whole graph; its two augmented graphs serve its own loss alone."""

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Vectors of all users and all items after the propagation. [n_users, d] and [n_items, d]."""
        return self.model.forward(self.model.train_graph)


class GCMCScores(GraphConvolution):
    """GCMC's bilinear decoder, folded into the user side: exact, since it is linear and without dropout.

    The logit is the output of class 1 ("interacted"), by which GCMC ranks, not its difference to class 0.
    """

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared += [(model.GcEncoder, "forward")]

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Vectors of all users and all items after the propagation. [n_users, d] and [n_items, d]."""
        return self.model.GcEncoder(self.model.user_features, self.model.item_features)

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        decoder = self.model.BiDecoder
        bilinear = torch.einsum("b,bij->ij", decoder.dense_layer.weight[1], torch.stack(list(decoder.weights)))
        return super().user_vectors(users) @ bilinear


class ENMFScores(InnerProduct):
    """ENMF weighs each dimension by H, folded into the user side. Its dropout acts in train mode, as in its loss."""

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        return self.model.dropout(self.model.user_embedding(users)) * self.model.H_i.weight


class SimpleXScores(InnerProduct):
    """Cosine of the item and of the user's own vector mixed with their history; both sides normalised."""

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        model = self.model
        history = model.item_emb(model.history_item_id[users])  # [B, H, d]
        mixed = model.get_UI_aggregation(model.user_emb(users), history, model.history_item_len[users])
        return F.normalize(model.dropout(mixed), dim=1)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors of items. Any shape to that shape and [d]."""
        return F.normalize(self.model.item_emb(items), dim=-1)


class DMFScores(InnerProduct):
    """Two towers over the interaction matrix; the item tower runs once over all items, as a sparse product."""

    propagates = True

    def __init__(self, model: AbstractRecommender):
        super().__init__(model)
        self.shared += [(self, "item_tower")]
        matrix = model.interaction_matrix.T.tocoo()
        indices = torch.stack([torch.from_numpy(matrix.row).long(), torch.from_numpy(matrix.col).long()])
        values = torch.from_numpy(matrix.data)
        histories = torch.sparse_coo_tensor(indices, values, matrix.shape, check_invariants=False)
        self.histories = CompressedGraph(histories.coalesce().to(device_of(model)))  # [n_items, n_users], sparse

    def item_tower(self) -> Tensor:
        """Vectors of all items, computed once per scope. [n_items, d]."""
        return self.model.item_fc_layers(torch.sparse.mm(self.histories, self.model.item_linear.weight.T))

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        return self.model.user_fc_layers(self.model.get_user_embedding(users))

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors of items. Any shape to that shape and [d]."""
        return self.item_tower()[items]

    def looked_up(self) -> Tensor:
        """Vectors of all items. [n_items, d]."""
        return self.item_tower()


class FISMScores(InnerProduct):
    """Sum of the history's vectors times the item's, plus both biases as two more dimensions: exact."""

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
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
        """Vectors of items. Any shape to that shape and [d]."""
        bias = self.model.item_bias[items].unsqueeze(-1)
        return torch.cat([self.model.item_dst_embedding(items), torch.ones_like(bias), bias], dim=-1)


class NCEPLRecScores(InnerProduct):
    """Closed-form factors kept in float64; nothing to train."""

    def user_vectors(self, users: Tensor) -> Tensor:
        """Vectors of users. [B] to [B, d]."""
        return self.model.user_embeddings[users].float()

    def item_vectors(self, items: Tensor) -> Tensor:
        """Vectors of items. Any shape to that shape and [d]."""
        return self.model.item_embeddings.T[items].float()

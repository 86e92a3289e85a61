"""Layers that read users' histories: rows over all items that are mostly zero, and whose zeros cost nothing here.

Autoencoders of the host take a history as a dense row. A random number for each of its zeros is most of what dropout
costs on a CPU, and a product with each of them most of the first layer. Both give what torch's layers give: the linear
one up to rounding, dropout in distribution, from other random numbers, since zeros draw none.
"""

import numpy as np
import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn

from recbole_bd.backbones.traits import is_recbole_model, traits_of


class HistoryLinear(nn.Linear):
    """A linear layer whose input [B, n] is mostly zero."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, n] to [B, out_features]."""
        # A gradient would have to reach the zeros too; a recorded graph is of operations that every engine has.
        if input.requires_grad or torch.compiler.is_compiling():
            return super().forward(input)
        places = _nonzero(input)
        rows, columns = places // input.shape[1], places % input.shape[1]
        starts = torch.searchsorted(rows, torch.arange(len(input), device=input.device))
        with torch.autocast(input.device.type, enabled=False):  # sums of rows have no half precision
            values = input.reshape(-1)[places].float()
            output = F.embedding_bag(columns, self.weight.T, starts, per_sample_weights=values, mode="sum")
        return output if self.bias is None else output + self.bias


class HistoryDropout(nn.Dropout):
    """Dropout of an input that is mostly zero: only what is not zero draws."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.training or self.p == 0:
            return input
        places = _nonzero(input)
        flat = input.reshape(-1)
        return flat.index_copy(0, places, F.dropout(flat[places], self.p)).view(input.shape)


def read_histories_sparsely(model: AbstractRecommender) -> None:
    """Let an autoencoder of RecBole's own skip the zeros of its input; other models stay as they are.

    Its first layer is the one linear layer with an input of all items; `BackboneTraits` names a dropout before it.
    """
    if not is_recbole_model(model):
        return
    first = [layer for layer in model.modules() if type(layer) is nn.Linear and layer.in_features == model.n_items]
    if len(first) != 1:
        return
    first[0].__class__ = HistoryLinear
    if dropout := traits_of(model).history_dropout:
        getattr(model, dropout).__class__ = HistoryDropout


def _nonzero(rows: Tensor) -> Tensor:
    """Places of what is not zero in the flattened rows. int64, ascending."""
    marked = rows.detach() != 0
    if rows.device.type == "cpu":  # numpy's search takes a quarter of torch's time
        return torch.from_numpy(np.flatnonzero(marked.numpy()))
    return marked.view(-1).nonzero().squeeze(1)

"""Layers for users' histories, rows over all items that are mostly zero, which skip the zeros.

RecBole's autoencoders take a history as a dense row. Random numbers for its zeros are most of the cost of dropout on a
CPU, and products with its zeros most of the cost of the first layer. The linear layer gives the same output up to
rounding. Dropout gives the same distribution from other random numbers, since zeros draw none.

Changes model instances: the first layer gets the class `HistoryLinear`, CDAE's dropout the class `HistoryDropout`.
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
        """Apply the layer. [B, n] to [B, out_features]."""
        # A gradient would also have to reach the zeros. An exported graph needs operations that every engine has.
        if input.requires_grad or torch.compiler.is_compiling():
            return super().forward(input)
        indices = _nonzero(input)
        rows, columns = indices // input.shape[1], indices % input.shape[1]
        starts = torch.searchsorted(rows, torch.arange(len(input), device=input.device))
        with torch.autocast(input.device.type, enabled=False):  # `embedding_bag` has no half precision here
            values = input.reshape(-1)[indices].float()
            output = F.embedding_bag(columns, self.weight.T, starts, per_sample_weights=values, mode="sum")
        return output if self.bias is None else output + self.bias


class HistoryDropout(nn.Dropout):
    """Dropout of an input that is mostly zero: only nonzero values draw."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop out nonzero values. Any shape to the same shape."""
        if not self.training or self.p == 0:
            return input
        indices = _nonzero(input)
        flat = input.reshape(-1)
        return flat.index_copy(0, indices, F.dropout(flat[indices], self.p)).view(input.shape)


def read_histories_sparsely(model: AbstractRecommender) -> None:
    """Let one of RecBole's own autoencoders skip the zeros of its input; other models stay as they are.

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
    """Indices of nonzero values in the flattened rows. int64, ascending."""
    values = rows.detach()
    if values.device.type == "cpu" and values.dtype == torch.float32:  # NumPy takes a quarter of torch's time
        return torch.from_numpy(np.flatnonzero(values.numpy() != 0))
    return values.reshape(-1).nonzero().squeeze(1)

"""One dense gradient per embedding table and step, however often the step looks rows up.

By default each lookup of a batch gives a gradient of the whole table's size, mostly zeros, and these are added up. Here
lookups give their rows only; autograd collects the rows of all lookups, and one node between them and the table adds
them into one array of zeros. The optimizer, clipping and everything else see the same dense gradient; sums may be taken
in another order, so the last bit may differ.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Dense(torch.autograd.Function):
    """The table itself; on the way back the collected rows become one dense gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor) -> Tensor:
        return table.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if not gradient.is_sparse:
            return gradient
        values = gradient._values()
        return values.new_zeros(gradient.shape).index_add_(0, gradient._indices()[0], values)


class GatheredEmbedding(nn.Embedding):
    """An embedding table whose lookups share one node of the graph, and with it one dense gradient."""

    _node: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Rows of the table. Any shape to that shape and [embedding_dim]."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return F.embedding(input, self.weight, self.padding_idx)
        # The node saves nothing, so that it serves every step; only a table that has moved needs another.
        if self._node is None or self._node.data_ptr() != self.weight.data_ptr():
            self._node = _Dense.apply(self.weight)
        return F.embedding(input, self._node, self.padding_idx, sparse=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_node"}


def gather_gradients(model: nn.Module) -> None:
    """Let all plain embedding tables of a model collect the rows of their lookups.

    Args:
        model: any model; tables with `max_norm`, `scale_grad_by_freq` or sparse gradients stay as they are.
    """
    for module in model.modules():
        plain = type(module) is nn.Embedding and module.max_norm is None
        if plain and not module.scale_grad_by_freq and not module.sparse:
            module.__class__ = GatheredEmbedding

"""One dense gradient per embedding table and step, however often the step looks rows up.

By default each lookup of a batch gives a gradient of the whole table's size, mostly zeros, and these are added up. Here
lookups leave their rows with one node between them and the table, which adds all rows into one array of zeros. The
optimizer, clipping and everything else see the same dense gradient; sums may be taken in another order, so the last bit
may differ.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_Left = list[tuple[Tensor, Tensor]]  # ids [n] and the gradients of their rows [n, d], left on the way back


class _Table(torch.autograd.Function):
    """The table itself; on the way back, when every lookup has been there, what they left becomes its gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, left: _Left, padding: int | None) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.left, ctx.padding, ctx.like = left, padding, table
        return table.detach()

    @staticmethod
    def backward(ctx: Any, gradient: None) -> tuple[Tensor, None, None]:
        total = torch.zeros_like(ctx.like)
        for ids, rows in ctx.left:
            total.index_add_(0, ids, rows)
        ctx.left.clear()
        if ctx.padding is not None:
            total[ctx.padding] = 0
        return total, None, None


class _Lookup(torch.autograd.Function):
    """Rows of the table; their gradient is left with its node."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, left: _Left) -> Tensor:
        ctx.ids, ctx.left = ids.reshape(-1), left
        return table.index_select(0, ctx.ids).view(*ids.shape, table.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ctx.left.append((ctx.ids, gradient.reshape(len(ctx.ids), -1)))
        return None, None, None


class GatheredEmbedding(nn.Embedding):
    """An embedding table whose lookups share one node of the graph, and with it one dense gradient."""

    _node: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Rows of the table. Whole numbers of any shape to that shape and [embedding_dim]."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return F.embedding(input, self.weight, self.padding_idx)
        if self._node is None or self._node.data_ptr() != self.weight.data_ptr():  # the table has moved
            self.make_node()
        self._left.clear()  # empty unless a backward pass was broken off
        return _Lookup.apply(self._node, input, self._left)

    def make_node(self) -> None:
        """Make the node, which saves nothing of a step and so serves every step.

        Autograd adds gradients up in the order in which nodes were made. Made before the first step, this one is always
        the eldest, so that a run that goes on with a new process adds in the same order.
        """
        with torch.enable_grad():
            self._left: _Left = []
            self._node = _Table.apply(self.weight, self._left, self.padding_idx)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_node", "_left")}


def gather_gradients(model: nn.Module) -> None:
    """Let all plain embedding tables of a model collect the rows of their lookups.

    Args:
        model: any model; tables with `max_norm`, `scale_grad_by_freq` or sparse gradients stay as they are.
    """
    for module in model.modules():
        plain = type(module) is nn.Embedding and module.max_norm is None
        if plain and not module.scale_grad_by_freq and not module.sparse:
            module.__class__ = GatheredEmbedding
            cast(GatheredEmbedding, module).make_node()

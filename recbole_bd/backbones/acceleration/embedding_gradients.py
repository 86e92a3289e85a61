"""One dense gradient per embedding table and step, however often the step looks rows up.

By default each lookup of a batch gives a gradient of the whole table's size, mostly zeros, and these are added up.
Here one autograd node between the table and its lookups collects the gradients of the rows. It adds them into one
array of zeros. The optimizer and gradient clipping see the same dense gradient. Sums may be taken in another order, so
the last bit may differ.

Changes model instances: embedding tables get the class `GatheredEmbedding`.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_bd.backbones.acceleration.pair_products import Collected, pair_products


class _Table(torch.autograd.Function):
    """Identity of the table whose backward, after that of every lookup, sums up the collected gradients."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, collected: Collected, padding: int | None) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.collected, ctx.padding, ctx.like = collected, padding, table
        return table.detach()

    @staticmethod
    def backward(ctx: Any, gradient: None) -> tuple[Tensor, None, None]:
        total = torch.zeros_like(ctx.like)
        for add in ctx.collected:
            add(total)
        ctx.collected.clear()
        if ctx.padding is not None:
            total[ctx.padding] = 0
        return total, None, None


class _Lookup(torch.autograd.Function):
    """Rows of the table; their gradient is collected for the node of the table."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, collected: Collected) -> Tensor:
        ctx.ids, ctx.collected = ids.reshape(-1), collected
        return table.index_select(0, ctx.ids).view(*ids.shape, table.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        rows = gradient.reshape(len(ctx.ids), gradient.shape[-1])
        ctx.collected.append(lambda total: total.index_add_(0, ctx.ids, rows))
        return None, None, None


class GatheredEmbedding(nn.Embedding):
    """Embedding table whose lookups share one autograd node, and so one dense gradient."""

    _node: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Look up rows of the table. int64 of any shape to that shape and [embedding_dim]."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return F.embedding(input, self.weight, self.padding_idx)
        return _Lookup.apply(self._ready_node(), input, self._collected)

    def products(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Inner product of each vector with some rows of the table. [B, embedding_dim] and int64 [B, K] to [B, K]."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return pair_products(vectors, self.weight, ids)
        if ids.device.type != "cpu":  # a plain lookup there; additions of its gradient need no sort
            return (self(ids) * vectors.unsqueeze(1)).sum(dim=-1)
        return pair_products(vectors, self._ready_node(), ids, self._collected)

    def _ready_node(self) -> Tensor:
        """The node for a new lookup."""
        if self._node is None or self._node.data_ptr() != self.weight.data_ptr():  # the table moved to another device
            self.make_node()
        self._collected.clear()  # empty unless a backward pass was interrupted
        return cast(Tensor, self._node)

    def make_node(self) -> None:
        """Create the node. It saves nothing of a step, so it serves every step.

        Autograd adds gradients in the order in which nodes were created. Created before the first step, this node is
        always the oldest, so a resumed run adds in the same order. It runs on the stream on which it was created.
        """
        self._node = None  # lets go of the node that adds to `weight.grad`, which keeps its stream too
        with torch.enable_grad():
            self._collected: Collected = []
            self._node = _Table.apply(self.weight, self._collected, self.padding_idx)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_node", "_collected")}


def gather_gradients(model: nn.Module) -> None:
    """Let all plain embedding tables of a model collect the gradients of their lookups.

    Args:
        model: any model; tables with `max_norm`, `scale_grad_by_freq` or sparse gradients stay as they are.
    """
    for module in model.modules():
        plain = type(module) is nn.Embedding and module.max_norm is None
        if plain and not module.scale_grad_by_freq and not module.sparse:
            module.__class__ = GatheredEmbedding
            cast(GatheredEmbedding, module).make_node()


def renew_nodes(model: nn.Module) -> None:
    """Create the nodes of a model's tables anew, on the current stream; call it between two steps.

    Args:
        model: a model after `gather_gradients`.
    """
    for module in model.modules():
        if isinstance(module, GatheredEmbedding):
            module.make_node()

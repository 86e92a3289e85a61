"""Inner products of each user's vector with those of a few items, without an array of the items' vectors.

Looking up K vectors for each of B rows makes an array of B x K x d numbers, and its gradient a second one. On a CPU,
reading and writing these arrays takes most of the time. Here a product masked by a sparse pattern reads each vector
where it lies. Sums may be taken in another order, so the last bits may differ.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Ids [n] and the gradients of their rows [n, d], collected during backward in the place of a gradient of the table.
Collected = list[tuple[Tensor, Tensor]]


def pair_products(vectors: Tensor, table: Tensor, items: Tensor, collected: Collected | None = None) -> Tensor:
    """Inner product of each row's vector with the vectors of its items.

    Args:
        vectors: [B, d].
        table: [n_items, d], vectors of all items.
        items: int64 [B, K], rows of the table.
        collected: receives the gradient of the items' rows, so that none of the size of the table is made.

    Returns:
        float32 [B, K].
    """
    if vectors.device.type != "cpu":
        return (F.embedding(items, table) * vectors.unsqueeze(1)).sum(dim=-1)
    return _PairProducts.apply(vectors.float(), table.float(), items, collected)


class _PairProducts(torch.autograd.Function):
    """Product of two dense matrices at a few places; the gradient of the vectors needs no array of B x K x d either."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, table: Tensor, items: Tensor, collected: Collected | None) -> Tensor:
        ctx.save_for_backward(vectors, table, items)
        ctx.collected = collected
        rows, count = items.shape
        if not items.numel():
            return vectors.new_zeros(items.shape)
        begins = torch.arange(0, rows * count + 1, count)
        pattern = torch.sparse_csr_tensor(
            begins, items.reshape(-1), torch.zeros(rows * count), (rows, len(table)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pattern, vectors, table.T, beta=0.0).values().view(items.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        vectors, table, items = ctx.saved_tensors
        of_vectors = of_table = None
        if ctx.needs_input_grad[0]:
            of_vectors = F.embedding_bag(items, table, mode="sum", per_sample_weights=gradient.contiguous())
        if ctx.needs_input_grad[1]:
            ids, rows = items.reshape(-1), (gradient.unsqueeze(2) * vectors.unsqueeze(1)).view(-1, vectors.shape[1])
            if ctx.collected is None:
                of_table = torch.zeros_like(table).index_add_(0, ids, rows)
            else:
                ctx.collected.append((ids, rows))
        return of_vectors, of_table, None, None

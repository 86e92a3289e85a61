"""Inner products of each user's vector with those of a few items, without an array of the items' vectors.

Looking up K vectors for each of B rows makes an array of B x K x d numbers, and its gradient a second one. On a CPU,
reading and writing these arrays takes most of the time. Here a product masked by a sparse pattern reads each vector
where it lies. Sums may be taken in another order, so the last bits may differ.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_bd.system.block_sizes import rows_at_once

# What a backward pass adds to the gradient of a table, [n_items, d], later and all at once.
Collected = list[Callable[[Tensor], Any]]
# With fewer numbers in a vector, a pair of the masked product takes ten times as long. Up to so many, gradients of
# items that repeat are faster by column.
_NARROW = 8
# Items that repeat more often than this, on average, are summed up item by item.
_OFTEN = 2
# Numbers of a part of the gradient that are in memory at a time: 2 MiB stay in the cache.
_NUMBERS_AT_ONCE = {"cpu": 2**19, "cuda": 2**19}


def pair_products(vectors: Tensor, table: Tensor, items: Tensor, collected: Collected | None = None) -> Tensor:
    """Inner product of each row's vector with the vectors of its items.

    Args:
        vectors: [B, d].
        table: [n_items, d], vectors of all items.
        items: int64 [B, K], rows of the table.
        collected: receives the gradient of the table as an addition, so that no array of its size is made.

    Returns:
        float32 [B, K].
    """
    if vectors.device.type != "cpu" or not items.numel():
        return (F.embedding(items, table) * vectors.unsqueeze(1)).sum(dim=-1)
    return _PairProducts.apply(vectors.float(), table.float(), items, collected)


class _PairProducts(torch.autograd.Function):
    """Product of two dense matrices at a few places; the gradient of the vectors needs no array of B x K x d either."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, table: Tensor, items: Tensor, collected: Collected | None) -> Tensor:
        ctx.save_for_backward(vectors, table, items)
        ctx.collected = collected
        rows, count = items.shape
        if count > len(table):  # more than a pattern can hold
            return (vectors @ table.T).gather(1, items.long())
        if (missing := _NARROW - vectors.shape[1]) > 0:
            if items.numel() <= len(table):
                return torch.bmm(F.embedding(items, table), vectors.unsqueeze(2)).squeeze(2)
            vectors, table = (F.pad(numbers, (0, missing)) for numbers in (vectors, table))
        begins = torch.arange(0, rows * count + 1, count, dtype=items.dtype)
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
            add = partial(_addition(vectors.shape[1], items.numel() / len(table)), gradient, vectors, items)
            if ctx.collected is None:
                of_table = torch.zeros_like(table)
                add(of_table)
            else:
                ctx.collected.append(add)
        return of_vectors, of_table, None, None


def _addition(width: int, repeats: float) -> Callable[..., None]:
    """The fastest way to add up gradients, for vectors of a width and items that repeat so often on average."""
    if width <= _NARROW:
        return _add_outer_by_column if repeats > 1 else _add_outer
    return _add_outer_by_item if repeats > _OFTEN else _add_outer


def _add_outer(gradient: Tensor, vectors: Tensor, items: Tensor, total: Tensor) -> None:
    """Add each logit's gradient times its row's vector to the item's row of `total`."""
    room = torch.empty(0)
    for some, of_rows, ids in _parts(items.shape[1] * vectors.shape[1], gradient, vectors, items):
        room.resize_(*ids.shape, vectors.shape[1])
        torch.mul(some.unsqueeze(2), of_rows.unsqueeze(1), out=room)
        total.index_add_(0, ids.reshape(-1), room.view(-1, vectors.shape[1]))


def _add_outer_by_column(gradient: Tensor, vectors: Tensor, items: Tensor, total: Tensor) -> None:
    """Do as `_add_outer`, one column of the vectors at a time: half the time for narrow vectors and repeated items."""
    sums = torch.zeros(total.shape[1], total.shape[0])
    room = torch.empty(0)
    for some, of_rows, ids in _parts(items.shape[1], gradient, vectors, items):
        room.resize_(ids.shape)
        for column, of_column in enumerate(sums):
            torch.mul(some, of_rows[:, column : column + 1], out=room)
            of_column.scatter_add_(0, ids.reshape(-1).long(), room.view(-1))
    total += sums.T


def _add_outer_by_item(gradient: Tensor, vectors: Tensor, items: Tensor, total: Tensor) -> None:
    """Do as `_add_outer`, all logits of an item at a time: less than half the time where items repeat often."""
    bits = (items.numel() - 1).bit_length()
    keys = (items.reshape(-1).long() << bits) | torch.arange(items.numel())
    keys.numpy().sort()  # NumPy sorts in a tenth of torch's time
    places = keys & (1 << bits) - 1
    counts = torch.bincount(items.reshape(-1), minlength=len(total))
    weights = gradient.reshape(-1).index_select(0, places)
    rows = places.div_(items.shape[1], rounding_mode="floor")
    total += F.embedding_bag(rows, vectors, counts.cumsum(0) - counts, mode="sum", per_sample_weights=weights)


def _parts(width: int, *tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """A few rows of each table at a time, for a step that makes `width` numbers of a row."""
    rows = rows_at_once(_NUMBERS_AT_ONCE, tables[0].device, width)
    return zip(*(table.split(rows) for table in tables), strict=True)

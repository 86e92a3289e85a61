"""Sparse matrices of graph models as CSR: the same products in a fifth to a thirtieth of the time.

RecBole keeps its graphs as COO. Their product runs entry by entry on a CPU, and their gradient transposes the matrix
in every step. Mixed precision cannot multiply them on a GPU. Here the matrix and its transpose are converted to CSR
once. Sums are taken in another order, so the last bits may differ.

Changes model instances: sparse attributes of RecBole's own models become `CompressedGraph` objects.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.traits import is_recbole_model

_REDUCED = (torch.float16, torch.bfloat16)  # dtypes of dense matrices under mixed precision


class _Product(torch.autograd.Function):
    """Constant sparse matrix times dense matrix."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, graph: "CompressedGraph") -> Tensor:
        ctx.graph = graph
        return _multiply(graph.rows, dense)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _multiply(ctx.graph.columns, gradient.contiguous()), None


def _multiply(rows: Tensor, dense: Tensor) -> Tensor:
    with torch.autocast(dense.device.type, enabled=False):  # sparse products have no half precision
        return torch.sparse.mm(rows, dense)


class CompressedGraph:
    """Sparse matrix whose `torch.sparse.mm` uses CSR; every other operation sees the COO matrix itself.

    Args:
        matrix: sparse COO [n, m], without gradient.

    Attributes:
        rows: the matrix as CSR [n, m].
        columns: its transpose as CSR [m, n]; the same object where the matrix is symmetric.
    """

    def __init__(self, matrix: Tensor):
        self.matrix = matrix
        self.rows = _rows(matrix)
        turned = _rows(matrix.t())
        self.columns = self.rows if _equal(self.rows, turned) else turned

    @classmethod
    def __torch_function__(
        cls, function: Callable, types: Iterable[type], arguments: tuple = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        if function is torch.sparse.mm and not named and isinstance(arguments[0], cls):
            graph, dense = arguments
            if dense.layout is torch.strided and dense.dtype in {graph.rows.dtype, *_REDUCED}:
                return _Product.apply(dense.to(graph.rows.dtype), graph)
        plain = [argument.matrix if isinstance(argument, cls) else argument for argument in arguments]
        return function(*plain, **(named or {}))

    def __reduce__(self) -> tuple:
        return type(self), (self.matrix,)  # torch can neither copy nor pickle compressed rows

    def __getattr__(self, name: str) -> Any:
        if name == "matrix" or name.startswith("__"):  # an unfinished copy has no matrix yet
            raise AttributeError(name)
        return getattr(self.matrix, name)


def compress_graphs(model: AbstractRecommender) -> None:
    """Convert the sparse matrices of RecBole's own models; other models stay as they are."""
    if not is_recbole_model(model):
        return
    for name, value in list(vars(model).items()):
        is_sparse = isinstance(value, Tensor) and value.layout is torch.sparse_coo and value.dim() == 2
        if is_sparse and not value.requires_grad:
            setattr(model, name, CompressedGraph(value))


def _rows(matrix: Tensor) -> Tensor:
    rows = matrix.coalesce().to_sparse_csr()
    # The library of the product uses 32-bit indices: wider ones would be converted at every call.
    return torch.sparse_csr_tensor(
        rows.crow_indices().int(), rows.col_indices().int(), rows.values(), rows.shape, check_invariants=False
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    parts = (Tensor.crow_indices, Tensor.col_indices, Tensor.values)
    return one.shape == other.shape and all(torch.equal(part(one), part(other)) for part in parts)

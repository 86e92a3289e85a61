"""Graph models' sparse matrices in compressed rows, both ways round: the same products for a fifth to a thirtieth.

RecBole keeps its graphs as lists of places, whose product runs over one entry after the other on a CPU, whose gradient
turns the matrix round anew in every step, and which mixed precision cannot multiply on a GPU. Here the matrix is
compressed once and so is its transpose; sums are taken in another order, so the last bits may differ.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.traits import is_recbole_model

_REDUCED = (torch.float16, torch.bfloat16)  # what mixed precision makes of a dense matrix


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
    """Stands in for a sparse matrix: `torch.sparse.mm` takes compressed rows, all else sees the matrix itself.

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
        if name == "matrix" or name.startswith("__"):  # a copy in the making has none; protocols are this class's own
            raise AttributeError(name)
        return getattr(self.matrix, name)


def compress_graphs(model: AbstractRecommender) -> None:
    """Compress the graphs that a model of RecBole's own keeps as sparse matrices; others stay as they are."""
    if not is_recbole_model(model):
        return
    for name, value in list(vars(model).items()):
        is_sparse = isinstance(value, Tensor) and value.layout is torch.sparse_coo and value.dim() == 2
        if is_sparse and not value.requires_grad:
            setattr(model, name, CompressedGraph(value))


def _rows(matrix: Tensor) -> Tensor:
    rows = matrix.coalesce().to_sparse_csr()
    # 32 bits for places are what the product's library works with: wider ones are converted at every call.
    return torch.sparse_csr_tensor(
        rows.crow_indices().int(), rows.col_indices().int(), rows.values(), rows.shape, check_invariants=False
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    parts = (Tensor.crow_indices, Tensor.col_indices, Tensor.values)
    return one.shape == other.shape and all(torch.equal(part(one), part(other)) for part in parts)

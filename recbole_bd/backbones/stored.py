"""Size of a model's state. A closed-form model keeps its state in attributes; its one parameter is RecBole's dummy."""

from typing import Any

import numpy as np
from recbole.model.abstract_recommender import AbstractRecommender
from scipy import sparse
from torch import Tensor

from recbole_bd.backbones.traits import traits_of


def numbers_in(value: Any) -> int:
    """Numbers in a tensor, an array or a sparse matrix; 0 for anything else."""
    if isinstance(value, Tensor):
        return value.numel()
    return value.nnz if sparse.issparse(value) else value.size if isinstance(value, np.ndarray) else 0


def stored_bytes(model: AbstractRecommender) -> int:
    """Bytes of a model's state in memory; of a closed-form model, of the tensors and matrices that it stores.

    Args:
        model: RecBole's model.
    """
    kept = vars(model) if traits_of(model).closed_form else model.state_dict()
    return sum(map(_bytes_in, kept.values()))


def _bytes_in(value: Any) -> int:
    """Bytes of a tensor, an array or a sparse matrix, the latter with the places of its numbers; 0 for others."""
    if sparse.issparse(value):
        rows = value.tocsr()
        return rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes
    return value.nbytes if isinstance(value, Tensor | np.ndarray) else 0

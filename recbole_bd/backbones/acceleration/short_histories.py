"""Histories without the padding behind them: rows of like lengths are scored together, in arrays of their length.

RecBole fills all histories up to MAX_ITEM_LIST_LENGTH. Most are far shorter, so that a recurrent or attentive layer
spends most of its time on padding. Where padding does not change a history's vector, it is left out. Outputs are the
same up to rounding. Dropout gives the same distribution from other random numbers, since padding draws none.

Changes model instances: models of `BackboneTraits.skips_padding` get a `forward`.
"""

from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_bd.backbones.traits import is_recbole_model, traits_of

# Width of the shortest array. Each wider one is twice as wide, so that less than half of an array is padding.
_NARROWEST = 4


def skip_padding(model: AbstractRecommender) -> None:
    """Let one of RecBole's own sequential models skip the padding of histories; other models stay as they are."""
    if is_recbole_model(model) and traits_of(model).skips_padding:
        model.forward = _ShortHistories(model.forward)


class _ShortHistories:
    """A forward that takes rows of like lengths one after the other.

    Args:
        forward: gives the vectors [B, d] of histories [B, L] and of further columns [B], if the model has any.
    """

    def __init__(self, forward: Any):
        self._forward = forward

    def __call__(self, histories: Tensor, *columns: Tensor) -> Tensor:
        """The vectors of histories. int64 [B, L] and columns [B] to [B, d]."""
        # On a GPU looking at lengths would wait for it, and an exported graph has one length.
        if histories.device.type != "cpu" or torch.compiler.is_compiling():
            return self._forward(histories, *columns)
        order, widths = _by_width(histories)
        if len(widths) == 1:
            return self._forward(histories[:, : widths[0][0]], *columns)
        vectors = []
        for (width, _), rows in zip(widths, order.split([count for _, count in widths]), strict=True):
            own = (column.index_select(0, rows) for column in columns)
            vectors.append(self._forward(histories[:, :width].index_select(0, rows), *own))
        places = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        return torch.cat(vectors).index_select(0, places)


def _by_width(histories: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Sort rows by the width of the array that holds them.

    Args:
        histories: int64 [B, L]; 0 is no item.

    Returns:
        The rows in order, int64 [B]; and each width with its number of rows, the narrowest first.
    """
    length = histories.shape[1]
    bounds = [length]
    while bounds[0] > 2 * _NARROWEST:
        bounds.insert(0, (bounds[0] + 1) // 2)
    lengths = ((histories != 0) * torch.arange(1, length + 1)).amax(dim=1)
    numbers = torch.searchsorted(torch.tensor(bounds), lengths)
    counts = torch.bincount(numbers, minlength=len(bounds)).tolist()
    order = torch.argsort(numbers, stable=True)
    return order, [(width, count) for width, count in zip(bounds, counts, strict=True) if count]

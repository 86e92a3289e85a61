"""Ranks of all unseen items for chunks of users.

Rank 1 is the best. Padding and the user's training items are not ranked.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_bd.sampler.order import Order, order_of
from recbole_bd.sampler.seen_items import Indices, of_rows, require_numbers
from recbole_bd.sampler.top_lists import mask_excluded

RANK_METHODS = ("binned", "exact")
# A bin has three items on average, and there are at least this many bins. Items of bins with more items than the
# tolerance are sorted, so the error of a binned rank is at most (tolerance - 1) / 2.
_LEAST_BINS = 2**14
BIN_TOLERANCE = 65
# Largest number of columns that cost less to sort than to count.
FEW_COLUMNS = 8192


class Ranks:
    """Ranks of the items of a chunk of users. Ties share their mean rank, so ranks do not depend on item ids.

    Working memory is about four arrays of the shape of `scores`; at most two are kept.

    Args:
        scores: logits [C, n_items], or [C, M]; infinite ones rank at the ends.
        excluded: row and column indices of the items that are not ranked.
        method: `exact` sorts, and so does `binned` where there are few items. Else `binned` counts scores in equal bins
            between each row's extremes; items of a bin share their mean rank. Its error is (BIN_TOLERANCE - 1) / 2 = 32
            positions at most, and about one on average. Fuller bins and rows with infinite scores are sorted.
        whose: name of the role, for the error.
        column_weights: float32 [C, M], number of items each column represents, 0 at excluded indices; None for one
            each. The error bound of binned ranks is then multiplied by the row's largest weight.
        order: gives the order of all columns, for uses that share it; read where `binned` sorts few items.

    Raises:
        DataError: a score is NaN.
        ValueError: unknown method.
    """

    def __init__(
        self,
        scores: Tensor,
        excluded: Indices,
        method: str = "binned",
        whose: str = "a model",
        column_weights: Tensor | None = None,
        order: Callable[[], Order] | None = None,
    ):
        if method not in RANK_METHODS:
            raise ValueError(f"ranks={method!r}: must be one of {', '.join(RANK_METHODS)}")
        scores = scores.float()
        self.shape = scores.shape
        top, low = scores.amax(dim=1, keepdim=True), scores.amin(dim=1, keepdim=True)
        require_numbers(top, whose)
        self._all: Tensor | None = None
        if method == "exact":
            self._all = _exact_ranks(scores, excluded, column_weights)
        elif column_weights is None and scores.shape[1] <= FEW_COLUMNS:
            found = order() if order else order_of(mask_excluded(scores, excluded, whose), scores.shape[1])
            self._all = _ranks_by_order(scores, excluded, found)
        else:
            self._count(scores, top, low, excluded, column_weights)

    def _count(
        self, scores: Tensor, top: Tensor, low: Tensor, excluded: Indices, column_weights: Tensor | None
    ) -> None:
        n_rows, n_bins = len(scores), max(scores.shape[1] // 3, _LEAST_BINS)
        scale = (n_bins - 1) / (top - low)
        # False where all scores are equal, one is infinite, or their spread is so small that the scale overflows.
        countable = torch.isfinite(scale) & (scale > 0)
        # Bin 0 holds the best scores; excluded items have a separate bin after all others.
        bins = (top - scores).mul_(scale)
        if not countable.all():
            bins.masked_fill_(~countable, 0)
        starts = torch.arange(n_rows, dtype=torch.int32, device=scores.device).unsqueeze(1) * (n_bins + 1)
        bins = bins.to(torch.int32).add_(starts)
        bins[excluded] = starts.squeeze(1)[excluded[0]] + n_bins
        self._bins = bins.view(-1)
        weights = None if column_weights is None else column_weights.reshape(-1)
        counts = torch.bincount(self._bins, weights, minlength=n_rows * (n_bins + 1)).view(n_rows, n_bins + 1)
        # Mean rank of a bin = items up to its end - (items in it - 1) / 2
        self._means = counts.cumsum(dim=1).float().sub_(counts, alpha=0.5).add_(0.5)
        self._means[:, n_bins] = torch.nan
        most = BIN_TOLERANCE * (
            torch.ones_like(top) if column_weights is None else column_weights.amax(dim=1, keepdim=True)
        )
        if ((counts[:, :n_bins].amax(dim=1, keepdim=True) > most) & countable).any():
            crowded = (counts > most) & countable
            crowded[:, n_bins] = False
            self._all = self.everywhere()
            self._rank_within(crowded.view(-1), scores.reshape(-1), weights)
        uncounted = ~countable.squeeze(1)
        if uncounted.any():
            of_uncounted = None if column_weights is None else column_weights[uncounted]
            self._all = self.everywhere()
            self._all[uncounted] = _exact_ranks(scores[uncounted], of_rows(excluded, uncounted), of_uncounted)

    def _rank_within(self, crowded: Tensor, scores: Tensor, weights: Tensor | None) -> None:
        """Replace the mean ranks of items in crowded bins by exact ranks, with one sort for all of them."""
        assert self._all is not None
        flat_indices = crowded.index_select(0, self._bins).nonzero().squeeze(1)
        flat_indices = flat_indices[scores[flat_indices].argsort(descending=True)]
        flat_indices = flat_indices[self._bins[flat_indices].argsort(stable=True)]
        bins, ordered = self._bins[flat_indices], scores[flat_indices]
        of_each = torch.ones_like(ordered) if weights is None else weights[flat_indices]
        new_bin = bins.diff() != 0
        new_score = new_bin | (ordered.diff() != 0)
        # Items of equal score share their mean rank: the bin's mean, moved by the distance between the two middles.
        self._all.view(-1)[flat_indices] += (_middles(new_score, of_each) - _middles(new_bin, of_each)).float()

    def everywhere(self) -> Tensor:
        """Ranks of all items, float32 [C, n_items]; 1 is best, NaN at excluded items. Copy before changing it."""
        if self._all is not None:
            return self._all
        return self._means.view(-1).index_select(0, self._bins).view(self.shape)

    def at(self, flat_indices: Tensor) -> Tensor:
        """Ranks at some flat indices.

        Args:
            flat_indices: int64 [C, K], `row * n_items + item`.

        Returns:
            float32 [C, K], 1 is best; NaN at excluded items.
        """
        if self._all is not None:
            return self._all.view(-1).take(flat_indices)
        return self._means.view(-1).index_select(0, self._bins.take(flat_indices).view(-1)).view(flat_indices.shape)


def _middles(begins: Tensor, of_each: Tensor) -> Tensor:
    """Middle of each element's group in the running count.

    Args:
        begins: bool [N - 1], whether the next element begins a new group.
        of_each: [N], weight of each element.
    """
    groups = torch.nn.functional.pad(begins.cumsum(dim=0), (1, 0))
    sizes = torch.zeros(int(groups[-1]) + 1, dtype=torch.float64, device=groups.device)
    sizes.index_add_(0, groups, of_each.double())
    return (sizes.cumsum(dim=0) - sizes / 2)[groups]


def _ranks_by_order(scores: Tensor, excluded: Indices, order: Order) -> Tensor:
    """Positions in the order of the scores; exact ranks in rows with many equal scores."""
    places = torch.arange(1.0, scores.shape[1] + 1, device=scores.device)
    ranks = torch.empty_like(scores).scatter_(1, order.columns.long(), places.expand_as(scores))
    ranks[excluded] = torch.nan
    equal = ~order.clear
    if equal.any():
        ranks[equal] = _exact_ranks(scores[equal], of_rows(excluded, equal), None)
    return ranks


def _exact_ranks(scores: Tensor, excluded: Indices, column_weights: Tensor | None) -> Tensor:
    # Sort by the negated score: the best comes first. Excluded items are +inf there, so they come last; `last` below
    # leaves them out of the ties of scores of -inf.
    negated = -scores
    infinite = negated == torch.inf
    infinite[excluded] = False
    negated[excluded] = torch.inf
    ordered, order = negated.sort(dim=1)
    first = torch.searchsorted(ordered, negated, right=False)
    last = torch.searchsorted(ordered, negated, right=True)
    if infinite.any():
        rankable = scores.shape[1] - torch.bincount(excluded[0], minlength=len(scores)).unsqueeze(1)
        last = torch.where(infinite, rankable, last)
    if column_weights is not None:  # counts of columns become counts of the items they represent
        counted = torch.nn.functional.pad(column_weights.gather(1, order).double().cumsum(dim=1), (1, 0))
        first, last = counted.gather(1, first), counted.gather(1, last)
    ranks = (first + 1 + last).float() / 2
    ranks[excluded] = torch.nan
    return ranks

"""Weights of items, and draws in proportion to them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from recbole_bd.sampler.direction import STEEPEST
from recbole_bd.sampler.seen_items import Indices, of_rows

# Ranks beyond the number of draws without replacement, in temperatures, that a draw from the head can reach: fewer than
# one item in 10,000 would come from further down.
_HEAD_TEMPERATURES = 10


def head_length(temperature: float, distinct: int = 0) -> int:
    """Length of the head from which draws are those from the whole list, but for one in 10,000 at most.

    Args:
        temperature: of the draw, p(rank r) proportional to exp(-r / temperature).
        distinct: how many items are drawn without replacement; 0 for draws with replacement.

    Returns:
        Number of ranks.
    """
    return distinct + math.ceil(_HEAD_TEMPERATURES * temperature)


def draw_positions(lengths: Tensor, count: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw positions of a list with replacement, p(rank r) proportional to exp(-r / temperature).

    Args:
        lengths: int64 [B], how many items each row's list has; at least 1.
        count: positions per row.
        temperature: above 0; the smaller, the nearer the draws are to the best item.
        generator: random generator.

    Returns:
        int64 [B, count], from 0, the place of the best item.
    """
    lengths = lengths.unsqueeze(1)
    uniform = torch.rand(len(lengths), count, dtype=torch.float64, generator=generator, device=lengths.device)
    # Inverse of the cumulative distribution: p(position < n) = (1 - exp(-n / T)) / (1 - exp(-length / T))
    uniform.mul_(torch.expm1(lengths.double() / -temperature)).log1p_().mul_(-temperature)
    return torch.minimum(uniform.long(), lengths - 1)


def draw_head(lists: Tensor, count: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw items without replacement, one after another with p(rank r) proportional to exp(-r / temperature).

    The items with the largest -r / temperature + g, g from the standard Gumbel distribution, are such a draw.

    Args:
        lists: [n, H] items in order, the best first; zeros, at the end, are never drawn.
        count: items per row.
        temperature: above 0; the smaller, the nearer the draw is to the first `count` items.
        generator: random generator.

    Returns:
        [n, min(count, H)] of the type of `lists`, in the order of the list; zeros where it has no more.
    """
    keys = torch.empty(lists.shape, device=lists.device).exponential_(generator=generator).log_().neg_()
    keys -= torch.arange(lists.shape[1], device=lists.device) / temperature
    keys[lists == 0] = -torch.inf
    positions = keys.topk(min(count, lists.shape[1]), dim=1).indices
    return lists.gather(1, positions.sort(dim=1).values)


# Below this tanh(x) is x, but for less than one part in a million.
_FLAT = 1e-3


def discrepancy_weights(difference: Tensor, shape: str, greatest: Tensor | float) -> Tensor:
    """Unnormalised probability of items by how much higher the guide ranks them than the learner.

    tanh(max(x, 0)) or exp(x) with x = (rank_learner - rank_guide) * eps   (BD, WWW 2021, Eq. 8 and 9; there the student
    learns with tanh, the teacher with exp). The public code uses positions that ascend with the score in the same
    formulas, which turns the difference round: `rank_order="reference"`, a negative `Direction.scale`.

    Args:
        difference: [C, K], x; changed in place.
        shape: `tanh` or `exp`.
        greatest: a number, or [C, 1], that no x is above; exp is divided by its exponential, so that it does not
            overflow, and tanh of a small one is taken for x.

    Returns:
        float32 [C, K] in [0, 1]; NaN where x is NaN.
    """
    # tanh(x) = 2 sigmoid(2 x) - 1 and exp(x) = 2 ** (x / ln 2) take a quarter of the time of tanh and exp.
    if shape == "tanh":
        difference.clamp_(min=0)
        # ... but lose a small x, which tanh leaves as it is.
        flat = torch.as_tensor(greatest, device=difference.device).view(-1).expand(len(difference)) < _FLAT
        kept = difference[flat]
        difference.mul_(2).sigmoid_().mul_(2).sub_(1)
        if len(kept):
            difference[flat] = kept
        return difference
    return difference.sub_(greatest).mul_(1 / math.log(2)).exp2_()


def top_weights(rank: Tensor, excluded: Indices, temperature: float) -> Tensor:
    """Unnormalised probability exp(-(rank - best rank) / temperature) of each item.

    Args:
        rank: [C, n_items], 1 is best.
        excluded: indices of what may not be drawn.
        temperature: above 0, in positions.

    Returns:
        float32 [C, n_items] in [0, 1], 0 at excluded indices.
    """
    exponent = rank * (-1 / math.log(2) / max(temperature, 1 / STEEPEST))
    exponent[excluded] = -torch.inf
    return exponent.sub_(exponent.amax(dim=1, keepdim=True)).exp2_()  # exp takes 15 times as long where it underflows


def uniform_weights(n_rows: int, n_items: int, excluded: Indices) -> Tensor:
    """Weight 1 of every item that may be drawn, 0 at excluded indices. float32 [n_rows, n_items]."""
    weights = torch.ones(n_rows, n_items, device=excluded[0].device)
    weights[excluded] = 0
    return weights


def draw(
    weights: Tensor,
    excluded: Indices,
    count: int,
    generator: torch.Generator,
    column_weights: Tensor | None = None,
    room: Tensor | None = None,
) -> Tensor:
    """Draw items with replacement in proportion to their weights; an item of weight zero is never drawn.

    Args:
        weights: [C, n_items], not negative, 0 at excluded items; changed in place. A row that is all zero becomes
            uniform.
        excluded: indices of the items that are never drawn; at least one item of each row is not among them.
        count: draws per row.
        generator: random generator, on the device of `weights`.
        column_weights: [C, n_items], how many items of its weight each column stands for; None for one each.
        room: float64 [C, n_items], written over: where draws follow on draws, fresh memory for the cumulative weights
            costs ten times what summing them does.

    Returns:
        int64 [C, count], columns of `weights`.
    """
    empty = weights.sum(dim=1) == 0
    if empty.any():
        weights[empty] = uniform_weights(int(empty.sum()), weights.shape[1], of_rows(excluded, empty))
    if column_weights is not None:
        weights.mul_(column_weights)
    cumulative = torch.cumsum(weights, dim=1, dtype=torch.float64, out=room)
    uniform = torch.rand(len(weights), count, dtype=torch.float64, generator=generator, device=weights.device)
    # In (0, total]: the first item whose cumulative weight reaches it has a weight of its own.
    return torch.searchsorted(cumulative, (1 - uniform).mul_(cumulative[:, -1:]))


def propose(
    weigh: Callable[[Tensor], Tensor], n_rows: int, n_items: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Propose items uniformly and accept each with its weight: accepted ones are drawn in proportion to the weights.

    Args:
        weigh: weights in [0, 1] at flat indices [n_rows, count], `row * n_items + item`; NaN at excluded items.
        n_rows: rows of the chunk.
        n_items: size of the catalogue with padding.
        count: proposals per row.
        generator: random generator.

    Returns:
        The proposed items, int64 [n_rows, count], never padding, and whether each was accepted, bool [n_rows, count].
    """
    uniform = torch.rand(n_rows, count, dtype=torch.float64, generator=generator, device=generator.device)
    uniform.mul_(n_items - 1)
    items = uniform.long()  # the whole part names the item, the rest of the same number decides
    uniform.sub_(items)
    items.add_(1)
    rows = torch.arange(n_rows, device=generator.device).unsqueeze(1)
    return items, uniform < weigh(items + rows * n_items)

"""Weights of items, and draws proportional to them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from recbole_bd.sampler.direction import STEEPEST
from recbole_bd.sampler.seen_items import Indices, of_rows

# Length of the head in temperatures, beside the number of draws without replacement. Fewer than one item in 10,000
# would come from further down.
_HEAD_TEMPERATURES = 10


def head_length(temperature: float, distinct: int = 0) -> int:
    """Length of the head of a list; draws from the whole list leave it less than once in 10,000.

    Args:
        temperature: the draw has p(rank r) proportional to exp(-r / temperature).
        distinct: items drawn without replacement; 0 for draws with replacement.

    Returns:
        Number of ranks.
    """
    return distinct + math.ceil(_HEAD_TEMPERATURES * temperature)


def draw_positions(lengths: Tensor, count: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw positions of a list with replacement, p(rank r) proportional to exp(-r / temperature).

    Args:
        lengths: int64 [B], the number of items in each row's list; at least 1.
        count: positions per row.
        temperature: above 0; the smaller, the nearer the draws are to the best item.
        generator: random generator.

    Returns:
        int64 [B, count]; 0 is the position of the best item.
    """
    lengths = lengths.unsqueeze(1)
    uniform = torch.rand(len(lengths), count, dtype=torch.float64, generator=generator, device=lengths.device)
    # Inverse of the cumulative distribution: p(position < n) = (1 - exp(-n / T)) / (1 - exp(-length / T))
    uniform.mul_(torch.expm1(lengths.double() / -temperature)).log1p_().mul_(-temperature)
    return torch.minimum(uniform.long(), lengths - 1)


def draw_head(lists: Tensor, count: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw items without replacement, one after another with p(rank r) proportional to exp(-r / temperature).

    Args:
        lists: [n, H] items, the best first; zeros at the end are never drawn.
        count: items per row.
        temperature: above 0; the smaller, the nearer the draw is to the first `count` items.
        generator: random generator.

    Returns:
        [n, min(count, H)], dtype of `lists`, in the order of the list; zeros at the end of shorter lists.
    """
    ranks = torch.arange(lists.shape[1], device=lists.device)
    return draw_listed(lists, ranks / -temperature, count, generator)


def draw_listed(lists: Tensor, log_weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw items of lists without replacement, one after another in proportion to their weights.

    Gumbel top-k trick: the items with the largest log w + g, g from the standard Gumbel distribution.

    Args:
        lists: [n, H] items, the best first; zeros at the end are never drawn.
        log_weights: [n, H] or [H], logarithm of each item's weight.
        count: items per row.
        generator: random generator.

    Returns:
        [n, min(count, H)], dtype of `lists`, in the order of the list; zeros at the end of shorter lists.
    """
    keys = torch.empty(lists.shape, device=lists.device).exponential_(generator=generator).log_().neg_()
    keys += log_weights
    keys[lists == 0] = -torch.inf
    positions = keys.topk(min(count, lists.shape[1]), dim=1).indices
    return lists.gather(1, positions.sort(dim=1).values)


# Below this tanh(x) equals x to one part in a million.
_FLAT = 1e-3


def discrepancy_weights(difference: Tensor, shape: str, greatest: Tensor | float) -> Tensor:
    """Unnormalised probability of items by how much higher the guide ranks them than the learner.

    tanh(max(x, 0)) or exp(x), x = (rank_learner - rank_guide) * eps   (BD, WWW 2021, Eq. 8 and 9)

    In the paper the student learns with tanh and the teacher with exp. The public code counts ranks upwards with the
    score, which reverses the difference: `rank_order="reference"`, a negative `Direction.scale`.

    Args:
        difference: [C, K], x; changed in place.
        shape: `tanh` or `exp`.
        greatest: an upper bound of x, a number or [C, 1]. exp(x) is divided by exp(greatest), so that it cannot
            overflow; tanh(x) is x where the bound is small.

    Returns:
        float32 [C, K] in [0, 1]; NaN where x is NaN.
    """
    # Four times as fast as tanh and exp: tanh(x) = 2 sigmoid(2 x) - 1 and exp(x) = 2 ** (x / ln 2).
    if shape == "tanh":
        difference.clamp_(min=0)
        # The sigmoid form loses a small x to rounding; tanh(x) is x there.
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
        excluded: indices of the items that are never drawn.
        temperature: above 0, in positions.

    Returns:
        float32 [C, n_items] in [0, 1], 0 at excluded indices.
    """
    exponent = rank * (-1 / math.log(2) / max(temperature, 1 / STEEPEST))
    exponent[excluded] = -torch.inf
    return exponent.sub_(exponent.amax(dim=1, keepdim=True)).exp2_()  # exp is 15 times as slow where it underflows


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
    """Draw items with replacement, proportionally to their weights; an item of weight zero is never drawn.

    Args:
        weights: [C, n_items], not negative, 0 at excluded items; changed in place. A row of zeros is drawn from
            uniformly.
        excluded: indices of the items that are never drawn; never all items of a row.
        count: draws per row.
        generator: random generator, on the device of `weights`.
        column_weights: [C, n_items], number of items that each column represents; None for one each.
        room: float64 [C, n_items], memory for the cumulative weights, overwritten. Allocating it for every call would
            take ten times as long as the sum.

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
    # Thresholds in (0, total]: the first item whose cumulative weight reaches one has a positive weight.
    return torch.searchsorted(cumulative, (1 - uniform).mul_(cumulative[:, -1:]))


def propose(
    weigh: Callable[[Tensor], Tensor], rows: Tensor, n_items: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rejection sampling: propose items uniformly and accept each with probability equal to its weight.

    Args:
        weigh: weights in [0, 1] at flat indices [R, count], `row * n_items + item`; NaN at excluded items.
        rows: int64 [R], rows of the chunk.
        n_items: size of the catalogue with padding.
        count: proposals per row.
        generator: random generator.

    Returns:
        The proposed items, int64 [R, count], never padding, and whether each was accepted, bool [R, count].
    """
    uniform = torch.rand(len(rows), count, dtype=torch.float64, generator=generator, device=generator.device)
    uniform.mul_(n_items - 1)
    items = uniform.long()  # the integer part is the item, the fraction decides on acceptance
    uniform.sub_(items)
    items.add_(1)
    return items, uniform < weigh(items + rows.unsqueeze(1) * n_items)


def power_corrections(power: float, length: int) -> Tensor:
    """Probability of accepting positions proposed by `propose_positions`.

    (n + 1) ** -power / (integral of x ** -power from n + 1/2 to n + 3/2)   for position n, from 0

    Args:
        power: above 0.
        length: number of positions.

    Returns:
        float32 [length], in [0, 1] since the power is convex; it nears 1 down the list.
    """
    rank = torch.arange(1, length + 1, dtype=torch.float64)
    c = 1 - power
    ends = rank + 0.5, rank - 0.5
    upper, lower = (end.log() for end in ends) if c == 0 else (end.pow(c) / c for end in ends)
    return (rank.pow(-power) / (upper - lower)).clamp_(max=1.0).float()


def propose_positions(lengths: Tensor, count: int, power: float, generator: torch.Generator) -> Tensor:
    """Propose positions of a list with replacement, roughly with p(rank r) proportional to r ** -power.

    x has the density x ** -power between 1/2 and length + 1/2, and is rounded to a rank. Accepting a rank with its
    `power_corrections` makes it exact. (Hoermann, Derflinger: Rejection-inversion. TOMACS 1996.)

    Args:
        lengths: int64 [R], the number of items in each row's list; at least 1.
        count: positions per row.
        power: above 0.
        generator: random generator.

    Returns:
        int64 [R, count]; 0 is the position of the best item.
    """
    lengths = lengths.unsqueeze(1)
    uniform = torch.rand(len(lengths), count, dtype=torch.float64, generator=generator, device=lengths.device)
    # x = exp(y) / 2; y is uniform up to log(2 * length + 1) if the power is 1.
    last, c = (2.0 * lengths + 1).log(), 1 - power
    if c == 0:
        uniform.mul_(last)
    else:
        uniform.mul_((last * c).expm1_()).log1p_().div_(c)
    positions = uniform.exp_().mul_(0.5).add_(0.5).long().sub_(1)
    return torch.minimum(positions.clamp_(min=0), lengths - 1)

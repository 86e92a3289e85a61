"""Cross-entropy of positives against items that all rows of a batch share, as one matrix product.

A row is a user u with a positive i. N items are left beside the positive. The exact loss of a row is

    -z(u, i) + log( exp z(u, i) + sum over the N others j of exp z(u, j) )

With m uniform draws in the place of the others, each other item is expected m / N times. Its logit is corrected by the
logarithm of this number, log(m / N), so that the sum over the draws has the same expectation as the sum over the
others (Bengio, Senecal 2008; "logQ"). The positive is always there and is not corrected. Draws that are the row's own
positive are left out, so m is a number of the row.
"""

import math
from typing import Any

import torch
from torch import Tensor

from recbole_bd.system.block_sizes import rows_at_once

# Logits of one chunk, in numbers: on a CPU they and their softmax, 1 MiB, stay in the cache of a core.
_LOGITS_AT_ONCE = {"cpu": 2**17, "cuda": 2**26}
# Sums of exponentials of smaller logits neither overflow nor vanish in float32.
_SMALL_LOGIT = 40.0
_LOG2_E = math.log2(math.e)

Hits = tuple[Tensor, Tensor]  # rows and columns of the logits that are left out, int64, rows ascending


def own_hits(positives: Tensor, drawn: Tensor) -> Hits:
    """Find the draws that are a row's own positive.

    Args:
        positives: int64 [B], the positive of each row.
        drawn: int64 [M], the shared items, ascending; they may repeat.

    Returns:
        Rows and columns of the hits, int64, in the order of the rows.
    """
    first = torch.searchsorted(drawn, positives)
    counts = torch.searchsorted(drawn, positives, right=True) - first
    rows = torch.repeat_interleave(counts)
    begins = counts.cumsum(0) - counts
    columns = first[rows] + torch.arange(len(rows), device=rows.device) - begins[rows]
    return rows, columns


def log_corrections(hits: Hits, rows: int, drawn: int, others: int) -> Tensor:
    """Logarithm of the number of other items that one draw stands for: log(N / m).

    Args:
        hits: result of `own_hits`.
        rows: number of rows, B.
        drawn: number of draws, M.
        others: N, number of items beside the positive.

    Returns:
        float32 [B]; the finite log N where every draw is a hit, since nothing is left to correct there.
    """
    left = drawn - torch.bincount(hits[0], minlength=rows)
    return math.log(max(others, 1)) - left.clamp(min=1).log()


def sampled_cross_entropy(logits: Tensor, drawn_logits: Tensor, hits: Hits, corrections: Tensor) -> Tensor:
    """Cross-entropy of each row, for logits that are not an inner product.

    Args:
        logits: [B], the logit of each row's positive.
        drawn_logits: [B, M], logits of the shared items.
        hits: result of `own_hits`.
        corrections: result of `log_corrections`.

    Returns:
        [B], each at least 0.
    """
    left_out = torch.full_like(hits[0], -math.inf, dtype=drawn_logits.dtype)
    others = drawn_logits.index_put(hits, left_out) + corrections.unsqueeze(1)
    return torch.cat([logits.unsqueeze(1), others], dim=1).logsumexp(dim=1) - logits


def inner_product_cross_entropy(
    users: Tensor, positives: Tensor, drawn: Tensor, hits: Hits, corrections: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of the rows' cross-entropies, for logits that are inner products.

    The gradient is computed with the loss, so each chunk of logits is computed once and never leaves the cache.

    Args:
        users: [B, d], the user's vector of each row.
        positives: [B, d], the positive's vector.
        drawn: [M, d], vectors of the shared items.
        hits: result of `own_hits`.
        corrections: result of `log_corrections`.
        weights: [B], weight of each row; constants.

    Returns:
        A scalar.
    """
    with torch.autocast(users.device.type, enabled=False):
        users, positives, drawn = users.float(), positives.float(), drawn.float()
        own = (users * positives).sum(dim=1)
        return _SharedSoftmax.apply(users, own, drawn, hits, corrections, weights.float())


def weighted_log_partition(users: Tensor, items: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over users of log sum over items of exp(user . item), with its gradient as above.

    Args:
        users: [U, d].
        items: [M, d].
        weights: [U]; constants.

    Returns:
        A scalar.
    """
    with torch.autocast(users.device.type, enabled=False):
        return _SharedSoftmax.apply(users.float(), None, items.float(), None, None, weights.float())


class _SharedSoftmax(torch.autograd.Function):
    """Sum of w * log(exp own + sum of exp(others)) - w * own, or of w * log sum of exp(others) without own logits."""

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        own: Tensor | None,
        items: Tensor,
        hits: Hits | None,
        corrections: Tensor | None,
        weights: Tensor,
    ) -> Tensor:
        # Gradients are those of the logits, w * p / (s + b): p is the power of a logit, s the sum of a row, and b the
        # power of its own logit less the correction. All are powers of 2, which take a third of the time of those of
        # e. Narrow vectors are summed several times as fast with their dimensions first; a row of ones sums powers too.
        at_once = rows_at_once(_LOGITS_AT_ONCE, users.device, len(items))
        is_small, scaled = _all_small(users, items), items * _LOG2_E
        beside = torch.full_like(weights, -math.inf)  # no own logit: its power is 0
        if own is not None and corrections is not None:
            beside = (own - corrections) * _LOG2_E
        with_ones = torch.cat([items.T, items.new_ones(1, len(items))])
        item_gradient = items.new_zeros(items.T.shape)
        found = _hits_by_chunk(hits, len(users), at_once)
        parts = (numbers.split(at_once) for numbers in (users, weights, beside))
        sums, shifts, factors = [], [], []
        for rows, weight, own_log, hit in zip(*parts, found, strict=True):
            powers = scaled @ rows.T  # [M, rows]; their logarithms at first
            if hit is not None:
                powers[hit] = torch.finfo(powers.dtype).min
            if not is_small:
                shifts.append(powers.amax(dim=0))
                powers.sub_(shifts[-1])
                own_log = own_log - shifts[-1]
            summed = with_ones @ powers.exp2_()  # [d + 1, rows]
            factors.append(weight / (summed[-1] + own_log.exp2()))
            item_gradient.addmm_(rows.T * factors[-1], powers.T)
            sums.append(summed)
        summed, factor = torch.cat(sums, dim=1), torch.cat(factors)
        log_sums = summed[-1].log()
        if shifts:
            log_sums += torch.cat(shifts) / _LOG2_E
        if own is not None and corrections is not None:
            log_sums = torch.nn.functional.softplus(log_sums + corrections - own)
        ctx.save_for_backward((summed[:-1] * factor).T.contiguous(), -factor * summed[-1], item_gradient.T.contiguous())
        return weights @ log_sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        user_gradient, own_gradient, item_gradient = ctx.saved_tensors
        has_own = ctx.needs_input_grad[1]
        return (
            gradient * user_gradient,
            gradient * own_gradient if has_own else None,
            gradient * item_gradient,
            None,
            None,
            None,
        )


def _hits_by_chunk(hits: Hits | None, rows: int, at_once: int) -> list[Hits | None]:
    """Columns and rows of the hits of each chunk of rows; rows count from the chunk's first. None without hits."""
    starts = range(0, max(rows, 1), at_once)  # one chunk of no rows, as `split` has it
    if hits is None:
        return [None for _ in starts]
    bounds = torch.searchsorted(hits[0], torch.tensor([*starts, rows], device=hits[0].device)).tolist()
    parts = zip(starts, bounds, bounds[1:], strict=False)
    return [(hits[1][first:last], hits[0][first:last] - start) for start, first, last in parts]


def _all_small(users: Tensor, items: Tensor) -> bool:
    """Whether no logit can be so large that its exponential must be scaled; not looked at on a GPU, which would wait.

    |u . v| <= |u| |v|
    """
    if users.device.type != "cpu" or not len(users):
        return False
    return bool(users.norm(dim=1).amax() * items.norm(dim=1).amax() <= _SMALL_LOGIT)

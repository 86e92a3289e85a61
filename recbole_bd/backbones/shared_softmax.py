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
        at_once = rows_at_once(_LOGITS_AT_ONCE, users.device, len(items))
        chunks = range(0, len(users), at_once)
        # Where the hits of each chunk begin, found for all chunks at once.
        bounds = torch.tensor([*chunks, len(users)], device=users.device)
        begins = [0] * len(bounds) if hits is None else torch.searchsorted(hits[0], bounds).tolist()
        # Narrow vectors are summed several times as fast with their dimensions first.
        total, user_gradient = users.new_zeros(()), users.new_empty(users.T.shape)
        own_gradient, item_gradient = torch.empty_like(weights), items.new_zeros(items.T.shape)
        nothing = torch.finfo(users.dtype).min
        for number, start in enumerate(chunks):
            part = slice(start, start + at_once)
            logits = users[part] @ items.T
            if hits is not None:
                found = slice(begins[number], begins[number + 1])
                logits[hits[0][found] - start, hits[1][found]] = nothing
            largest = logits.amax(dim=1)
            shares = logits.softmax(dim=1)
            # The largest share is 1 / (sum of exp(logit - largest)).
            log_sums, weight = largest - shares.amax(dim=1).log(), weights[part]
            if own is not None and corrections is not None:
                above = log_sums + corrections[part] - own[part]
                total += weight @ torch.nn.functional.softplus(above)
                weight = weight * above.sigmoid()
                own_gradient[part] = -weight
            else:
                total += weight @ log_sums
            shares.mul_(weight.unsqueeze(1))
            user_gradient[:, part] = items.T @ shares.T
            item_gradient.addmm_(users[part].T, shares)
        ctx.save_for_backward(user_gradient.T.contiguous(), own_gradient, item_gradient.T.contiguous())
        return total

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

"""Distillation losses as pure functions of logits or vectors; each states its equation."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from recbole_bd.model.partial_order import PartialOrder, precision_for

_TEMPERATURE_ON = ("target", "both")


def pointwise_exchange(
    logits: Tensor, target_logits: Tensor, temperature: float, temperature_on: str = "target"
) -> Tensor:
    """Binary cross-entropy of each logit with the other role's softened probability.   (BD, WWW 2021, Eq. 4 and 5)

    mean over (b, k) of BCE(z, sigmoid(z_other / temperature))

    Args:
        logits: [B, K], the learner's logits.
        target_logits: [B, K], the other role's logits of the same items; a constant, no gradient reaches it.
        temperature: above 0; the larger, the nearer the targets are to one half.
        temperature_on: `target`, or `both` to divide the learner's logits too.

    Returns:
        A scalar.

    Raises:
        ValueError: unequal shapes, or a temperature or `temperature_on` that is not allowed.
    """
    learner, target = _softened(logits, target_logits, temperature, temperature_on)
    return functional.binary_cross_entropy_with_logits(learner, torch.sigmoid(target))


def listwise_exchange(
    logits: Tensor, target_logits: Tensor, temperature: float, temperature_on: str = "target"
) -> Tensor:
    """Cross-entropy between two softmax distributions over one list of items per row.   (this package's own form)

    mean over b of - sum over k of softmax(z_other / temperature)_k * log softmax(z)_k

    Args:
        logits: [B, K], the learner's logits of the list; if the list has the positive, it is in column 0.
        target_logits: [B, K], the other role's logits of the same list; a constant, no gradient reaches it.
        temperature: above 0.
        temperature_on: `target`, or `both` to divide the learner's logits too.

    Returns:
        A scalar.

    Raises:
        ValueError: unequal shapes, or a temperature or `temperature_on` that is not allowed.
    """
    learner, target = _softened(logits, target_logits, temperature, temperature_on)
    # Softmax over the first dimension: it takes a twentieth of the time where the lists are short.
    shares = torch.softmax(target.T.contiguous(), dim=0)
    return -(shares * torch.log_softmax(learner.T.contiguous(), dim=0)).sum() / len(logits)


def pairwise_exchange(
    logits: Tensor, target_logits: Tensor, temperature: float, temperature_on: str = "target"
) -> Tensor:
    """Binary cross-entropy of logit differences, positive minus sampled item.   (this package's own form)

    mean over (b, k >= 1) of BCE(z_0 - z_k, sigmoid((z_other_0 - z_other_k) / temperature))

    Like `listwise_exchange` it does not change when a constant is added to all logits of a role.

    Args:
        logits: [B, 1 + K], the learner's logits, the positive in column 0.
        target_logits: [B, 1 + K], the other role's logits of the same items; a constant, no gradient reaches it.
        temperature: above 0.
        temperature_on: `target`, or `both` to divide the learner's logits too.

    Returns:
        A scalar.

    Raises:
        ValueError: unequal shapes, or a temperature or `temperature_on` that is not allowed.
    """
    learner, target = _softened(logits, target_logits, temperature, temperature_on)
    return functional.binary_cross_entropy_with_logits(
        learner[:, :1] - learner[:, 1:], torch.sigmoid(target[:, :1] - target[:, 1:])
    )


def collaborative_exchange(logits: Tensor, target_logits: Tensor, temperature: float, shift: float = 0.0) -> Tensor:
    """Binary cross-entropy of each logit with the teacher's shifted and softened probability.   (CD, ICDM 2019)

    mean over (b, k) of BCE(z_S, sigmoid((z_T + shift) / temperature))

    Args:
        logits: [B, K], the student's logits.
        target_logits: [B, K], the teacher's logits of the same items; a constant, no gradient reaches it.
        temperature: above 0; the larger, the nearer the targets are to one half.
        shift: added to the teacher's logits; below 0 to make most targets low.

    Returns:
        A scalar.

    Raises:
        ValueError: unequal shapes, or a temperature that is not allowed.
    """
    return pointwise_exchange(logits, target_logits + shift, temperature)


def position_weights(length: int, temperature: float, device: torch.device | None = None) -> Tensor:
    """Weights of the ranks of a list by position.   (RD, KDD 2018, Eq. 8)

    w_r is proportional to exp(-r / temperature), r = 1, 2, ..., length

    Args:
        length: number of ranks; 1 is best.
        temperature: above 0; the larger, the more equal the weights.
        device: device of the weights.

    Returns:
        float32 [length], best rank first, adding up to 1.

    Raises:
        ValueError: a temperature that is not allowed.
    """
    _check_temperature(temperature)
    return torch.softmax(torch.arange(1, length + 1, device=device) / -temperature, dim=0)


def estimated_rank(logits: Tensor, sampled_logits: Tensor, n_ranked: Tensor) -> Tensor:
    """Estimate the ranks of items from a uniform sample of the ranked items.   (RD, KDD 2018)

    floor(n_ranked * fraction of sampled items with a higher logit) + 1

    Args:
        logits: [B, K], logits of the items.
        sampled_logits: [B, S], logits of the same dtype, of items drawn uniformly from all items that are ranked for
            the row's user.
        n_ranked: int64 [B], number of ranked items.

    Returns:
        float32 [B, K] without gradient, 1 is best; at most n_ranked + 1.
    """
    # Binary search in the sorted sample counts the higher logits without an array of [B, K, S].
    ascending = sampled_logits.detach().sort(dim=1).values
    not_above = torch.searchsorted(ascending, logits.detach().contiguous(), right=True)
    above = sampled_logits.shape[1] - not_above
    # Divide integers: the floor of a rounded float product may be one too low.
    return torch.div(above * n_ranked.unsqueeze(1), sampled_logits.shape[1], rounding_mode="floor").add(1).float()


def dynamic_weights(student_rank: Tensor, sharpness: float) -> Tensor:
    """Weights of the teacher's listed items by the student's rank.   (RD, KDD 2018, Eq. 9)

    w_r = tanh(max(sharpness * (rank_S - r), 0)), r the rank in the teacher's list

    Args:
        student_rank: [B, K], the student's rank of each item, 1 is best.
        sharpness: the paper's mu, above 0.

    Returns:
        [B, K] in [0, 1]; 0 where the student ranks the item at least as high as the teacher.
    """
    ranks = torch.arange(1, student_rank.shape[1] + 1, device=student_rank.device)
    return torch.tanh(sharpness * (student_rank - ranks).clamp(min=0))


def ranking_distillation(logits: Tensor, weights: Tensor) -> Tensor:
    """Weighted negative log-likelihood of the teacher's top items as positives.   (RD, KDD 2018)

    mean over b of sum over r of w_r * -log sigmoid(z_r)

    Args:
        logits: [B, K], the student's logits of the teacher's top items, in its order.
        weights: [B, K] or [K], not negative; 0 leaves the item out. A constant, no gradient reaches it.

    Returns:
        A scalar.
    """
    return (weights.detach() * -functional.logsigmoid(logits)).sum(dim=1).mean()


def relaxed_ranking(
    interesting: Tensor, uninteresting: Tensor, listed: Tensor | None = None, drawn: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood of a partial order (a relaxed Plackett-Luce model).   (RRD, CIKM 2020)

    mean over b of - sum over k of log( exp(z_k) / (sum over i >= k of exp(z_i) + sum over l of exp(z_l)) )

    Interesting items come in order, before all uninteresting ones, whose order is free. No exponential overflows or
    underflows: where logits are far apart, and on a GPU, sums are those of logarithms.

    Args:
        interesting: [B, K], the student's logits in the teacher's order, best first.
        uninteresting: [B, L], the student's logits; L may be 0.
        listed: bool [B, K], False where a row has no k-th item; these columns come last. None: all True.
        drawn: bool [B, L], False where a row has no l-th item. None: all True.

    Returns:
        A scalar.
    """
    lowest = lowest_of(interesting)
    listed = torch.ones_like(interesting, dtype=torch.bool) if listed is None else listed
    interesting = interesting.masked_fill(~listed, lowest)
    if drawn is not None:
        uninteresting = uninteresting.masked_fill(~drawn, lowest)
    if precision := precision_for(interesting, uninteresting, listed):
        return PartialOrder.apply(interesting, uninteresting, listed, precision)
    behind = torch.logcumsumexp(interesting.flip(1), dim=1).flip(1)
    if uninteresting.shape[1]:
        behind = torch.logaddexp(behind, uninteresting.logsumexp(dim=1, keepdim=True))
    return (behind - interesting).masked_fill(~listed, 0).sum(dim=1).mean()


def list_cross_entropy(
    logits: Tensor, target_logits: Tensor, temperature: float, listed: Tensor | None = None
) -> Tensor:
    """Cross-entropy between two softmax distributions over each row's own list.   (CE; RCE-KD, ICLR 2026)

    - sum over k of softmax(z_other / temperature)_k * log softmax(z / temperature)_k

    Without the target's entropy, `list_cross_entropy(target_logits, target_logits, ...)`, it is the Kullback-Leibler
    divergence; its gradient is the same. See `full_lists` for lists of all unseen items.

    Args:
        logits: [B, K], the learner's logits of the lists.
        target_logits: [B, K], the other role's logits of the same lists; a constant, no gradient reaches it.
        temperature: above 0; divides both.
        listed: bool [B, K], False where a row has no k-th item; None: all True. A row without items has 0.

    Returns:
        [B].

    Raises:
        ValueError: unequal shapes, or a temperature that is not allowed.
    """
    learner, target = _softened(logits, target_logits, temperature, "both")
    if listed is not None:
        lowest = lowest_of(learner)
        learner, target = learner.masked_fill(~listed, lowest), target.masked_fill(~listed, lowest)
    terms = torch.softmax(target, dim=1) * torch.log_softmax(learner, dim=1)
    if listed is not None:
        terms = terms.masked_fill(~listed, 0)
    return -terms.sum(dim=1)


def pairwise_ranking(higher: Tensor, lower: Tensor, listed: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of the order of pairs.   (UnKD, WSDM 2023)

    mean over b of mean over k of -log sigmoid(z_a - z_b), a the item that the teacher ranks higher

    Args:
        higher: [B, K], the student's logits of the items that the teacher ranks higher.
        lower: [B, K], those of the other items.
        listed: bool [B, K], False where a row has no k-th pair; None: all True. A row without pairs has 0.

    Returns:
        A scalar.
    """
    terms = -functional.logsigmoid(higher - lower)
    if listed is None:
        return terms.mean()
    return (terms.masked_fill(~listed, 0).sum(dim=1) / listed.sum(dim=1).clamp(min=1)).mean()


def set_above_rest(chosen: Tensor, rest: Tensor, listed: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of each chosen item against the rest.   (HetComp, WWW 2023)

    The order of the chosen items is free.

    mean over b of - sum over k of [z_k - log( exp(z_k) + sum over l of exp(z_l) )]

    Args:
        chosen: [B, K], the student's logits of the chosen items.
        rest: [B, L], those of the rest; -inf or the least number where there is no item.
        listed: bool [B, K], False where a row has no k-th item; None: all True.

    Returns:
        A scalar.
    """
    terms = functional.softplus(rest.logsumexp(dim=1, keepdim=True) - chosen)
    if listed is not None:
        terms = terms.masked_fill(~listed, 0)
    return terms.sum(dim=1).mean()


def squared_distance(vectors: Tensor, target: Tensor) -> Tensor:
    """Squared Euclidean distance between rows and their targets.   (DE, CIKM 2020)

    mean over n of || v_n - t_n ||^2

    Args:
        vectors: [N, d], the experts' outputs for the student's embeddings.
        target: [N, d], the teacher's embeddings; a constant, no gradient reaches it.

    Returns:
        A scalar.

    Raises:
        ValueError: unequal shapes.
    """
    if vectors.shape != target.shape or vectors.ndim != 2:
        raise ValueError(f"vectors {tuple(vectors.shape)} and targets {tuple(target.shape)} must be equal [N, d]")
    return (vectors - target.detach()).square().sum(dim=1).mean()


def lowest_of(logits: Tensor) -> float:
    """Logit of an item that is not there: its exp and its gradient are 0, where those of -inf are NaN."""
    return torch.finfo(logits.dtype).min / 2


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature={temperature}: must be in (0, inf)")


def _softened(logits: Tensor, target_logits: Tensor, temperature: float, temperature_on: str) -> tuple[Tensor, Tensor]:
    if logits.shape != target_logits.shape or logits.ndim != 2:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(target_logits.shape)} must be equal [B, K]")
    _check_temperature(temperature)
    if temperature_on not in _TEMPERATURE_ON:
        raise ValueError(f"temperature_on={temperature_on!r}: must be one of {', '.join(_TEMPERATURE_ON)}")
    target = target_logits.detach() / temperature
    return (logits / temperature if temperature_on == "both" else logits), target

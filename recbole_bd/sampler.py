"""Ranks of all items for chunks of users, and the items that one role takes from the other.

Everywhere: rank 1 is the best; ranks run over the items a role could recommend to the user, so the padding item and the
user's training items are out. Nothing of size users x items is kept: users come in chunks, and what stays is the drawn
items, `sum(pool_sizes)` per learner.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recbole_bd.errors import DataError

SAMPLINGS = ("rank_discrepancy", "uniform", "top")
SHAPES = ("tanh", "exp")
RANK_ORDERS = ("paper", "reference")
RANK_SCALES = ("absolute", "relative")

# Row numbers and item ids of the places in a [C, n_items] array that are not ranked and never drawn. Few stand in a row,
# so writing to them is cheap where a boolean array of that shape would be one more pass over all items.
Places = tuple[Tensor, Tensor]

# Three items share a bin on average, and there are never fewer bins than these. Rows whose fullest bin holds more than
# the tolerance are sorted instead: the error of a binned rank is at most (tolerance - 1) / 2.
_LEAST_BINS = 2**14
_CHUNKS_SCORED_AT_ONCE = 5
BIN_TOLERANCE = 65


@dataclass(frozen=True)
class Direction:
    """How the items that one role learns on are drawn.

    Attributes:
        sampling: `rank_discrepancy` (the paper), `uniform`, or `top`: the head of the guide's list.
        shape: `tanh`, saturating, or `exp`, sharply peaked.
        eps: steepness of the shape per position, or per catalogue when `rank_scale` is relative.
        rank_order: `paper`, items the guide ranks higher; `reference`, the public code's opposite.
        rank_scale: `absolute` differences in positions, or `relative` to the number of items.
        top_temperature: width of `top`.
    """

    sampling: str = "rank_discrepancy"
    shape: str = "tanh"
    eps: float = 0.01
    rank_order: str = "paper"
    rank_scale: str = "absolute"
    top_temperature: float = 10.0

    def __post_init__(self):
        for name, allowed in (
            ("sampling", SAMPLINGS),
            ("shape", SHAPES),
            ("rank_order", RANK_ORDERS),
            ("rank_scale", RANK_SCALES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        for name in ("eps", "top_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: must be in (0, inf)")


class SeenItems:
    """The distinct training items of every user, in compressed rows.

    Args:
        users, items: int64 ids of the training interactions, 0 being padding; repeated pairs count once.
        n_users, n_items: sizes with padding.

    Attributes:
        counts: int64 [n_users], distinct training items of each user.

    Raises:
        DataError: a user has seen every item, so that nothing is left to rank for them.
    """

    def __init__(self, users: Tensor, items: Tensor, n_users: int, n_items: int):
        self.n_users, self.n_items = n_users, n_items
        keys = torch.unique(torch.as_tensor(users).long() * n_items + torch.as_tensor(items).long())
        owners = keys // n_items
        self.items = keys % n_items
        self.starts = torch.searchsorted(owners, torch.arange(n_users + 1, device=keys.device))
        self.counts = self.starts.diff()
        full = int((self.counts >= n_items - 1).sum())
        if full:
            raise DataError(
                f"{full} user(s) have seen every item, so nothing is left to rank for them; filter such users with "
                "user_inter_num_interval"
            )

    def to(self, device: torch.device) -> "SeenItems":
        """Move the rows to a device, in place."""
        self.items, self.starts, self.counts = (t.to(device) for t in (self.items, self.starts, self.counts))
        return self

    def of(self, users: Tensor) -> Places:
        """Where in rows of these users stands what is not to be ranked: padding and training items.

        Returns:
            Row numbers and item ids, int64, of one length; no place comes twice.
        """
        rows = torch.arange(len(users), device=users.device)
        counts = self.counts[users]
        owners = torch.repeat_interleave(rows, counts)
        within = torch.arange(len(owners), device=users.device) - (counts.cumsum(0) - counts)[owners]
        return torch.cat([rows, owners]), torch.cat([torch.zeros_like(rows), self.items[self.starts[users][owners] + within]])

    def random_positive(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One of each user's training items, each equally likely. int64 [B]; every user must have one."""
        share = torch.rand(len(users), generator=generator, device=users.device)
        return self.items[self.starts[users] + _slot(share, self.counts[users])]


def _slot(share: Tensor, size: Tensor) -> Tensor:
    """A slot below `size` from a share in [0, 1); rounding may reach `size` itself, which is no slot."""
    return torch.minimum((share.double() * size).long(), size - 1)


# --- ranks -----------------------------------------------------------------------------------------------------------
def ranks(scores: Tensor, excluded: Places, method: str = "binned") -> Tensor:
    """Rank the items of each row, ties sharing the mean of their ranks so that nothing depends on item ids.

    Args:
        scores: [C, n_items] logits; infinite ones rank at the ends.
        excluded: places of the items that are not ranked.
        method: `exact` sorts; `binned` counts scores into equal bins between each row's extremes and gives the items of
            a bin their mean rank, which is wrong by at most (BIN_TOLERANCE - 1) / 2 = 32 positions, by about two on average;
            rows for which that would not hold are sorted.

    Returns:
        float32 [C, n_items], 1 is best; what stands at excluded items means nothing. Working memory is about six
        arrays of this shape.

    Raises:
        DataError: a score is not a number.
        ValueError: an unknown method.
    """
    if method not in ("exact", "binned"):
        raise ValueError(f"ranks={method!r}: must be exact or binned")
    scores = scores.float()
    top, low = scores.amax(dim=1, keepdim=True), scores.amin(dim=1, keepdim=True)
    if torch.isnan(top).any():  # a maximum with a NaN in it is NaN
        raise DataError("a model's score is not a number, so its items cannot be ranked; lower its learning rate")
    if method == "exact":
        return _exact_ranks(scores, excluded)
    n_rows, n_bins = len(scores), max(scores.shape[1] // 3, _LEAST_BINS)
    scale = (n_bins - 1) / (top - low)
    # Not where all scores are equal or one is infinite, nor where so little lies between them that the scale overflows.
    countable = torch.isfinite(scale) & (scale > 0)
    # Bin 0 holds the best scores; excluded items go behind all others into a bin of their own.
    bins = (top - scores).mul_(scale)
    if not countable.all():
        bins.masked_fill_(~countable, 0)
    starts = torch.arange(n_rows, dtype=torch.int32, device=scores.device).unsqueeze(1) * (n_bins + 1)
    bins = bins.to(torch.int32).add_(starts)
    bins[excluded] = starts.squeeze(1)[excluded[0]] + n_bins
    flat = bins.view(-1)
    counts = torch.bincount(flat, minlength=n_rows * (n_bins + 1)).view(n_rows, n_bins + 1)
    # Mean rank of a bin: all up to its end, less half of the others in it.
    mean = counts.cumsum(dim=1).float().sub_(counts, alpha=0.5).add_(0.5)
    result = mean.view(-1).index_select(0, flat).view_as(scores)
    crowded = (counts[:, :n_bins].amax(dim=1) > BIN_TOLERANCE) | ~countable.squeeze(1)
    if crowded.any():
        result[crowded] = _exact_ranks(scores[crowded], _of_rows(excluded, crowded))
    return result


def _of_rows(places: Places, chosen: Tensor) -> Places:
    """The places in the chosen rows, numbered as these rows are when the others are left out."""
    rows, items = places
    kept = chosen[rows]
    return (chosen.cumsum(0) - 1)[rows[kept]], items[kept]


def _exact_ranks(scores: Tensor, excluded: Places) -> Tensor:
    # Ascending in the negated score: the best comes first. Excluded items are last, also behind scores of -inf,
    # because the place of an item is counted among those before it and its equals only.
    negated = -scores
    infinite = negated == torch.inf
    infinite[excluded] = False
    negated[excluded] = torch.inf
    ordered, _ = negated.sort(dim=1)
    first = torch.searchsorted(ordered, negated, right=False)
    last = torch.searchsorted(ordered, negated, right=True)
    if infinite.any():
        rankable = scores.shape[1] - torch.bincount(excluded[0], minlength=len(scores)).unsqueeze(1)
        last = torch.where(infinite, rankable, last)
    return (first + 1 + last).float() / 2


# --- weights and draws -----------------------------------------------------------------------------------------------
def discrepancy_weights(learner_rank: Tensor, guide_rank: Tensor, excluded: Places, direction: Direction) -> Tensor:
    """Unnormalised probability of each item by how much higher the guide ranks it than the learner.

    With D = rank_learner - rank_guide: tanh(max(D * eps, 0)) or exp(D * eps)   (BD, WWW 2021, Eq. 8 and 9; there the
    student learns with tanh, the teacher with exp). The public code uses positions that ascend with the score in the
    same formulas, which turns D round: `rank_order="reference"`.

    Args:
        learner_rank, guide_rank: [C, n_items], 1 is best.
        excluded: places of the items that are never drawn.
        direction: shape, eps, rank order and rank scale.

    Returns:
        float32 [C, n_items], 0 at excluded items; a row may be all zero (tanh of two equal rankings).
    """
    scale = direction.eps / (learner_rank.shape[1] - 1 if direction.rank_scale == "relative" else 1)
    if direction.rank_order == "reference":
        scale = -scale
    difference = (learner_rank - guide_rank).mul_(scale)
    if direction.shape == "tanh":
        # tanh(x) = 2 sigmoid(2 x) - 1 and exp(x) = 2 ** (x / ln 2) take a quarter of the time of tanh and exp.
        weights = difference.clamp_(min=0).mul_(2).sigmoid_().mul_(2).sub_(1)
        weights[excluded] = 0
        return weights
    difference[excluded] = -torch.inf
    return difference.sub_(difference.amax(dim=1, keepdim=True)).mul_(1 / math.log(2)).exp2_()


def top_weights(guide_rank: Tensor, excluded: Places, temperature: float) -> Tensor:
    """Unnormalised probability exp(-(rank - best rank) / temperature) of each item. float32 [C, n_items]."""
    exponent = guide_rank / -temperature
    exponent[excluded] = -torch.inf
    return exponent.sub_(exponent.amax(dim=1, keepdim=True)).exp_()


def uniform_weights(n_rows: int, n_items: int, excluded: Places) -> Tensor:
    """Weight 1 of every item that may be drawn. float32 [n_rows, n_items]."""
    weights = torch.ones(n_rows, n_items, device=excluded[0].device)
    weights[excluded] = 0
    return weights


def draw(weights: Tensor, excluded: Places, count: int, generator: torch.Generator) -> Tensor:
    """Draw items with replacement in proportion to their weights; an item of weight zero is never drawn.

    Args:
        weights: [C, n_items], not negative, 0 at excluded items. A row that is all zero becomes uniform, in place.
        excluded: places of the items that are never drawn; at least one item of each row is not among them.
        count: draws per row.
        generator: the source of chance, on the device of `weights`.

    Returns:
        int64 [C, count].
    """
    empty = weights.sum(dim=1) == 0
    if empty.any():
        weights[empty] = uniform_weights(int(empty.sum()), weights.shape[1], _of_rows(excluded, empty))
    cumulative = weights.cumsum(dim=1, dtype=torch.float64)
    share = torch.rand(len(weights), count, dtype=torch.float64, generator=generator, device=weights.device)
    # In (0, total]: the first item whose cumulative weight reaches it has a weight of its own.
    return torch.searchsorted(cumulative, (1 - share).mul_(cumulative[:, -1:]))


class DistillationSampler:
    """Draws, once per refresh, the items that each role will learn on, and hands them out batch by batch.

    Args:
        seen: the training items.
        directions: how items are drawn, by the learner's name, `teacher` or `student`; the other one is its guide.
        pool_sizes: int64 [n_users], items drawn per user and refresh; at least 1, padding user 0 excepted.
        ranks: `binned` or `exact`, see `ranks`.
        seed: of its own Generator.
        device: where ranks are computed and the drawn items stay.
        chunk_scores: scores ranked at a time; by default few on a CPU, so that they stay in its cache. A role scores 5
            times as many at once.
    """

    def __init__(
        self,
        seen: SeenItems,
        directions: Mapping[str, Direction],
        pool_sizes: Tensor,
        ranks: str = "binned",
        seed: int = 0,
        device: torch.device | str = "cpu",
        chunk_scores: int | None = None,
    ):
        self.device = torch.device(device)
        self.seen = seen.to(self.device)
        self.directions = dict(directions)
        self.ranks = ranks
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.sizes = pool_sizes.to(self.device).clone()
        self.sizes[0] = 0
        self.starts = self.sizes.cumsum(0) - self.sizes
        if chunk_scores is None:
            chunk_scores = 200_000 if self.device.type == "cpu" else 2**22
        self.chunk_users = max(1, chunk_scores // seen.n_items)
        self.pools: dict[str, Tensor] = {}

    def refresh(
        self, scores: Mapping[str, Callable[[Tensor], Tensor]], progress: Callable[[int], None] | None = None
    ) -> None:
        """Rank all items by both roles and draw every learner's items anew.

        Args:
            scores: all-item logits [C, n_items] of a role for users [C], by its name.
            progress: called with the number of users done so far.
        """
        total = int(self.sizes.sum())
        pools = {name: torch.empty(total, dtype=torch.int32, device=self.device) for name in self.directions}
        done = 0
        for users, logits in self._chunks(scores):
            excluded = self.seen.of(users)
            known: dict[str, Tensor] = {}
            sizes = self.sizes[users]
            draws = torch.arange(int(sizes.max()), device=self.device)
            wanted = draws < sizes.unsqueeze(1)
            slots = (self.starts[users].unsqueeze(1) + draws)[wanted]
            for learner, direction in self.directions.items():
                weights = self._weights(learner, direction, excluded, logits, known)
                items = draw(weights, excluded, len(draws), self.generator)
                pools[learner][slots] = items[wanted].to(torch.int32)
            done += len(users)
            if progress:
                progress(done)
        self.pools = pools

    def _chunks(
        self, scores: Mapping[str, Callable[[Tensor], Tensor]]
    ) -> Iterator[tuple[Tensor, dict[str, Callable[[], Tensor]]]]:
        """Users in chunks of similar pool size, so that few draws are made in vain, and how to get their logits.

        A role scores a larger block of users at once, since one matrix product of many users costs less than many.
        """
        ordered = torch.argsort(self.sizes[1:], stable=True) + 1
        for block in ordered.split(self.chunk_users * _CHUNKS_SCORED_AT_ONCE):
            tables: dict[str, tuple[Tensor, ...]] = {}

            def logits_of(role: str, chunk: int, block=block, tables=tables) -> Tensor:
                if role not in tables:
                    tables[role] = scores[role](block).split(self.chunk_users)
                return tables[role][chunk]

            for number, users in enumerate(block.split(self.chunk_users)):
                yield users, {role: partial(logits_of, role, number) for role in scores}

    def _weights(
        self,
        learner: str,
        direction: Direction,
        excluded: Places,
        logits: Mapping[str, Callable[[], Tensor]],
        known: dict[str, Tensor],
    ) -> Tensor:
        def rank_of(role: str) -> Tensor:
            if role not in known:
                known[role] = ranks(logits[role](), excluded, self.ranks)
            return known[role]

        guide = next(role for role in logits if role != learner)
        if direction.sampling == "uniform":
            n_rows = int(excluded[0].max()) + 1  # each row has its padding item excluded
            return uniform_weights(n_rows, self.seen.n_items, excluded)
        if direction.sampling == "top":
            return top_weights(rank_of(guide), excluded, direction.top_temperature)
        return discrepancy_weights(rank_of(learner), rank_of(guide), excluded, direction)

    def sample(self, learner: str, users: Tensor, count: int) -> Tensor:
        """Hand out items for a batch: random ones, with replacement, of those drawn for each user.

        Args:
            learner: the role that will learn on them.
            users: int64 [B], no padding; users may repeat.
            count: items per row.

        Returns:
            int64 [B, count].

        Raises:
            RuntimeError: nothing has been drawn yet.
        """
        if learner not in self.pools:
            raise RuntimeError(f"no items have been drawn for the {learner}: call refresh first")
        share = torch.rand(len(users), count, generator=self.generator, device=self.device)
        starts, sizes = (table.index_select(0, users).unsqueeze(1) for table in (self.starts, self.sizes))
        return self.pools[learner].take(starts + _slot(share, sizes)).long()

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what comes next, as plain tensors."""
        return {"pools": dict(self.pools), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.pools = {name: pool.to(self.device) for name, pool in state["pools"].items()}
        self.generator.set_state(state["generator"].cpu())

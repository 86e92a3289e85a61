"""The four ways of drawing the items of a learner for a chunk of users.

Each way fills rows of a `Pool` by a `Rule`. Rejection sampling, from all items or from a list, and draws from the head
of a list are cheap but not always possible. A search in the cumulative weights of all items fills the remaining rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from recbole_bd.sampler.candidates import Chunk
from recbole_bd.sampler.direction import STEEPEST, Direction
from recbole_bd.sampler.draws import (
    discrepancy_weights,
    draw,
    draw_positions,
    head_length,
    power_corrections,
    propose,
    propose_positions,
    top_weights,
    uniform_weights,
)
from recbole_bd.sampler.pool import Pool
from recbole_bd.sampler.seen_items import index_from_uniform, indices_of, of_rows

# Rejection sampling: the acceptance rate assumed for the first chunk, and the lower bound of measured rates.
_FIRST_ACCEPTANCE, _LEAST_ACCEPTANCE = 0.25, 1e-3
# Largest exponent of the exp shape for which rejection sampling from all items is tried.
_LARGEST_EXPONENT = 3.0
# Largest power of `fill_by_power`. Beyond it most proposals of the best item are rejected.
_LARGEST_POWER = 6.0
# Rounds of proposals for rows that lack some.
_ROUNDS = 4
# More proposals than are expected to be needed: a share of them, and some.
_MARGIN, _FEW_MORE = 1.25, 16
# Columns of a search that cost as much as one proposal.
_OF_A_SEARCH = 2
# Proposals in memory at a time: 16 MiB an array.
_PROPOSALS_AT_ONCE = 2**21


@dataclass
class Rule:
    """How the items of one learner are drawn.

    Attributes:
        learner, guide: names of the two roles.
        direction: sampling and its options.
        n_items: size of the catalogue with padding.
        acceptance: rejection sampling's acceptance rate in the last chunk, in (0, 1].
    """

    learner: str
    guide: str
    direction: Direction
    n_items: int
    acceptance: float = _FIRST_ACCEPTANCE
    _corrections: dict[float, Tensor] = field(default_factory=dict)

    def proposals(self, wanted: int) -> int:
        """Number of proposals of which some more than `wanted` are accepted."""
        return _some_more(wanted / self.acceptance)

    def corrections(self, power: float, device: torch.device) -> Tensor:
        """`power_corrections` of every position, computed once. float32 [n_items]."""
        if power not in self._corrections:
            self._corrections[power] = power_corrections(power, self.n_items).to(device)
        return self._corrections[power]

    def anew(self) -> "Rule":
        """The same rule at the first acceptance rate, so that spans of users do not depend on one another."""
        return replace(self, acceptance=_FIRST_ACCEPTANCE)


def fill(chunk: Chunk, rule: Rule, pool: Pool) -> None:
    """Draw the items of a chunk's users by the cheapest way that applies to each.

    Args:
        chunk: the users and both roles' ranks.
        rule: how items are drawn; its acceptance rate is updated.
        pool: receives the items.

    Raises:
        DataError: a score is NaN; names the role.
    """
    unfilled = torch.ones(len(chunk.users), dtype=torch.bool, device=chunk.users.device)
    if rule.direction.guide_top is not None and rule.direction.sampling == "rank_discrepancy":
        unfilled = fill_within_top(chunk, rule, pool)
    elif rule.direction.sampling == "rank_discrepancy":
        is_power = rule.direction.shape == "exp" and rule.direction.rank_scale == "logarithmic"
        unfilled = (fill_by_power if is_power else fill_by_rejection)(chunk, rule, pool)
    elif rule.direction.listed(rule.learner, rule.guide):
        unfilled = fill_from_head(chunk, rule, pool)
    if unfilled.any():
        fill_by_search(chunk, rule, pool, unfilled)


def fill_by_rejection(chunk: Chunk, rule: Rule, pool: Pool) -> Tensor:
    """Propose items uniformly and accept them by their weight, where that costs less than weighing every item.

    Returns:
        bool [C], the rows that are still to fill.
    """
    users, n_columns, direction = chunk.users, chunk.n_columns, rule.direction
    everyone = torch.ones(len(users), dtype=torch.bool, device=users.device)
    scale = direction.scale(rule.n_items)
    greatest = direction.greatest(n_columns, scale)
    is_exp = direction.shape == "exp"
    if is_exp:  # no weight is smaller
        rule.acceptance = max(rule.acceptance, math.exp(-2 * greatest))
    too_many = rule.proposals(int(pool.sizes[users].max())) > (n_columns if is_exp else n_columns // 4)
    if not chunk.is_whole or too_many or (is_exp and greatest > _LARGEST_EXPONENT):
        return everyone
    own, other = chunk.ranks(rule.learner), chunk.ranks(rule.guide)

    def weigh(flat_indices: Tensor) -> Tensor:
        difference = direction.difference(own.at(flat_indices), other.at(flat_indices), scale)
        return discrepancy_weights(difference, direction.shape, greatest)

    def propose_some(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        return propose(weigh, rows, n_columns, count, chunk.generator)

    return _fill_by_proposals(chunk, rule, pool, everyone, propose_some)


def fill_by_power(chunk: Chunk, rule: Rule, pool: Pool) -> Tensor:
    """Draw with weights that are a power of the quotient of two ranks: `exp` of logarithmic ranks.

    p(j) is proportional to (rank_a(j) / rank_b(j)) ** power

    An item of the list b is proposed with p(rank r) proportional to r ** -power. It is accepted with probability
    (rank_a / n) ** power, which needs no rank: with power 1 it is the probability that an item drawn uniformly is not
    below the proposed one in a. With another power, the item drawn is at position n * u ** (1 / power), u uniform.

    Returns:
        bool [C], the rows that are still to fill: those with many equal scores.
    """
    users, n_columns, generator = chunk.users, chunk.n_columns, chunk.generator
    scale = rule.direction.scale(rule.n_items)
    above, below = (rule.learner, rule.guide) if scale > 0 else (rule.guide, rule.learner)
    power = abs(scale)
    if not chunk.is_whole or power > _LARGEST_POWER or rule.proposals(int(pool.sizes[users].max())) > 2 * n_columns:
        return torch.ones(len(users), dtype=torch.bool, device=users.device)
    listed, scores = chunk.order(below, n_columns), chunk.masked(above)
    clear = listed.clear
    if power != 1:
        order = chunk.order(above, n_columns)
        clear = clear & order.clear
    lengths = n_columns - torch.bincount(chunk.excluded[0], minlength=len(users))
    corrections = rule.corrections(power, users.device)

    def propose_some(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        positions = propose_positions(lengths[rows], count, power, generator)
        begins = (rows * n_columns).unsqueeze(1)
        columns = listed.at(begins + positions)
        uniform = torch.rand(2, *columns.shape, generator=generator, device=columns.device)
        if power == 1:  # drawn from all columns: an excluded one, of score -inf, is never above
            others = index_from_uniform(uniform[0], lengths.new_tensor(n_columns))
        else:
            places = index_from_uniform(uniform[0].double().pow_(1 / power), lengths[rows].unsqueeze(1))
            others = order.at(begins + places)
        own, other = scores.take(begins + columns), scores.take(begins + others)
        accepted = (other >= own) & (uniform[1] < corrections.take(positions))
        # Items of equal score share their mean rank, so that one of two is above the other half of the time.
        ties = ((other == own) & (others != columns)).nonzero(as_tuple=True)
        accepted[ties] &= torch.rand(len(ties[0]), generator=generator, device=columns.device) < 0.5
        return columns, accepted

    return _fill_by_proposals(chunk, rule, pool, clear, propose_some)


def _some_more(expected: float) -> int:
    """Number of proposals where so many are expected to do."""
    return int(_MARGIN * expected) + _FEW_MORE


def _fill_by_proposals(
    chunk: Chunk,
    rule: Rule,
    pool: Pool,
    rows: Tensor,
    propose_some: Callable[[Tensor, int], tuple[Tensor, Tensor]],
) -> Tensor:
    """Take the first accepted proposals of each row, in a few rounds.

    Later rounds propose as many as the row with the lowest acceptance so far needs, if these cost less than a search.
    A row with too few accepted ones is left as a whole, so that no item is favoured.

    Args:
        chunk, rule, pool: see `fill`.
        rows: bool [C], the rows to fill.
        propose_some: gives columns and whether they are accepted, [R, count], for row numbers [R] and a count.

    Returns:
        bool [C], the rows that are still to fill.
    """
    sizes, starts = pool.sizes[chunk.users], pool.starts[chunk.users]
    unfilled, left = torch.ones_like(rows), rows.nonzero().squeeze(1)
    have, proposed = torch.zeros_like(sizes), 0
    for number in range(_ROUNDS):
        if not len(left):
            break
        lacking = (sizes - have)[left]
        count = rule.proposals(int(lacking.max()))
        if number:
            needed = proposed * lacking / have[left].clamp(min=1)
            most = max(count, chunk.n_columns // _OF_A_SEARCH)
            count = min(_some_more(float(needed.max())), most)
        proposed += count
        means = []
        for some in left.split(max(1, _PROPOSALS_AT_ONCE // count)):
            wanted = (sizes - have)[some]
            columns, accepted = propose_some(some, count)
            order = accepted.cumsum(dim=1)
            places, draws = (accepted & (order <= wanted.unsqueeze(1))).nonzero(as_tuple=True)
            first = (starts + have - 1)[some]
            pool.items[first[places] + order[places, draws]] = chunk.items(columns[places, draws])
            have[some] += order[:, -1]
            means.append(accepted.float().mean())
        if number == 0:
            rule.acceptance = max(float(torch.stack(means).mean()), _LEAST_ACCEPTANCE)
        is_full = (have >= sizes)[left]
        unfilled[left[is_full]] = False
        left = left[~is_full]
    return unfilled


def fill_from_head(chunk: Chunk, rule: Rule, pool: Pool) -> Tensor:
    """Draw from the head of one role's list.

    Rows with equal scores in the head are not filled: the search treats them equally.

    Returns:
        bool [C], the rows that are still to fill.
    """
    users, n_columns = chunk.users, chunk.n_columns
    listed = rule.direction.listed(rule.learner, rule.guide)
    temperature = max(rule.direction.top_temperature, 1 / STEEPEST)
    length = min(head_length(temperature), n_columns - 1)
    if listed is None or not chunk.is_whole:
        return torch.ones(len(users), dtype=torch.bool, device=users.device)
    order = chunk.order(listed, length + 1)
    clear = order.clear
    if clear.any():
        lengths = (n_columns - torch.bincount(chunk.excluded[0], minlength=len(users)))[clear].clamp(max=length)
        positions = draw_positions(lengths, int(pool.sizes[users[clear]].max()), temperature, chunk.generator)
        begins = clear.nonzero() * (length + 1)
        pool.put(users[clear], chunk.items(order.at(begins + positions)))
    return ~clear


def fill_within_top(chunk: Chunk, rule: Rule, pool: Pool) -> Tensor:
    """Draw by rank discrepancy among the first items of the guide's list; the others are neither ranked nor weighed.

    Rows with equal scores in this head are not filled: the search treats them equally.

    Returns:
        bool [C], the rows that are still to fill.
    """
    users, n_columns, direction = chunk.users, chunk.n_columns, rule.direction
    assert direction.guide_top is not None
    length = min(direction.guide_top, n_columns - 1)
    if not chunk.is_whole:
        return torch.ones(len(users), dtype=torch.bool, device=users.device)
    order = chunk.order(rule.guide, length + 1)
    clear = order.clear
    if not clear.any():
        return ~clear
    columns = order.columns[clear, :length].long()
    begins = clear.nonzero() * n_columns
    own = chunk.ranks(rule.learner).at(begins + columns)
    ranks = torch.arange(1.0, length + 1, device=users.device).expand_as(own).clone()
    beyond = own.isnan()  # training items and padding come last, where a user has too few others
    difference = direction.difference(own, ranks, direction.scale(rule.n_items)).masked_fill_(beyond, -torch.inf)
    weights = discrepancy_weights(difference, direction.shape, difference.amax(dim=1, keepdim=True))
    count = int(pool.sizes[users[clear]].max())
    drawn = draw(weights, indices_of(beyond), count, chunk.generator)
    pool.put(users[clear], chunk.items(columns.gather(1, drawn)))
    return ~clear


def fill_by_search(chunk: Chunk, rule: Rule, pool: Pool, rows: Tensor) -> None:
    """Weigh every item and draw by searching the cumulative weights.

    Args:
        chunk, rule, pool: see `fill`.
        rows: bool [C], the rows to fill.
    """
    users, excluded, direction = chunk.users[rows], of_rows(chunk.excluded, rows), rule.direction
    if direction.sampling == "uniform":
        weights = uniform_weights(len(users), chunk.n_columns, excluded)
    elif listed := direction.listed(rule.learner, rule.guide):
        weights = top_weights(chunk.ranks_of_rows(listed, rows), excluded, direction.top_temperature)
    else:
        own, other = (chunk.ranks_of_rows(role, rows) for role in (rule.learner, rule.guide))
        if direction.guide_top is not None:
            best = other.nan_to_num(torch.inf).amin(dim=1, keepdim=True)  # equal scores share their mean rank
            excluded = indices_of(other.isnan() | (other > best.clamp(min=direction.guide_top)))
        difference = direction.difference(own, other, direction.scale(rule.n_items))
        difference[excluded] = -torch.inf
        weights = discrepancy_weights(difference, direction.shape, difference.amax(dim=1, keepdim=True))
    column_weights = None if chunk.column_weights is None else chunk.column_weights[rows]
    count = int(pool.sizes[users].max())
    columns = draw(weights, excluded, count, chunk.generator, column_weights, pool.workspace.like(weights))
    pool.put(users, chunk.items(columns, rows))

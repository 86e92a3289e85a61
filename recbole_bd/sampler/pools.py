"""The drawn items of one learner, and the three ways of drawing them for a chunk of users.

Each way fills rows of a `Pool` by a `Rule`. Rejection sampling and draws from the head of a list are cheap but not
always possible. A search in the cumulative weights of all items fills the remaining rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_bd.sampler.candidates import Chunk
from recbole_bd.sampler.direction import STEEPEST, Direction
from recbole_bd.sampler.draws import (
    discrepancy_weights,
    draw,
    draw_positions,
    head_length,
    propose,
    top_weights,
    uniform_weights,
)
from recbole_bd.sampler.seen_items import of_rows

# Rejection sampling: the acceptance rate assumed for the first chunk, and the lower bound of measured rates.
_FIRST_ACCEPTANCE, _LEAST_ACCEPTANCE = 0.25, 1e-3
# Largest exponent of the exp shape for which rejection sampling from all items is tried.
_LARGEST_EXPONENT = 3.0


class Workspace:
    """Memory for cumulative weights, float64, reused by every chunk."""

    def __init__(self, device: torch.device):
        self._memory = torch.empty(0, dtype=torch.float64, device=device)

    def like(self, weights: Tensor) -> Tensor:
        """Uninitialised memory of the shape of `weights`, float64."""
        if len(self._memory) < weights.numel():
            self._memory = torch.empty(weights.numel(), dtype=torch.float64, device=self._memory.device)
        return self._memory[: weights.numel()].view(weights.shape)


@dataclass(frozen=True)
class Pool:
    """The items drawn for one learner, user by user.

    Attributes:
        items: int32 [sum of `sizes`], written in place.
        sizes: int64 [n_users], items drawn per user.
        starts: int64 [n_users], index of each user's first item in `items`.
        workspace: memory that draws may overwrite.
    """

    items: Tensor
    sizes: Tensor
    starts: Tensor
    workspace: Workspace

    def put(self, users: Tensor, drawn: Tensor) -> None:
        """Keep as many of each user's draws as the pool has room for.

        Args:
            users: int64 [C].
            drawn: int32 [C, K], item ids.
        """
        draws = torch.arange(drawn.shape[1], device=drawn.device)
        wanted = draws < self.sizes[users].unsqueeze(1)
        self.items[(self.starts[users].unsqueeze(1) + draws)[wanted]] = drawn[wanted]


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

    def forget(self) -> None:
        """Assume the first acceptance rate again, so that spans of users do not depend on one another."""
        self.acceptance = _FIRST_ACCEPTANCE


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
    if rule.direction.sampling == "rank_discrepancy":
        unfilled = fill_by_rejection(chunk, rule, pool)
    elif rule.direction.listed(rule.learner, rule.guide):
        unfilled = fill_from_head(chunk, rule, pool)
    if unfilled.any():
        fill_by_search(chunk, rule, pool, unfilled)


def fill_by_rejection(chunk: Chunk, rule: Rule, pool: Pool) -> Tensor:
    """Draw by rejection sampling, where weighing the proposals costs less than weighing every item.

    A row with too few accepted proposals is dropped as a whole, so that no item is favoured.

    Returns:
        bool [C], the rows that are still to fill.
    """
    users, n_columns, direction = chunk.users, chunk.n_columns, rule.direction
    scale, sizes = direction.scale(rule.n_items), pool.sizes[users].unsqueeze(1)
    greatest = direction.greatest(n_columns, scale)
    count = int(1.25 * int(sizes.max()) / rule.acceptance) + 16
    too_peaked = direction.shape == "exp" and greatest > _LARGEST_EXPONENT
    if not chunk.is_whole or count > n_columns // 4 or too_peaked:
        return torch.ones(len(users), dtype=torch.bool, device=users.device)
    own, other = chunk.ranks(rule.learner), chunk.ranks(rule.guide)

    def weigh(flat_indices: Tensor) -> Tensor:
        difference = direction.difference(own.at(flat_indices), other.at(flat_indices), scale)
        return discrepancy_weights(difference, direction.shape, greatest)

    columns, accepted = propose(weigh, len(users), n_columns, count, chunk.generator)
    order = accepted.cumsum(dim=1)
    enough = order[:, -1:] >= sizes
    rows, draws = (accepted & enough & (order <= sizes)).nonzero(as_tuple=True)
    pool.items[pool.starts[users][rows] + order[rows, draws] - 1] = chunk.items(columns[rows, draws])
    rule.acceptance = max(float(accepted.float().mean()), _LEAST_ACCEPTANCE)
    return ~enough.squeeze(1)


def fill_from_head(chunk: Chunk, rule: Rule, pool: Pool) -> Tensor:
    """Draw from the head of one role's list, where the head is a small part of the catalogue.

    Rows with tied scores in the head are not filled: the search treats ties equally.

    Returns:
        bool [C], the rows that are still to fill.
    """
    listed = rule.direction.listed(rule.learner, rule.guide)
    temperature = max(rule.direction.top_temperature, 1 / STEEPEST)
    length = head_length(temperature)
    unfilled = torch.ones(len(chunk.users), dtype=torch.bool, device=chunk.users.device)
    if listed is None or not chunk.is_whole or length > chunk.n_columns // 16:
        return unfilled
    logits, columns = chunk.best(listed, length + 1)
    clear = ((logits[:, 1:] < logits[:, :-1]) | (logits[:, 1:] == -torch.inf)).all(dim=1)
    if not clear.any():
        return unfilled
    users, logits, columns = chunk.users[clear], logits[clear, :length], columns[clear, :length]
    lengths = (logits > -torch.inf).sum(dim=1)
    positions = draw_positions(lengths, int(pool.sizes[users].max()), temperature, chunk.generator)
    pool.put(users, chunk.items(columns.gather(1, positions)))
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
        weights = top_weights(chunk.ranks(listed).everywhere()[rows], excluded, direction.top_temperature)
    else:
        own, other = (chunk.ranks(role).everywhere()[rows] for role in (rule.learner, rule.guide))
        difference = direction.difference(own, other, direction.scale(rule.n_items))
        difference[excluded] = -torch.inf
        weights = discrepancy_weights(difference, direction.shape, difference.amax(dim=1, keepdim=True))
    column_weights = None if chunk.column_weights is None else chunk.column_weights[rows]
    count = int(pool.sizes[users].max())
    columns = draw(weights, excluded, count, chunk.generator, column_weights, pool.workspace.like(weights))
    pool.put(users, chunk.items(columns, rows))

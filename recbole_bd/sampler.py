"""The items that one role takes from the other, drawn from both roles' rankings.

Nothing of size users x items is kept: users come in chunks, and what stays is the drawn items, `sum(pool_sizes)` per
learner.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recbole_bd.distributed import group
from recbole_bd.lists import best_first, draw_places, head_length, listable
from recbole_bd.ranking import METHODS, Places, Ranks, SeenItems, among, of_rows, slot

SAMPLINGS = ("rank_discrepancy", "uniform", "top", "own_top")
SHAPES = ("tanh", "exp")
RANK_ORDERS = ("paper", "reference")
RANK_SCALES = ("absolute", "relative", "logarithmic")
RANKINGS = (*METHODS, "sampled")

# Users a role scores at once at least: one matrix product of many users costs less than many of a few.
_USERS_SCORED_AT_ONCE = 40
# Users whose draws come from one source of chance, about.
_USERS_A_SPAN = 256
# Drawing by rejection: how much of the proposals is accepted until it is known, and the largest exponent of the exp
# shape for which proposals from all items are worth while.
_FIRST_ACCEPTANCE = 0.25
_LARGEST_EXPONENT = 3.0
# Below this tanh(x) is x, but for less than one part in a million.
_FLAT = 1e-3
# Beyond this a rank difference times a steepness might leave float32, where infinity times 0 is no number.
_STEEPEST = 1e25


@dataclass(frozen=True)
class Direction:
    """How the items that one role learns on are drawn.

    Attributes:
        sampling: `rank_discrepancy` (the paper), `uniform`, `top`, the head of the guide's list, or `own_top`, that of
            the learner's.
        shape: `tanh`, saturating, or `exp`, sharply peaked.
        eps: steepness of the shape per position; per catalogue when `rank_scale` is relative; per factor e between two
            ranks when it is logarithmic.
        rank_order: `paper`, items the guide ranks higher; `reference`, the public code's opposite.
        rank_scale: `absolute` differences in positions, `relative` to the number of items, or `logarithmic`, of the
            ranks' logarithms (this package's own).
        top_temperature: width of `top` and `own_top` in positions, p(rank r) proportional to
            exp(-r / top_temperature).

    Raises:
        ValueError: a value that is not allowed.
    """

    sampling: str = "rank_discrepancy"
    shape: str = "tanh"
    eps: float = 0.01
    rank_order: str = "paper"
    rank_scale: str = "absolute"
    top_temperature: float = 10.0

    def scale(self, n_items: int, stretch: float = 1.0) -> float:
        """What a difference is multiplied by before the shape is taken; negative for the reference's order.

        Args:
            n_items: size of the catalogue with padding.
            stretch: how many positions of the catalogue a rank stands for; a ratio of ranks does not depend on it.

        Returns:
            `eps` per unit of the difference, 1e25 at most; negative for the reference's order.
        """
        steepness = self.eps * (1.0 if self.rank_scale == "logarithmic" else stretch)
        if self.rank_scale == "relative":
            steepness /= n_items - 1
        steepness = min(steepness, _STEEPEST)
        return -steepness if self.rank_order == "reference" else steepness

    def difference(self, learner_rank: Tensor, guide_rank: Tensor, scale: float) -> Tensor:
        """How much higher the guide ranks items than the learner, or the opposite, as the shapes take it.

        (rank_learner - rank_guide) * scale, or of the ranks' natural logarithms, by which `exp` becomes the power
        (rank_learner / rank_guide) ** scale and differences at the top of a list count as much as they matter.

        Args:
            learner_rank, guide_rank: float32 [C, K], 1 is best; changed in place.
            scale: see `scale`.

        Returns:
            float32 [C, K], in the place of `learner_rank`; NaN where a rank is.
        """
        if self.rank_scale == "logarithmic":
            learner_rank.log_()
            guide_rank.log_()
        return learner_rank.sub_(guide_rank).mul_(scale)

    def listed(self, learner: str, guide: str) -> str | None:
        """The role from the head of whose list items are drawn; None where they are drawn otherwise."""
        return {"top": guide, "own_top": learner}.get(self.sampling)

    def greatest(self, n_ranked: int, scale: float) -> float:
        """What no difference among so many items is above."""
        return abs(scale) * (math.log(n_ranked) if self.rank_scale == "logarithmic" else n_ranked)

    def __post_init__(self) -> None:
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


# --- weights and draws -----------------------------------------------------------------------------------------------
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


def top_weights(rank: Tensor, excluded: Places, temperature: float) -> Tensor:
    """Unnormalised probability exp(-(rank - best rank) / temperature) of each item.

    Args:
        rank: [C, n_items], 1 is best.
        excluded: places of what may not be drawn.
        temperature: above 0, in positions.

    Returns:
        float32 [C, n_items] in [0, 1], 0 at excluded places.
    """
    exponent = rank * (-1 / math.log(2) / max(temperature, 1 / _STEEPEST))
    exponent[excluded] = -torch.inf
    return exponent.sub_(exponent.amax(dim=1, keepdim=True)).exp2_()  # exp takes 15 times as long where it underflows


def uniform_weights(n_rows: int, n_items: int, excluded: Places) -> Tensor:
    """Weight 1 of every item that may be drawn, 0 at excluded places. float32 [n_rows, n_items]."""
    weights = torch.ones(n_rows, n_items, device=excluded[0].device)
    weights[excluded] = 0
    return weights


def draw(
    weights: Tensor, excluded: Places, count: int, generator: torch.Generator, room: Tensor | None = None
) -> Tensor:
    """Draw items with replacement in proportion to their weights; an item of weight zero is never drawn.

    Args:
        weights: [C, n_items], not negative, 0 at excluded items. A row that is all zero becomes uniform, in place.
        excluded: places of the items that are never drawn; at least one item of each row is not among them.
        count: draws per row.
        generator: the source of chance, on the device of `weights`.
        room: float64 [C, n_items], written over: where draws follow on draws, fresh memory for the cumulative weights
            costs ten times what summing them does.

    Returns:
        int64 [C, count], columns of `weights`.
    """
    empty = weights.sum(dim=1) == 0
    if empty.any():
        weights[empty] = uniform_weights(int(empty.sum()), weights.shape[1], of_rows(excluded, empty))
    cumulative = torch.cumsum(weights, dim=1, dtype=torch.float64, out=room)
    share = torch.rand(len(weights), count, dtype=torch.float64, generator=generator, device=weights.device)
    # In (0, total]: the first item whose cumulative weight reaches it has a weight of its own.
    return torch.searchsorted(cumulative, (1 - share).mul_(cumulative[:, -1:]))


def propose(
    weigh: Callable[[Tensor], Tensor], n_rows: int, n_items: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Propose items uniformly and accept each with its weight: accepted ones are drawn in proportion to the weights.

    Args:
        weigh: weights in [0, 1] at places [n_rows, count], `row * n_items + item`; NaN where nothing may be drawn.
        n_rows: rows of the chunk.
        n_items: size of the catalogue with padding.
        count: proposals per row.
        generator: the source of chance.

    Returns:
        The proposed items, int64 [n_rows, count], never padding, and whether each was accepted, bool [n_rows, count].
    """
    share = torch.rand(n_rows, count, dtype=torch.float64, generator=generator, device=generator.device)
    share.mul_(n_items - 1)
    items = share.long()  # the whole part names the item, the rest of the same number decides
    share.sub_(items)
    items.add_(1)
    rows = torch.arange(n_rows, device=generator.device).unsqueeze(1)
    return items, share < weigh(items + rows * n_items)


class _Chunk:
    """A few users, what is not drawn for them, and both roles' ranks, made when they are asked for.

    Args:
        users: int64 [C].
        columns: int64 [M], the items that are ranked, padding first; None for all items.
        n_items: size of the catalogue with padding.
        excluded: places of training items and padding, in columns.
        logits: logits [C, M] of a role, by its name.
        method: how ranks are made.
        chance: the source of what is drawn for these users.

    Attributes:
        n_columns: M.
        stretch: how many positions of the whole catalogue one position among the columns stands for.
    """

    def __init__(
        self,
        users: Tensor,
        columns: Tensor | None,
        n_items: int,
        excluded: Places,
        logits: Callable[[str], Tensor],
        method: str,
        chance: torch.Generator,
    ):
        self.users, self.columns, self.excluded, self.chance = users, columns, excluded, chance
        self.n_columns = n_items if columns is None else len(columns)
        self.stretch = (n_items - 1) / (self.n_columns - 1)
        self._logits, self._method = logits, method
        self._ranks: dict[str, Ranks] = {}

    def items(self, places: Tensor) -> Tensor:
        """The items in some columns, as they are kept."""
        return (places if self.columns is None else self.columns[places]).to(torch.int32)

    def best(self, role: str, length: int) -> tuple[Tensor, Tensor]:
        """The best columns of one role, of what may be drawn.

        Returns:
            Logits, float32 [C, length], the best first and -inf behind the last, and their columns.

        Raises:
            DataError: a score is not a number.
        """
        return best_first(listable(self._logits(role), self.excluded, role), length)

    def ranks(self, role: str) -> Ranks:
        """The ranks of one role."""
        if role not in self._ranks:
            self._ranks[role] = Ranks(self._logits(role), self.excluded, self._method, role)
        return self._ranks[role]


class DistillationSampler:
    """Draws, once per refresh, the items that each role will learn on, and hands them out batch by batch.

    Args:
        seen: the training items.
        directions: how items are drawn, by the learner's name, `teacher` or `student`; the other one is its guide.
        pool_sizes: int64 [n_users], items drawn per user and refresh; at least 1, padding user 0 excepted.
        ranks: `binned` or `exact`, see `Ranks`; on a GPU always exact, since sorting costs little there. Or `sampled`:
            a refresh ranks and draws among `ranked_items` random items only, other ones for every few users, so that it
            costs users x ranked_items instead of users x items. A rank r of n items is then estimated with a standard
            error of n * sqrt(r / n * (1 - r / n) / ranked_items), which is largest, n / (2 * sqrt(ranked_items)), in
            the middle.
        ranked_items: see `sampled`.
        seed: of its own Generator.
        device: where ranks are computed and the drawn items stay.
        chunk_scores: scores ranked at a time; by default few on a CPU, so that they stay in its cache. A role scores at
            least 40 users at once.

    Attributes:
        pools: int32 [sum of `sizes`] by learner, the drawn items user by user: never padding or training items.
        sizes: int64 [n_users], items drawn per user; 0 for user 0.
        generator: the source of chance.

    Raises:
        ValueError: an unknown way of ranking.
    """

    def __init__(
        self,
        seen: SeenItems,
        directions: Mapping[str, Direction],
        pool_sizes: Tensor,
        ranks: str = "binned",
        ranked_items: int = 2048,
        seed: int = 0,
        device: torch.device | str = "cpu",
        chunk_scores: int | None = None,
    ):
        if ranks not in RANKINGS:
            raise ValueError(f"ranks={ranks!r}: must be one of {', '.join(RANKINGS)}")
        self.generator = torch.Generator(device).manual_seed(seed)
        self.device = self.generator.device
        self.seen = seen.to(self.device)
        self.directions = dict(directions)
        # Sampled items are counted into bins too: there are eight bins for each, so that few share one.
        self.ranks = "exact" if ranks == "exact" or self.device.type != "cpu" else "binned"
        self.ranked_items = ranked_items if ranks == "sampled" and ranked_items < seen.n_items - 1 else None
        self._set_sizes(pool_sizes.to(self.device))
        if chunk_scores is None:
            chunk_scores = 300_000 if self.device.type == "cpu" else 2**22
        self.chunk_users = max(1, chunk_scores // (self.ranked_items or seen.n_items))
        self.block_users = self.chunk_users * -(-_USERS_SCORED_AT_ONCE // self.chunk_users)
        self.pools: dict[str, Tensor] = {}
        self._room = torch.empty(0, dtype=torch.float64, device=self.device)

    def refresh(
        self,
        scores: Mapping[str, Callable[..., Tensor]],
        progress: Callable[[int], None] | None = None,
        users: Tensor | None = None,
        learners: Collection[str] | None = None,
    ) -> None:
        """Rank items by the roles whose rankings are asked for and draw the learners' items anew.

        Args:
            scores: logits of a role, by its name: of all items [C, n_items], padding first, for users [C], or, given a
                second argument [M], of these items [C, M].
            progress: called with the number of users done so far.
            users: int64, no padding: those whose items are drawn; the others keep theirs. None: all, as it must be the
                first time.
            learners: those whose items are drawn; what was drawn for others is dropped. None: all.

        Raises:
            DataError: a score is not a number; names the role. What was drawn before stays, but for some of `users`.
        """
        directions = {name: one for name, one in self.directions.items() if learners is None or name in learners}
        if users is None:
            total = int(self.sizes.sum())
            pools = {name: torch.empty(total, dtype=torch.int32, device=self.device) for name in directions}
            users = torch.arange(1, len(self.sizes), device=self.device)
        else:
            pools = {name: self.pools[name] for name in directions}
        own = group()
        if own.size > 1:  # what others draw is added below
            redrawn = torch.zeros(len(self.sizes), dtype=torch.bool, device=self.device)
            redrawn[users] = True
            others = torch.repeat_interleave(redrawn, self.sizes)
            for pool in pools.values():
                pool[others] = 0
                if not own.is_first:
                    pool[~others] = 0
        done = 0
        for number, (span, chance) in enumerate(self._spans(users)):
            if number % own.size != own.rank:
                continue
            acceptance = dict.fromkeys(directions, _FIRST_ACCEPTANCE)
            for chunk in self._chunks(scores, span, chance):
                for learner, direction in directions.items():
                    guide = next(role for role in scores if role != learner)
                    left = torch.ones(len(chunk.users), dtype=torch.bool, device=self.device)
                    if direction.sampling == "rank_discrepancy":
                        acceptance[learner] = self._fill_by_rejection(
                            pools[learner], chunk, learner, guide, direction, acceptance[learner], left
                        )
                    elif listed := direction.listed(learner, guide):
                        self._fill_from_head(pools[learner], chunk, listed, direction.top_temperature, left)
                    if left.any():
                        self._fill_by_search(pools[learner], chunk, learner, guide, direction, left)
                done += len(chunk.users)
                if progress:
                    progress(done)
        for pool in pools.values():
            own.sum_(pool)
        self.pools = pools

    def _spans(self, users: Tensor) -> Iterator[tuple[Tensor, torch.Generator]]:
        """Users in spans, each with a source of chance of its own: what is drawn in one does not depend on the others.

        Users of similar pool size are together, so that few draws are made in vain.
        """
        ordered = users[torch.argsort(self.sizes[users], stable=True)]
        base = int(torch.randint(2**62, (1,), generator=self.generator, device=self.device))
        for number, span in enumerate(ordered.split(self.block_users * max(1, _USERS_A_SPAN // self.block_users))):
            yield span, torch.Generator(self.device).manual_seed(base + number)

    def _chunks(
        self, scores: Mapping[str, Callable[..., Tensor]], users: Tensor, chance: torch.Generator
    ) -> Iterator[_Chunk]:
        """Users in chunks, of which a few at a time are scored together."""
        for block in users.split(self.block_users):
            tables: dict[str, tuple[Tensor, ...]] = {}
            parts = block.split(self.chunk_users)
            columns, excluded = self._columns(parts, chance)
            wanted = (block,) if columns is None else (block, columns)
            for number, users in enumerate(parts):

                def logits(
                    role: str,
                    wanted: tuple[Tensor, ...] = wanted,
                    tables: dict[str, tuple[Tensor, ...]] = tables,
                    number: int = number,
                ) -> Tensor:
                    if role not in tables:
                        tables[role] = scores[role](*wanted).split(self.chunk_users)
                    return tables[role][number]

                yield _Chunk(users, columns, self.seen.n_items, excluded[number], logits, self.ranks, chance)

    def _columns(self, parts: Sequence[Tensor], chance: torch.Generator) -> tuple[Tensor | None, list[Places]]:
        """What is ranked for some chunks of users, and what of it is not drawn for each.

        Returns:
            Padding and random items, or None for all items, also where someone has seen all of the random ones; and the
            places of padding and training items among them, chunk by chunk.
        """
        everywhere = [self.seen.of(users) for users in parts]
        if self.ranked_items is None:
            return None, everywhere
        some = torch.randint(1, self.seen.n_items, (self.ranked_items,), generator=chance, device=self.device).unique()
        columns = torch.cat([some.new_zeros(1), some])
        excluded = [among(columns, places) for places in everywhere]
        if any((torch.bincount(rows) == len(columns)).any() for rows, _ in excluded):
            return None, everywhere
        return columns, excluded

    def _fill_by_rejection(
        self,
        pool: Tensor,
        chunk: _Chunk,
        learner: str,
        guide: str,
        direction: Direction,
        acceptance: float,
        left: Tensor,
    ) -> float:
        """Draw without looking at every item, where enough proposals are accepted for that to be the cheaper way.

        Rows that got all they need are struck from `left`; what the others got is dropped, whatever it was, so that
        nothing is favoured.

        Returns:
            The share of proposals that was accepted.
        """
        n_rows, n_columns = len(chunk.users), chunk.n_columns
        scale, sizes = direction.scale(self.seen.n_items, chunk.stretch), self.sizes[chunk.users].unsqueeze(1)
        greatest = direction.greatest(n_columns, scale)
        count = int(1.25 * int(sizes.max()) / acceptance) + 16
        if count > n_columns // 4 or (direction.shape == "exp" and greatest > _LARGEST_EXPONENT):
            return acceptance
        own, other = chunk.ranks(learner), chunk.ranks(guide)

        def weigh(places: Tensor) -> Tensor:
            difference = direction.difference(own.at(places), other.at(places), scale)
            return discrepancy_weights(difference, direction.shape, greatest)

        columns, accepted = propose(weigh, n_rows, n_columns, count, chunk.chance)
        order = accepted.cumsum(dim=1)
        enough = order[:, -1:] >= sizes
        rows, draws = (accepted & enough & (order <= sizes)).nonzero(as_tuple=True)
        slots = self.starts[chunk.users][rows] + order[rows, draws] - 1
        pool[slots] = chunk.items(columns[rows, draws])
        left &= ~enough.squeeze(1)
        return max(float(accepted.float().mean()), 1e-3)

    def _fill_from_head(self, pool: Tensor, chunk: _Chunk, listed: str, temperature: float, left: Tensor) -> None:
        """Draw from the head of a list, without weighing the rest, where that is by far the greater part.

        Rows with equal scores in the head are left to the search, which favours none of them.
        """
        temperature = max(temperature / chunk.stretch, 1 / _STEEPEST)
        length = head_length(temperature)
        if length > chunk.n_columns // 16:
            return
        logits, columns = chunk.best(listed, length + 1)
        clear = ((logits[:, 1:] < logits[:, :-1]) | (logits[:, 1:] == -torch.inf)).all(dim=1)
        if not clear.any():
            return
        users, logits, columns = chunk.users[clear], logits[clear, :length], columns[clear, :length]
        lengths = (logits > -torch.inf).sum(dim=1)
        places = draw_places(lengths, int(self.sizes[users].max()), temperature, chunk.chance)
        self._put(pool, users, chunk.items(columns.gather(1, places)))
        left &= ~clear

    def _put(self, pool: Tensor, users: Tensor, drawn: Tensor) -> None:
        """Keep as many of a user's draws, int32 [C, K], as the pool has room for."""
        draws = torch.arange(drawn.shape[1], device=self.device)
        wanted = draws < self.sizes[users].unsqueeze(1)
        pool[(self.starts[users].unsqueeze(1) + draws)[wanted]] = drawn[wanted]

    def _fill_by_search(
        self, pool: Tensor, chunk: _Chunk, learner: str, guide: str, direction: Direction, left: Tensor
    ) -> None:
        """Weigh every item of the rows in `left` and draw by searching the cumulative weights."""
        users, excluded = chunk.users[left], of_rows(chunk.excluded, left)
        if direction.sampling == "uniform":
            weights = uniform_weights(len(users), chunk.n_columns, excluded)
        elif listed := direction.listed(learner, guide):
            temperature = direction.top_temperature / chunk.stretch
            weights = top_weights(chunk.ranks(listed).everywhere()[left], excluded, temperature)
        else:
            own, other = (chunk.ranks(role).everywhere()[left] for role in (learner, guide))
            difference = direction.difference(own, other, direction.scale(self.seen.n_items, chunk.stretch))
            difference[excluded] = -torch.inf
            weights = discrepancy_weights(difference, direction.shape, difference.amax(dim=1, keepdim=True))
        columns = draw(weights, excluded, int(self.sizes[users].max()), chunk.chance, self._room_of(weights))
        self._put(pool, users, chunk.items(columns))

    def _room_of(self, weights: Tensor) -> Tensor:
        """Memory for the cumulative weights, the same for every chunk."""
        if len(self._room) < weights.numel():
            self._room = torch.empty(weights.numel(), dtype=torch.float64, device=self.device)
        return self._room[: weights.numel()].view(weights.shape)

    def sample(self, learner: str, users: Tensor, count: int, place: tuple[int, int] | None = None) -> Tensor:
        """Hand out items for a batch: random ones, with replacement, of those drawn for each user.

        Args:
            learner: the role that will learn on them.
            users: int64 [B], no padding; users may repeat.
            count: items per row.
            place: where the users stand in a batch that several processes share: rows before them, and rows of all.

        Returns:
            int64 [B, count], item ids; never padding or training items.

        Raises:
            RuntimeError: nothing has been drawn yet.
        """
        if learner not in self.pools:
            raise RuntimeError(f"no items have been drawn for the {learner}: call refresh first")
        before, rows = place or (0, len(users))
        share = torch.rand(rows, count, generator=self.generator, device=self.device)[before : before + len(users)]
        starts, sizes = (table.index_select(0, users).unsqueeze(1) for table in (self.starts, self.sizes))
        return self.pools[learner].take(starts + slot(share, sizes)).long()

    def _set_sizes(self, sizes: Tensor) -> None:
        self.sizes = sizes.clone()
        self.sizes[0] = 0
        self.starts = self.sizes.cumsum(0) - self.sizes

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what comes next: `sizes`, the generator's state, and `pools` by learner; tensors."""
        return {"pools": dict(self.pools), "sizes": self.sizes, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, with pools of the sizes of then."""
        self.pools = {name: pool.to(self.device) for name, pool in state["pools"].items()}
        self._set_sizes(state["sizes"].to(self.device))
        self.generator.set_state(state["generator"].cpu())

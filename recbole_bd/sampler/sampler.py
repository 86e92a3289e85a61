"""The items that one role takes from the other, drawn from both roles' rankings.

Nothing of size users x items is kept: users come in chunks, and what stays is the drawn items, `sum(pool_sizes)` per
learner.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_bd.sampler.candidates import Candidates, Chunk
from recbole_bd.sampler.direction import _STEEPEST, Direction
from recbole_bd.sampler.draws import (
    discrepancy_weights,
    draw,
    draw_places,
    head_length,
    propose,
    top_weights,
    uniform_weights,
)
from recbole_bd.sampler.ranks import METHODS
from recbole_bd.sampler.seen_items import SeenItems, of_rows, slot
from recbole_bd.system.distributed import group

RANKINGS = (*METHODS, "sampled")

# Users a role scores at once at least: one matrix product of many users costs less than many of a few.
_USERS_SCORED_AT_ONCE = 40
# Users whose draws come from one source of chance, about.
_USERS_A_SPAN = 256
# Drawing by rejection: how much of the proposals is accepted until it is known, and the largest exponent of the exp
# shape for which proposals from all items are worth while.
_FIRST_ACCEPTANCE = 0.25
_LARGEST_EXPONENT = 3.0


# --- weights and draws -----------------------------------------------------------------------------------------------


class DistillationSampler:
    """Draws, once per refresh, the items that each role will learn on, and hands them out batch by batch.

    Args:
        seen: the training items.
        directions: how items are drawn, by the learner's name, `teacher` or `student`; the other one is its guide.
        pool_sizes: int64 [n_users], items drawn per user and refresh; at least 1, padding user 0 excepted.
        ranks: `binned` or `exact`, see `Ranks`; on a GPU always exact, since sorting costs little there. Or `sampled`:
            a refresh ranks and draws among `ranked_items` random items, other ones for every few users, and those
            likely near the top, so that it costs users x ranked_items instead of users x items; see `Candidates`.
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
        is_sampled = ranks == "sampled" and ranked_items < seen.n_items - 1
        self.candidates = Candidates(self.seen, ranked_items) if is_sampled else None
        self._set_sizes(pool_sizes.to(self.device))
        if chunk_scores is None:
            chunk_scores = 300_000 if self.device.type == "cpu" else 2**22
        self.chunk_users = max(1, chunk_scores // (2 * ranked_items if is_sampled else seen.n_items))
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
                second argument, items [M] for all of them or [C, M] for each, of these [C, M].
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
        mine = torch.zeros(len(self.sizes), dtype=torch.bool, device=self.device)
        guides = {learner: next(role for role in scores if role != learner) for learner in directions}
        if self.candidates:
            self.candidates.begin(
                role for learner, direction in directions.items() for role in direction.ranked(learner, guides[learner])
            )
        done = 0
        for number, (span, chance) in enumerate(self._spans(users)):
            if number % own.size != own.rank:
                continue
            acceptance = dict.fromkeys(directions, _FIRST_ACCEPTANCE)
            for chunk in self._chunks(scores, span, chance):
                for learner, direction in directions.items():
                    guide = guides[learner]
                    left = torch.ones(len(chunk.users), dtype=torch.bool, device=self.device)
                    if direction.sampling == "rank_discrepancy":
                        acceptance[learner] = self._fill_by_rejection(
                            pools[learner], chunk, learner, guide, direction, acceptance[learner], left
                        )
                    elif listed := direction.listed(learner, guide):
                        self._fill_from_head(pools[learner], chunk, listed, direction.top_temperature, left)
                    if left.any():
                        self._fill_by_search(pools[learner], chunk, learner, guide, direction, left)
                if self.candidates:
                    self.candidates.learn(chunk)
                done += len(chunk.users)
                if progress:
                    progress(done)
            mine[span] = True
        if own.size > 1:
            self._collect(pools, users, mine)
        self.pools = pools

    def _collect(self, pools: Mapping[str, Tensor], users: Tensor, mine: Tensor) -> None:
        """Bring together what each process drew and knows; what no one drew anew is taken from the first.

        Args:
            pools: see `pools`.
            users: those for whom was drawn.
            mine: bool [n_users], those for whom this process did.
        """
        own = group()
        if own.is_first:
            others = torch.ones_like(mine)
            others[users] = False
            mine = mine | others
        for pool in pools.values():
            pool[torch.repeat_interleave(~mine, self.sizes)] = 0
            own.all_reduce(pool)
        for known in self.candidates.known.values() if self.candidates else ():
            known[~mine] = 0
            own.all_reduce(known)

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
    ) -> Iterator[Chunk]:
        """Users in chunks, of which a few at a time are scored together where all items are ranked."""
        if self.candidates:
            for part in users.split(self.chunk_users):
                chunk = self.candidates.chunk(part, scores, self.ranks, chance)
                yield from [chunk] if chunk else self._whole_chunks(scores, part, chance)
        else:
            for block in users.split(self.block_users):
                yield from self._whole_chunks(scores, block, chance)

    def _whole_chunks(
        self, scores: Mapping[str, Callable[..., Tensor]], block: Tensor, chance: torch.Generator
    ) -> Iterator[Chunk]:
        """Users that are scored together, in chunks, all items being ranked."""
        tables: dict[str, tuple[Tensor, ...]] = {}
        for number, users in enumerate(block.split(self.chunk_users)):

            def logits(role: str, number: int = number) -> Tensor:
                if role not in tables:
                    tables[role] = scores[role](block).split(self.chunk_users)
                return tables[role][number]

            yield Chunk(users, logits, self.seen.n_items, self.seen.of(users), self.ranks, chance)

    def _fill_by_rejection(
        self,
        pool: Tensor,
        chunk: Chunk,
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
        scale, sizes = direction.scale(self.seen.n_items), self.sizes[chunk.users].unsqueeze(1)
        greatest = direction.greatest(n_columns, scale)
        count = int(1.25 * int(sizes.max()) / acceptance) + 16
        if not chunk.is_whole or count > n_columns // 4 or (direction.shape == "exp" and greatest > _LARGEST_EXPONENT):
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

    def _fill_from_head(self, pool: Tensor, chunk: Chunk, listed: str, temperature: float, left: Tensor) -> None:
        """Draw from the head of a list, without weighing the rest, where that is by far the greater part.

        Rows with equal scores in the head are left to the search, which favours none of them.
        """
        temperature = max(temperature, 1 / _STEEPEST)
        length = head_length(temperature)
        if not chunk.is_whole or length > chunk.n_columns // 16:
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
        self, pool: Tensor, chunk: Chunk, learner: str, guide: str, direction: Direction, left: Tensor
    ) -> None:
        """Weigh every item of the rows in `left` and draw by searching the cumulative weights."""
        users, excluded = chunk.users[left], of_rows(chunk.excluded, left)
        if direction.sampling == "uniform":
            weights = uniform_weights(len(users), chunk.n_columns, excluded)
        elif listed := direction.listed(learner, guide):
            weights = top_weights(chunk.ranks(listed).everywhere()[left], excluded, direction.top_temperature)
        else:
            own, other = (chunk.ranks(role).everywhere()[left] for role in (learner, guide))
            difference = direction.difference(own, other, direction.scale(self.seen.n_items))
            difference[excluded] = -torch.inf
            weights = discrepancy_weights(difference, direction.shape, difference.amax(dim=1, keepdim=True))
        stands_for = None if chunk.stands_for is None else chunk.stands_for[left]
        count = int(self.sizes[users].max())
        columns = draw(weights, excluded, count, chunk.chance, stands_for, self._room_of(weights))
        self._put(pool, users, chunk.items(columns, left))

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
        """Everything that decides what comes next, as tensors: `sizes`, `pools` by learner, the generator's state, and
        the best items that are known, by role."""
        known = dict(self.candidates.known) if self.candidates else {}
        return {"pools": dict(self.pools), "sizes": self.sizes, "generator": self.generator.get_state(), "known": known}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, with pools of the sizes of then."""
        self.pools = {name: pool.to(self.device) for name, pool in state["pools"].items()}
        self._set_sizes(state["sizes"].to(self.device))
        if self.candidates:
            self.candidates.known = {name: known.to(self.device).clone() for name, known in state["known"].items()}
        self.generator.set_state(state["generator"].cpu())

"""The items that one role takes from the other, drawn from both roles' rankings.

Nothing of size users x items is kept: users come in chunks, and what stays is the drawn items, `sum(pool_sizes)` per
learner.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_bd.sampler.candidates import Candidates, Chunk, whole_chunks
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.pools import Pool, Rule, Workspace, fill
from recbole_bd.sampler.ranks import RANK_METHODS
from recbole_bd.sampler.seen_items import SeenItems, index_from_uniform
from recbole_bd.system.distributed import group

RANKINGS = (*RANK_METHODS, "sampled")

# Users a role scores at once at least: one matrix product of many users costs less than many of a few.
_USERS_SCORED_AT_ONCE = 40
# Users whose draws come from one random generator, about.
_USERS_A_SPAN = 256


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
        generator: random generator.

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
        self._workspace = Workspace(self.device)

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
        rules = _rules(self.directions, scores, learners, self.seen.n_items)
        pools = self._begin(rules, is_new=users is None)
        users = torch.arange(1, len(self.sizes), device=self.device) if users is None else users
        own, done = group(), 0
        drawn_here = torch.zeros(len(self.sizes), dtype=torch.bool, device=self.device)
        for number, (span, generator) in enumerate(self._spans(users)):
            if number % own.size != own.rank:
                continue
            for chunk in self._chunks(scores, span, generator):
                self._draw(chunk, rules, pools)
                done += len(chunk.users)
                if progress:
                    progress(done)
            for rule in rules.values():
                rule.forget()
            drawn_here[span] = True
        if own.size > 1:
            self._collect(pools, users, drawn_here)
        self.pools = {learner: pool.items for learner, pool in pools.items()}

    def _begin(self, rules: Mapping[str, Rule], is_new: bool) -> dict[str, Pool]:
        """Begin a refresh: pools by learner, empty ones or those of the last refresh, and room for known candidates."""
        total = int(self.sizes.sum())
        pools = {}
        for learner in rules:
            items = torch.empty(total, dtype=torch.int32, device=self.device) if is_new else self.pools[learner]
            pools[learner] = Pool(items, self.sizes, self.starts, self._workspace)
        if self.candidates:
            self.candidates.begin(role for r in rules.values() for role in r.direction.ranked(r.learner, r.guide))
        return pools

    def _draw(self, chunk: Chunk, rules: Mapping[str, Rule], pools: Mapping[str, Pool]) -> None:
        """Draw every learner's items for a chunk of users, and remember the best candidates."""
        for learner, rule in rules.items():
            fill(chunk, rule, pools[learner])
        if self.candidates:
            self.candidates.learn(chunk)

    def _collect(self, pools: Mapping[str, Pool], users: Tensor, drawn_here: Tensor) -> None:
        """Bring together what each process drew and knows; what no one drew anew is taken from the first.

        Args:
            pools: see `pools`.
            users: those for whom was drawn.
            drawn_here: bool [n_users], those for whom this process did.
        """
        own = group()
        if own.is_first:
            others = torch.ones_like(drawn_here)
            others[users] = False
            drawn_here = drawn_here | others
        for pool in pools.values():
            pool.items[torch.repeat_interleave(~drawn_here, self.sizes)] = 0
            own.all_reduce(pool.items)
        for known in self.candidates.known.values() if self.candidates else ():
            known[~drawn_here] = 0
            own.all_reduce(known)

    def _spans(self, users: Tensor) -> Iterator[tuple[Tensor, torch.Generator]]:
        """Users in spans, each with a random generator of its own: what is drawn in one does not depend on the others.

        Users of similar pool size are together, so that few draws are made in vain.
        """
        ordered = users[torch.argsort(self.sizes[users], stable=True)]
        base = int(torch.randint(2**62, (1,), generator=self.generator, device=self.device))
        for number, span in enumerate(ordered.split(self.block_users * max(1, _USERS_A_SPAN // self.block_users))):
            yield span, torch.Generator(self.device).manual_seed(base + number)

    def _chunks(
        self, scores: Mapping[str, Callable[..., Tensor]], users: Tensor, generator: torch.Generator
    ) -> Iterator[Chunk]:
        """Users in chunks, of which a few at a time are scored together where all items are ranked."""
        if not self.candidates:
            for block in users.split(self.block_users):
                yield from whole_chunks(block, scores, self.seen, self.ranks, generator, self.chunk_users)
            return
        for part in users.split(self.chunk_users):
            chunk = self.candidates.chunk(part, scores, self.ranks, generator)
            if chunk:
                yield chunk
            else:
                yield from whole_chunks(part, scores, self.seen, self.ranks, generator, self.chunk_users)

    def sample(self, learner: str, users: Tensor, count: int, shard: tuple[int, int] | None = None) -> Tensor:
        """Hand out items for a batch: random ones, with replacement, of those drawn for each user.

        Args:
            learner: the role that will learn on them.
            users: int64 [B], no padding; users may repeat.
            count: items per row.
            shard: rows of a shared batch before these users, and all its rows, where several processes share one.

        Returns:
            int64 [B, count], item ids; never padding or training items.

        Raises:
            RuntimeError: nothing has been drawn yet.
        """
        if learner not in self.pools:
            raise RuntimeError(f"no items have been drawn for the {learner}: call refresh first")
        before, rows = shard or (0, len(users))
        uniform = torch.rand(rows, count, generator=self.generator, device=self.device)[before : before + len(users)]
        starts, sizes = (table.index_select(0, users).unsqueeze(1) for table in (self.starts, self.sizes))
        return self.pools[learner].take(starts + index_from_uniform(uniform, sizes)).long()

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


def _rules(
    directions: Mapping[str, Direction], roles: Collection[str], learners: Collection[str] | None, n_items: int
) -> dict[str, Rule]:
    """How items are drawn, by learner; only for `learners` if given. The guide is the other one of the roles."""
    rules = {}
    for learner, direction in directions.items():
        if learners is None or learner in learners:
            guide = next(role for role in roles if role != learner)
            rules[learner] = Rule(learner, guide, direction, n_items)
    return rules

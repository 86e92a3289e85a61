"""Rank discrepancy-aware sampling: draws the items that each role learns on from both roles' rankings.

Users come in chunks, so no array of users x items is made. The drawn items stay: `sum(pool_sizes)` per learner.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from recbole_bd.sampler.candidates import Candidates, Chunk, whole_chunks
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.fill import Rule, fill
from recbole_bd.sampler.pool import Pool, Workspace
from recbole_bd.sampler.ranks import RANK_METHODS
from recbole_bd.sampler.seen_items import SeenItems, index_from_uniform
from recbole_bd.system.distributed import group
from recbole_bd.system.threads import MOST, each_in_threads, one_at_a_time

RANKINGS = (*RANK_METHODS, "sampled")

# Least number of users scored at once: one large matrix product costs less than many small ones.
_USERS_SCORED_AT_ONCE = 40
# Approximate number of users whose draws share a random generator.
_USERS_A_SPAN = 256


class DistillationSampler:
    """Draws the items that each role learns on, once per refresh, and hands them out batch by batch.

    Args:
        seen: the training items.
        directions: how items are drawn, by the learner's name, `teacher` or `student`; the other role is its guide.
        pool_sizes: int64 [n_users], items drawn per user and refresh, for every learner or by learner; at least 1,
            except for the padding user 0.
        ranks: `binned` or `exact`, see `Ranks`; always exact on a GPU, where sorting is cheap. `sampled` ranks and
            draws among random items and likely top items only, see `Candidates`. A refresh then costs
            users x ranked_items instead of users x items.
        ranked_items: number of random items for `sampled`.
        seed: seed of the sampler's own generator.
        device: holds the ranks and the drawn items.
        chunk_scores: scores ranked at a time; by default few on a CPU, to stay in its cache. At least 40 users are
            scored at once.
        guides: name, among the scores of a refresh, of what ranks in the guide's place, by learner. By default the
            guide is the first of the scores that is not the learner.

    Attributes:
        pools: int32 [sum of its sizes] by learner, the drawn items, user by user; never padding or training items.
        sizes: int64 [n_users] by learner, items drawn per user; 0 for user 0.
        starts: int64 [n_users] by learner, place of each user's first item in the pool.
        generator: random generator.

    Raises:
        ValueError: unknown `ranks`.
    """

    def __init__(
        self,
        seen: SeenItems,
        directions: Mapping[str, Direction],
        pool_sizes: Tensor | Mapping[str, Tensor],
        ranks: str = "binned",
        ranked_items: int = 2048,
        seed: int = 0,
        device: torch.device | str = "cpu",
        chunk_scores: int | None = None,
        guides: Mapping[str, str] | None = None,
    ):
        if ranks not in RANKINGS:
            raise ValueError(f"ranks={ranks!r}: must be one of {', '.join(RANKINGS)}")
        self.generator = torch.Generator(device).manual_seed(seed)
        self.device = self.generator.device
        self.seen = seen.to(self.device)
        self.directions, self.guides = dict(directions), dict(guides or {})
        # Sampled items are binned too: with eight bins for each item, few items share a bin.
        self.ranks = "exact" if ranks == "exact" or self.device.type != "cpu" else "binned"
        is_sampled = ranks == "sampled" and ranked_items < seen.n_items - 1
        self.candidates = Candidates(self.seen, ranked_items) if is_sampled else None
        self._set_sizes(pool_sizes)
        chunk_scores = chunk_scores or (600_000 if self.device.type == "cpu" else 2**24)
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
        """Rank items by the roles whose rankings are needed, and draw the learners' items anew.

        Args:
            scores: functions that give a role's logits, by role name. `users` int64 [C]: logits [C, n_items], padding
                first. `users, items` with items [M] or [C, M]: logits [C, M].
            progress: called with the number of users done so far.
            users: int64, no padding: users to draw for; others keep their items. None: all; required the first time.
            learners: learners to draw for; items of other learners are dropped. None: all.

        Raises:
            DataError: a score is NaN; names the role. Earlier items stay, except those of some of `users`.
        """
        rules = _rules(self.directions, self.guides, scores, learners, self.seen.n_items)
        pools = self._begin(rules, is_new=users is None)
        users = torch.arange(1, self.seen.n_users, device=self.device) if users is None else users
        own, done = group(), 0
        drawn_here = torch.zeros(self.seen.n_users, dtype=torch.bool, device=self.device)
        alone = one_at_a_time(scores)

        def draw_span(span: tuple[Tensor, torch.Generator]) -> Tensor:
            users, generator = span
            of_span = {learner: rule.anew() for learner, rule in rules.items()}
            for chunk in self._chunks(alone, users, generator):
                self._draw(chunk, of_span, pools)
            return users

        spans = [span for number, span in enumerate(self._spans(users)) if number % own.size == own.rank]
        in_order = self.device.type != "cpu" or len(spans) < 2 or _draw_numbers(scores, rules, users[:1])
        with closing(each_in_threads(draw_span, spans, 1 if in_order else MOST)) as drawn:
            for span in drawn:
                drawn_here[span] = True
                done += len(span)
                if progress:
                    progress(done)
        if own.size > 1:
            _collect(pools, self.candidates.known.values() if self.candidates else (), users, drawn_here)
        self.pools = {learner: pool.items for learner, pool in pools.items()}

    def _begin(self, rules: Mapping[str, Rule], is_new: bool) -> dict[str, Pool]:
        """Begin a refresh: pools by learner, empty ones or those of the last refresh, and room for known candidates."""
        pools = {}
        for learner in rules:
            sizes = self.sizes[learner]
            total = int(sizes.sum())
            items = torch.empty(total, dtype=torch.int32, device=self.device) if is_new else self.pools[learner]
            pools[learner] = Pool(items, sizes, self.starts[learner], self._workspace)
        if self.candidates:
            self.candidates.begin(role for r in rules.values() for role in r.direction.ranked(r.learner, r.guide))
        return pools

    def _draw(self, chunk: Chunk, rules: Mapping[str, Rule], pools: Mapping[str, Pool]) -> None:
        """Draw every learner's items for a chunk of users, and remember the best candidates."""
        for learner, rule in rules.items():
            fill(chunk, rule, pools[learner])
        if self.candidates:
            self.candidates.learn(chunk)

    def _spans(self, users: Tensor) -> Iterator[tuple[Tensor, torch.Generator]]:
        """Split users into spans with a random generator each, so that draws do not depend on other spans.

        Users are ordered by their draws, so that few draws are discarded.
        """
        draws = sum(self.sizes.values(), torch.zeros(self.seen.n_users, dtype=torch.int64, device=self.device))
        ordered = users[torch.argsort(draws[users], stable=True)]
        base = int(torch.randint(2**62, (1,), generator=self.generator, device=self.device))
        for number, span in enumerate(ordered.split(self.block_users * max(1, _USERS_A_SPAN // self.block_users))):
            yield span, torch.Generator(self.device).manual_seed(base + number)

    def _chunks(
        self, scores: Mapping[str, Callable[..., Tensor]], users: Tensor, generator: torch.Generator
    ) -> Iterator[Chunk]:
        """Split users into chunks; where all items are ranked, several chunks are scored together."""
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
        """Draw items for a batch: those at `places`, int64 [B, count]; never padding or training items."""
        return self.items_at(learner, self.places(learner, users, count, shard))

    def items_at(self, learner: str, places: Tensor) -> Tensor:
        """The items at places of a learner's pool. int64 of any shape to item ids, int64 of that shape."""
        return self.pools[learner].index_select(0, places.view(-1)).view(places.shape).long()

    def places(self, learner: str, users: Tensor, count: int, shard: tuple[int, int] | None = None) -> Tensor:
        """Draw for a batch: a run of each user's pool of independent draws, from any place around its end.

        Args:
            learner: the role that learns on them.
            users: int64 [B], no padding; users may repeat.
            count: items per row.
            shard: for a batch shared by several processes, the number of its rows before these and of all its rows.

        Returns:
            int64 [B, count], places in the learner's pool.

        Raises:
            RuntimeError: nothing has been drawn yet.
        """
        if learner not in self.pools:
            raise RuntimeError(f"no items have been drawn for the {learner}: call refresh first")
        before, rows = shard or (0, len(users))
        uniform = torch.rand(rows, generator=self.generator, device=self.device)[before : before + len(users)]
        starts, sizes = (table[learner].index_select(0, users) for table in (self.starts, self.sizes))
        run = index_from_uniform(uniform, sizes).unsqueeze(1) + torch.arange(count, device=self.device)
        return run.remainder_(sizes.unsqueeze(1)).add_(starts.unsqueeze(1))

    def _set_sizes(self, sizes: Tensor | Mapping[str, Tensor]) -> None:
        by_learner = dict.fromkeys(self.directions, sizes) if isinstance(sizes, Tensor) else sizes
        self.sizes = {learner: own.to(self.device, copy=True) for learner, own in by_learner.items()}
        for own in self.sizes.values():
            own[0] = 0
        self.starts = {learner: own.cumsum(0) - own for learner, own in self.sizes.items()}

    def state_dict(self) -> dict[str, Any]:
        """State for an exact resume, as tensors: `sizes` and `pools` by learner, the generator's state, and the known
        candidates by role."""
        known = dict(self.candidates.known) if self.candidates else {}
        drawn = {"pools": dict(self.pools), "sizes": dict(self.sizes)}
        return {**drawn, "generator": self.generator.get_state(), "known": known}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict`, pool sizes included; the draws that follow are bitwise the same."""
        self.pools = {name: pool.to(self.device) for name, pool in state["pools"].items()}
        self._set_sizes(state["sizes"])
        if self.candidates:
            self.candidates.known = {name: known.to(self.device).clone() for name, known in state["known"].items()}
        self.generator.set_state(state["generator"].cpu())


def _rules(
    directions: Mapping[str, Direction],
    guides: Mapping[str, str],
    names: Collection[str],
    learners: Collection[str] | None,
    n_items: int,
) -> dict[str, Rule]:
    """Rules by learner, only for `learners` if given. The guide is one of the names, by default the other role."""
    rules = {}
    for learner, direction in directions.items():
        if learners is None or learner in learners:
            guide = guides.get(learner) or next(name for name in names if name != learner)
            rules[learner] = Rule(learner, guide, direction, n_items)
    return rules


def _draw_numbers(scores: Mapping[str, Callable[..., Tensor]], rules: Mapping[str, Rule], users: Tensor) -> bool:
    """Whether needed scores depend on the order of calls, as they draw from the global random generator.

    Nothing is drawn from it. One thread calls in order anyway, and is not asked.
    """
    if torch.get_num_threads() == 1:
        return False
    before = torch.get_rng_state()
    for role in {role for rule in rules.values() for role in rule.direction.ranked(rule.learner, rule.guide)}:
        scores[role](users)
    is_changed = not torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(before)
    return is_changed


def _collect(pools: Mapping[str, Pool], known: Iterable[Tensor], users: Tensor, drawn_here: Tensor) -> None:
    """All-reduce the pools and known candidates of all processes; the first one also gives those of other users.

    Args:
        pools: pools by learner.
        known: known candidates of each role.
        users: int64, the users of this refresh.
        drawn_here: bool [n_users], the users that this process drew for.
    """
    own = group()
    if own.is_first:
        others = torch.ones_like(drawn_here)
        others[users] = False
        drawn_here = drawn_here | others
    for pool in pools.values():
        pool.items[torch.repeat_interleave(~drawn_here, pool.sizes)] = 0
        own.all_reduce(pool.items)
    for of_role in known:
        of_role[~drawn_here] = 0
        own.all_reduce(of_role)

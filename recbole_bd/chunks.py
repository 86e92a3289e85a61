"""A few users at a time, with both roles' ranks of all items, or of some items that stand for all."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from recbole_bd.lists import best_first, listable
from recbole_bd.ranking import Places, Ranks, SeenItems, among

# The best items of a role that are remembered for a user.
_KNOWN = 64


class Chunk:
    """A few users, what is not drawn for them, and both roles' ranks, made when they are asked for.

    Args:
        users: int64 [C].
        logits: logits [C, M] of a role, by its name.
        n_columns: M.
        excluded: places of training items, padding and what else is not ranked, in columns.
        method: how ranks are made.
        chance: the source of what is drawn for these users.
        items: int64 [C, M], the item in each column; None for all items, padding first.
        stands_for: float32 [C, M], how many items each column stands for, 0 at excluded places; None for one each.

    Attributes:
        is_whole: whether all items are ranked.
        n_columns: M.
    """

    def __init__(
        self,
        users: Tensor,
        logits: Callable[[str], Tensor],
        n_columns: int,
        excluded: Places,
        method: str,
        chance: torch.Generator,
        items: Tensor | None = None,
        stands_for: Tensor | None = None,
    ):
        self.users, self.n_columns, self.excluded, self.chance = users, n_columns, excluded, chance
        self.is_whole, self.stands_for = items is None, stands_for
        self._items, self._logits, self._method = items, logits, method
        self._ranks: dict[str, Ranks] = {}

    def items(self, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """The items in some columns, as they are kept.

        Args:
            columns: int64, of any shape; where not all items are ranked [R, K].
            rows: the rows they are of, int64 or bool; None for all.

        Returns:
            int32, of the shape of `columns`.
        """
        if self._items is not None:
            columns = (self._items if rows is None else self._items[rows]).gather(1, columns)
        return columns.to(torch.int32)

    def best(self, role: str, length: int) -> tuple[Tensor, Tensor]:
        """The best columns of one role, of what may be drawn.

        Returns:
            Logits, float32 [C, length], the best first and -inf behind the last, and their columns.

        Raises:
            DataError: a score is not a number.
        """
        return best_first(listable(self._logits(role), self.excluded, role), length)

    def ranks(self, role: str) -> Ranks:
        """The ranks of one role, in positions of the whole catalogue."""
        if role not in self._ranks:
            self._ranks[role] = Ranks(self._logits(role), self.excluded, self._method, role, self.stands_for)
        return self._ranks[role]


class Candidates:
    """What is ranked for a user where not all items are: random ones, and the best ones of each role known so far.

    Of the m items that are neither training items nor known, M random ones are ranked and stand for m / M each; known
    ones stand for themselves. A rank counts what stands above an item, so it is unbiased whatever is known, and its
    standard error is m * sqrt(p * (1 - p) / M), p being the share of the m above the item: m / (2 * sqrt(M)) at most,
    in the middle, and 0 for an item above which only known ones stand. What is best among all that was ranked is known
    from then on, so the top of the lists becomes exact within a few refreshes.

    Args:
        seen: the training items.
        count: random items ranked at a time, the same for the users of a chunk.

    Attributes:
        known: int32 [n_users, 64] by role, in no order; 0 is none.
    """

    def __init__(self, seen: SeenItems, count: int):
        self.seen, self.count = seen, count
        self.known: dict[str, Tensor] = {}

    def remember(self, roles: Iterable[str]) -> None:
        """Make room for the best items of these roles, where there is none."""
        for role in roles:
            if role not in self.known:
                shape = (self.seen.n_users, _KNOWN)
                self.known[role] = torch.zeros(shape, dtype=torch.int32, device=self.seen.items.device)

    def chunk(
        self, users: Tensor, scores: Mapping[str, Callable[..., Tensor]], method: str, chance: torch.Generator
    ) -> Chunk | None:
        """Draw what is ranked for some users.

        Args:
            users: int64 [C].
            scores: see `DistillationSampler.refresh`.
            method: how ranks are made.
            chance: the source of chance.

        Returns:
            The chunk, or None where someone has seen all of the random items, so that none stands for the others.
        """
        n_items, device = self.seen.n_items, users.device
        some = torch.randint(1, n_items, (self.count,), generator=chance, device=device).unique()
        random = torch.cat([some.new_zeros(1), some])
        none = torch.zeros(len(users), 0, dtype=torch.int64, device=device)
        known = torch.cat([none, *(of[users] for of in self.known.values())], dim=1).sort(dim=1).values
        known[:, 1:].masked_fill_(known[:, 1:] == known[:, :-1], 0)
        known = known if known.any() else none
        (rows, places), blanks = known.nonzero(as_tuple=True), (known == 0).nonzero(as_tuple=True)
        parts = [
            among(random, self.seen.of(users)),
            among(random, (rows, known[rows, places])),
            (blanks[0], blanks[1] + len(random)),
        ]
        excluded = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        others = n_items - 1 - self.seen.counts[users] - torch.bincount(rows, minlength=len(users))
        left_out = torch.cat([parts[0][0], parts[1][0]])
        drawn = len(random) - torch.bincount(left_out, minlength=len(users))
        if ((drawn == 0) & (others > 0)).any():
            return None
        stands_for = torch.ones(len(users), len(random) + known.shape[1], device=device)
        stands_for[:, : len(random)] = (others / drawn.clamp(min=1)).unsqueeze(1)
        stands_for[excluded] = 0
        items = torch.cat([random.expand(len(users), -1), known], dim=1)
        tables: dict[str, Tensor] = {}

        def logits(role: str) -> Tensor:
            if role not in tables:
                wanted = (random, known) if known.shape[1] else (random,)
                tables[role] = torch.cat([scores[role](users, some) for some in wanted], dim=1)
            return tables[role]

        return Chunk(users, logits, items.shape[1], excluded, method, chance, items, stands_for)

    def learn(self, chunk: Chunk) -> None:
        """Remember the best of what was ranked for a chunk, by the roles there is room for."""
        for role in self.known if not chunk.is_whole else ():
            logits, columns = chunk.best(role, min(_KNOWN, chunk.n_columns))
            items = chunk.items(columns).masked_fill(logits == -torch.inf, 0)
            self.known[role][chunk.users, : items.shape[1]] = items

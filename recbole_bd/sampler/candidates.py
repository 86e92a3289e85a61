"""Chunks of users with both roles' ranks of all items, or of sampled items that represent all."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from recbole_bd.sampler.order import Bounds, Order, order_of
from recbole_bd.sampler.ranks import FEW_COLUMNS, Ranks
from recbole_bd.sampler.seen_items import Indices, SeenItems, among, number_in, of_rows
from recbole_bd.sampler.top_lists import bounds_of, mask_excluded, topk_sorted

# Best items of a role remembered for each user, and how many of them count towards popularity.
_KNOWN, _LEADING = 256, 64


class Chunk:
    """A few users, their excluded items, and both roles' ranks, computed on demand.

    Args:
        users: int64 [C].
        logits: function from a role's name to its logits [C, M].
        n_columns: M.
        excluded: row and column indices of training items, padding and other columns that are not ranked.
        method: `binned` or `exact`, see `Ranks`.
        generator: random generator of these users.
        items: int64 [C, M], the item of each column; None for all items, padding first.
        column_weights: float32 [C, M], number of items each column represents, 0 at excluded indices; None: 1 each.

    Attributes:
        is_whole: whether all items are ranked.
        n_columns: M.
    """

    def __init__(
        self,
        users: Tensor,
        logits: Callable[[str], Tensor],
        n_columns: int,
        excluded: Indices,
        method: str,
        generator: torch.Generator,
        items: Tensor | None = None,
        column_weights: Tensor | None = None,
    ):
        self.users, self.n_columns, self.excluded, self.generator = users, n_columns, excluded, generator
        self.is_whole, self.column_weights = items is None, column_weights
        self._items, self._logits, self._method = items, logits, method
        self._ranks: dict[str, Ranks] = {}
        self._masked: dict[str, Tensor] = {}
        self._bounds: dict[str, Bounds] = {}
        self._orders: dict[tuple[str, int], Order] = {}

    def items(self, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """Item ids of some columns.

        Args:
            columns: int64, of any shape; where not all items are ranked [R, K].
            rows: the chunk's rows that `columns` belong to, int64 or bool; None for all.

        Returns:
            int32, of the shape of `columns`.
        """
        if self._items is not None:
            columns = (self._items if rows is None else self._items[rows]).gather(1, columns)
        return columns.to(torch.int32)

    def masked(self, role: str) -> Tensor:
        """Logits of one role, -inf where a column may not be drawn. float32 [C, M].

        Raises:
            DataError: a score is NaN.
        """
        if role not in self._masked:
            logits = self._logits(role)
            self._bounds[role] = bounds_of(logits, role)
            self._masked[role] = mask_excluded(logits, self.excluded, role, self._bounds[role])
        return self._masked[role]

    def order(self, role: str, length: int) -> Order:
        """The first columns in one role's order. With the method `binned` some may be off by a few places far down.

        Raises:
            DataError: a score is NaN.
        """
        is_few = self.n_columns <= FEW_COLUMNS  # one exact order serves all
        if length < self.n_columns and (is_few or (role, self.n_columns) in self._orders):
            return self.order(role, self.n_columns).first(length)
        if (role, length) not in self._orders:
            is_exact = is_few or (self._method == "exact" and length == self.n_columns)
            masked = self.masked(role)
            self._orders[role, length] = order_of(masked, length, None if is_exact else self._bounds[role])
        return self._orders[role, length]

    def ranks(self, role: str) -> Ranks:
        """The ranks of one role, in positions of the whole catalogue; 1 is best."""
        if role not in self._ranks:
            logits, order = self._logits(role), lambda: self.order(role, self.n_columns)
            self._ranks[role] = Ranks(logits, self.excluded, self._method, role, self.column_weights, order)
        return self._ranks[role]

    def ranks_of_rows(self, role: str, rows: Tensor) -> Tensor:
        """The ranks of all columns in some rows; no other row is ranked for it.

        Args:
            role: name of the role.
            rows: bool [C], R of them.

        Returns:
            float32 [R, M]; NaN where a column is not ranked.
        """
        if role in self._ranks or rows.all():
            return self.ranks(role).everywhere()[rows]
        weights = None if self.column_weights is None else self.column_weights[rows]
        excluded = of_rows(self.excluded, rows)
        return Ranks(self._logits(role)[rows], excluded, self._method, role, weights).everywhere()


def whole_chunks(
    users: Tensor,
    scores: Mapping[str, Callable[..., Tensor]],
    seen: SeenItems,
    method: str,
    generator: torch.Generator,
    chunk_users: int,
) -> Iterator[Chunk]:
    """Split users into chunks with all items ranked; a role scores all these users at once.

    Args:
        users: int64 [B].
        scores: see `DistillationSampler.refresh`.
        seen: the training items.
        method: `binned` or `exact`, see `Ranks`.
        generator: random generator.
        chunk_users: users per chunk.
    """
    tables: dict[str, tuple[Tensor, ...]] = {}
    for number, some in enumerate(users.split(chunk_users)):

        def logits(role: str, number: int = number) -> Tensor:
            if role not in tables:
                tables[role] = scores[role](users).split(chunk_users)
            return tables[role][number]

        yield Chunk(some, logits, seen.n_items, seen.of(some), method, generator)


class Candidates:
    """Sampled items that are ranked in place of the whole catalogue, with Horvitz-Thompson weights.

    Two kinds of items are ranked for a user. Likely items have weight 1: the best of the user's earlier refreshes, and
    popular ones, which are the best of most users and are ranked for everyone. Popular items are at most as many as
    random ones. Of the m other unseen items, M random ones are ranked, with weight m / M each.

    A rank is the weighted count of the items above, so it is unbiased. Its standard error, p being the fraction of the
    m items above the item, is

        m * sqrt(p * (1 - p) / M)

    This is m / (2 * sqrt(M)) at most, in the middle, and 0 where only likely items are above. The best items of each
    refresh are likely in the next, so the top of the lists becomes exact.

    Args:
        seen: the training items.
        count: random items per chunk, the same for all its users.

    Attributes:
        known: int32 [n_users, 256] by role, the best items found so far, the best first; 0 for none.
        popular: int64, ascending, items near the top of most known lists.
    """

    def __init__(self, seen: SeenItems, count: int):
        self.seen, self.count = seen, count
        self.known: dict[str, Tensor] = {}
        self.popular = torch.zeros(0, dtype=torch.int64, device=seen.items.device)

    def begin(self, roles: Iterable[str]) -> None:
        """Begin a refresh: count popular items, and allocate `known` for the roles whose ranks are needed."""
        counts = torch.zeros(self.seen.n_items, dtype=torch.int64, device=self.seen.items.device)
        for known in self.known.values():
            counts += torch.bincount(known[:, :_LEADING].flatten(), minlength=self.seen.n_items)
        counts[0] = 0
        greatest = counts.topk(min(self.count, len(counts)))
        self.popular = greatest.indices[greatest.values > 0].sort().values
        for role in roles:
            if role not in self.known:
                shape = (self.seen.n_users, _KNOWN)
                self.known[role] = torch.zeros(shape, dtype=torch.int32, device=counts.device)

    def chunk(
        self, users: Tensor, scores: Mapping[str, Callable[..., Tensor]], method: str, generator: torch.Generator
    ) -> Chunk | None:
        """Draw the items that are ranked for some users.

        Args:
            users: int64 [C].
            scores: see `DistillationSampler.refresh`.
            method: `binned` or `exact`, see `Ranks`.
            generator: random generator.

        Returns:
            The chunk; None if a user has seen all random items, so that none represents the others.
        """
        n_items, n_rows, device = self.seen.n_items, len(users), users.device
        random = torch.randint(1, n_items, (self.count,), generator=generator, device=device)
        shared = torch.cat([random.new_zeros(1), self.popular, random]).unique()
        is_random = ~torch.isin(shared, self.popular)
        is_random[0] = False
        own, repeated = self._own(users, shared, is_random)
        blanks = (own == 0).nonzero(as_tuple=True)
        left_out = [among(shared, self.seen.of(users)), repeated]  # disjoint: known items are unseen
        rows, columns = (torch.cat(ids) for ids in zip(*left_out, strict=True))
        excluded = torch.cat([rows, blanks[0]]), torch.cat([columns, blanks[1] + len(shared)])
        of_random = torch.bincount(rows[is_random[columns]], minlength=n_rows)
        drawn = is_random.sum() - of_random
        likely = len(shared) - is_random.sum() - (torch.bincount(rows, minlength=n_rows) - of_random)
        others = n_items - 1 - self.seen.counts[users] - likely - (own > 0).sum(dim=1)
        if ((drawn == 0) & (others > 0)).any():
            return None
        column_weights = torch.ones(n_rows, len(shared) + own.shape[1], device=device)
        column_weights[:, : len(shared)] = torch.where(is_random, (others / drawn.clamp(min=1)).unsqueeze(1), 1.0)
        column_weights[excluded] = 0
        items = torch.cat([shared.expand(n_rows, -1), own], dim=1)
        tables: dict[str, Tensor] = {}

        def logits(role: str) -> Tensor:
            if role not in tables:
                wanted = (shared, own) if own.shape[1] else (shared,)
                tables[role] = torch.cat([scores[role](users, some) for some in wanted], dim=1)
            return tables[role]

        return Chunk(users, logits, items.shape[1], excluded, method, generator, items, column_weights)

    def _own(self, users: Tensor, shared: Tensor, is_random: Tensor) -> tuple[Tensor, Indices]:
        """Known items of each user, without popular ones.

        Returns:
            int64 [C, K], each item once, 0 for none; and indices of those that are among the shared columns too.
        """
        none = torch.zeros(len(users), 0, dtype=torch.int64, device=users.device)
        known = torch.cat([none, *(of[users] for of in self.known.values())], dim=1).sort(dim=1).values
        known[:, 1:].masked_fill_(known[:, 1:] == known[:, :-1], 0)
        number, is_shared = number_in(shared, known)
        is_shared &= known > 0
        known.masked_fill_(is_shared & ~is_random[number], 0)
        rows, columns = (is_shared & is_random[number]).nonzero(as_tuple=True)
        return (known if known.any() else none), (rows, number[rows, columns])

    def learn(self, chunk: Chunk) -> None:
        """Remember the best items of a chunk, for the roles in `known`."""
        for role in self.known if not chunk.is_whole else ():
            logits, columns = topk_sorted(chunk.masked(role), min(_KNOWN, chunk.n_columns))
            items = chunk.items(columns).masked_fill(logits == -torch.inf, 0)
            self.known[role][chunk.users, : items.shape[1]] = items

"""Draws for rows of a batch, each row with ranks of its own; nothing is kept from one batch to the next."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from recbole_bd.sampler.candidates import Chunk
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.fill import Rule, fill
from recbole_bd.sampler.pool import Pool, Workspace
from recbole_bd.sampler.seen_items import Indices, SeenItems

# Numbers ranked at a time: few on a CPU, to stay in its cache.
_SCORES_AT_ONCE = {"cpu": 300_000}
_SCORES_ON_GPU = 2**24


class RowDraws:
    """Draws items for rows by the ranks that both roles give after each row's history.

    Args:
        seen: the training items.
        method: `binned` or `exact`, see `Ranks`; always exact on a GPU, where sorting is cheap.
        takes_history: whether training items of a row's user may be drawn. The row's target never is.
        generator: random generator of the draws.
    """

    def __init__(self, seen: SeenItems, method: str, takes_history: bool, generator: torch.Generator):
        self._seen, self._generator, self._takes_history = seen, generator, takes_history
        self._device = generator.device
        self._method = method if self._device.type == "cpu" else "exact"
        self._workspace = Workspace(self._device)

    def draw(
        self,
        learner: str,
        guide: str,
        direction: Direction,
        scores: Mapping[str, Callable[[slice], Tensor]],
        users: Tensor,
        targets: Tensor,
        count: int,
    ) -> Tensor:
        """Draw items for every row, with replacement.

        Args:
            learner: name of the role that learns on them.
            guide: name of what ranks in the guide's place.
            direction: how they are drawn.
            scores: functions from a slice of rows to their logits [C, n_items], by name; those of a name that the
                direction does not rank are not computed.
            users: int64 [B], the users of the rows.
            targets: int64 [B], the items that follow their histories.
            count: items per row.

        Returns:
            int64 [B, count]; never padding or the row's target, nor another training item of its user unless
            `takes_history`.

        Raises:
            DataError: a score is NaN; names the role.
        """
        n_rows, n_items = len(users), self._seen.n_items
        rows = torch.arange(n_rows, device=self._device)
        items = torch.empty(n_rows * count, dtype=torch.int32, device=self._device)
        pool = Pool(items, torch.full_like(rows, count), rows * count, self._workspace)
        rule = Rule(learner, guide, direction, n_items)
        at_once = max(1, _SCORES_AT_ONCE.get(self._device.type, _SCORES_ON_GPU) // n_items)
        for start in range(0, n_rows, at_once):
            part = slice(start, start + at_once)

            def logits(name: str, part: slice = part) -> Tensor:
                return scores[name](part).float()

            excluded = self._excluded(users[part], targets[part])
            fill(Chunk(rows[part], logits, n_items, excluded, self._method, self._generator), rule, pool)
        return items.view(n_rows, count).long()

    def _excluded(self, users: Tensor, targets: Tensor) -> Indices:
        """Indices of what is neither ranked nor drawn."""
        if not self._takes_history:
            return self._seen.of(users)
        rows = torch.arange(len(users), device=users.device)
        return torch.cat([rows, rows]), torch.cat([torch.zeros_like(targets), targets])

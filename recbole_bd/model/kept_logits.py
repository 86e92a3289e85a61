"""A stored guide's logits of all drawn items, computed once for many epochs and not in every step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from recbole_bd.model.best_guide import StoredGuide

# Pairs, and users, that are scored together. Some models compute a row of all items for each user.
_PAIRS_AT_ONCE, _USERS_AT_ONCE = 2**16, 256


class KeptLogits:
    """Logits that a guide in one state gives to the items of a pool, as long as neither changes: 4 bytes for each.

    Args:
        guide: the guide.

    Attributes:
        logits: float32 [draws of the pool]; None before the first `update`.
    """

    def __init__(self, guide: StoredGuide):
        self._guide, self._state = guide, -1
        self.logits: Tensor | None = None

    def forget(self) -> None:
        """Let the next `update` compute all anew."""
        self._state = -1

    def update(self, pool: Tensor, sizes: Tensor) -> None:
        """Compute the logits, if the guide is in another state than before, or after `forget`.

        Args:
            pool: int32 [draws], the items drawn for all users, user by user.
            sizes: int64 [n_users], draws of each user.
        """
        if self._state == self._guide.state_number:
            return
        if self.logits is None or len(self.logits) != len(pool):
            self.logits = torch.empty(len(pool), device=pool.device)
        for users, places in _lists(sizes):
            self.logits[places] = self._guide.logits(users, pool[places].long())
        self._state = self._guide.state_number

    def at(self, places: Tensor) -> Tensor:
        """Look up the logits of items by their places in the pool. int64 [B, K] to float32 [B, K]."""
        assert self.logits is not None  # `update` is called at the beginning of each epoch
        return self.logits.index_select(0, places.view(-1)).view(places.shape)


def _lists(sizes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Some users, and the places of their draws in the pool, at a time: those with most draws first.

    Args:
        sizes: int64 [n_users], draws of each user.

    Yields:
        Users [C] and places [C, K]. Fewer draws than K repeat their last place.
    """
    users = sizes.argsort(descending=True, stable=True)[: int((sizes > 0).sum())]
    of_users, starts = sizes[users], (sizes.cumsum(0) - sizes)[users]
    longest, first = of_users.tolist(), 0
    while first < len(users):
        part = slice(first, first + max(1, min(_PAIRS_AT_ONCE // longest[first], _USERS_AT_ONCE)))
        draws = torch.arange(longest[first], device=users.device)
        yield users[part], starts[part, None] + torch.minimum(draws, of_users[part, None] - 1)
        first = part.stop

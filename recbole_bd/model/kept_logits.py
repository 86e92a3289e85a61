"""A stored guide's logits of all drawn items, computed once for many epochs and not in every step."""

import torch
from torch import Tensor

from recbole_bd.model.best_guide import StoredGuide

# Pairs that are scored together.
_PAIRS_AT_ONCE = 2**16


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
        ends = sizes.cumsum(0)
        for start in range(0, len(pool), _PAIRS_AT_ONCE):
            items = pool[start : start + _PAIRS_AT_ONCE].long()
            places = torch.arange(start, start + len(items), device=pool.device)
            users = torch.searchsorted(ends, places, right=True)
            self.logits[start : start + len(items)] = self._guide.logits(users, items.unsqueeze(1)).squeeze(1)
        self._state = self._guide.state_number

    def at(self, places: Tensor) -> Tensor:
        """Look up the logits of items by their places in the pool. int64 [B, K] to float32 [B, K]."""
        assert self.logits is not None  # `update` is called at the beginning of each epoch
        return self.logits.index_select(0, places.view(-1)).view(places.shape)

"""Items that a role learns on in a batch, drawn for the batch's users."""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.config import Config

from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems

# Draws of a user at most, from one refresh to the next. Lists of users who need more share draws.
_MOST_DRAWS = 1024


class BatchItems:
    """Draws of a batch: so many items for each positive, or for each user where batches hold users only.

    Args:
        config: settings of the run, with BD's options.
        samples: items drawn for each positive, by learner.
        seen: the training items.
        roles: the two roles by name.
        positives_per_user: training items of a user, on average.

    Attributes:
        per_positive, per_user: items drawn for each, by learner.
    """

    def __init__(
        self,
        config: Config,
        samples: Mapping[str, int],
        seen: SeenItems,
        roles: Mapping[str, Role],
        positives_per_user: float,
    ):
        self.seen, self._roles = seen, roles
        self.is_own = config["samples_of_user"] == "own"
        self.per_positive = dict(samples)
        self._epochs = min(config["refresh_period"], max(config["distill_epochs"], 1))
        # Autoencoder batches hold users only: as many items per user as positives on average, or at most.
        positives: Any = seen.counts.max() if self.is_own else round(positives_per_user)
        self.per_user = {learner: count * max(1, int(positives)) for learner, count in self.per_positive.items()}

    def pool_sizes(self, learner: str) -> torch.Tensor:
        """Draws per user until the next refresh: positives * samples * epochs, with a limit. [n_users]."""
        wanted = self.seen.counts * self.per_positive[learner] * self._epochs
        return wanted.clamp(1, max(_MOST_DRAWS, self.per_user[learner]))

    def draw(
        self, sampler: DistillationSampler, role: str, batch: Batch, takes_positive: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Draw the items that a role learns on.

        Args:
            sampler: holds the drawn items.
            role: the learner.
            batch: a batch of its stream.
            takes_positive: whether positives are drawn where the loader gives users only.

        Returns:
            Users [B] who have training items, the items drawn for each [B, K], and the positives [B]. The positives are
            None where the loader gives users only and none are taken. K is 1 if samples_of_user=own.
        """
        users, positives, per_positive = batch.users, batch.positives, self.per_positive[role]
        if positives is not None:
            return users, sampler.sample(role, users, per_positive, batch.shard), positives
        # Batch of users only: leave out those without a training item.
        count = self.per_user[role]
        if self.is_own and not self._roles[role].shares_batches:
            count = per_positive * max(self.seen.counts[users].tolist(), default=0)  # no process has more
        items = sampler.sample(role, users, count, batch.shard)
        if takes_positive:
            positives = self.seen.random_positive(users, sampler.generator, batch.shard)
        if self.is_own:
            return *_first_items(users, items, self.seen.counts[users] * per_positive), None
        real = self.seen.counts[users] > 0
        return users[real], items[real], None if positives is None else positives[real]


def _first_items(users: torch.Tensor, items: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the first items of each user, by the user's own count.

    Args:
        users: int64 [B].
        items: int64 [B, K].
        counts: int64 [B], at most K.

    Returns:
        The users [P], once per item, and the items [P, 1].
    """
    rows, columns = (torch.arange(items.shape[1], device=items.device) < counts.unsqueeze(1)).nonzero(as_tuple=True)
    return users[rows], items[rows, columns].unsqueeze(1)

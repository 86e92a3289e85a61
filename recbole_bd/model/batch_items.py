"""Items that a role learns on in a batch, drawn for the batch's users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from recbole.config import Config

from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems

# Draws of a user at most, from one refresh to the next: so many lists that share none, within these bounds. On
# CiteULike a student with lists of ten was worse on validation with 256 draws, but not with 512. A teacher with lists
# of two or four was not worse with 256.
_MOST_LISTS, _LEAST_LIMIT, _MOST_DRAWS = 64, 256, 512


@dataclass(frozen=True)
class Drawn:
    """Lists of a batch.

    Attributes:
        users: int64 [B]; users may repeat.
        items: int64 [B, K], the items drawn for each.
        positives: int64 [B]; None where the loader gives users only and none are taken.
        places: int64 [B, K], places of the items in the learner's pool; None where the items are of no pool.
    """

    users: torch.Tensor
    items: torch.Tensor
    positives: torch.Tensor | None
    places: torch.Tensor | None

    def with_positives(self) -> torch.Tensor:
        """The positive of each row in column 0, before its items. int64 [B, 1 + K]."""
        assert self.positives is not None
        return torch.cat([self.positives[:, None], self.items], dim=1)


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
        samples = self.per_positive[learner]
        limit = max(min(max(_MOST_LISTS * samples, _LEAST_LIMIT), _MOST_DRAWS), self.per_user[learner])
        return (self.seen.counts * samples * self._epochs).clamp(1, limit)

    def draw(self, sampler: DistillationSampler, role: str, batch: Batch, takes_positive: bool) -> Drawn:
        """Draw the items that a role learns on.

        Args:
            sampler: holds the drawn items.
            role: the learner.
            batch: a batch of its stream.
            takes_positive: whether positives are drawn where the loader gives users only.

        Returns:
            The lists of the users who have training items. K is 1 if samples_of_user=own.
        """
        users, positives, per_positive = batch.users, batch.positives, self.per_positive[role]
        if positives is not None:
            places = sampler.places(role, users, per_positive, batch.shard)
            return Drawn(users, sampler.items_at(role, places), positives, places)
        # Batch of users only: leave out those without a training item.
        count = self.per_user[role]
        if self.is_own and not self._roles[role].shares_batches:
            count = per_positive * max(self.seen.counts[users].tolist(), default=0)  # no process has more
        places = sampler.places(role, users, count, batch.shard)
        if takes_positive:
            positives = self.seen.random_positive(users, sampler.generator, batch.shard)
        if self.is_own:
            users, places = _first_places(users, places, self.seen.counts[users] * per_positive)
            return Drawn(users, sampler.items_at(role, places), None, places)
        real = self.seen.counts[users] > 0
        users, places = users[real], places[real]
        positives = None if positives is None else positives[real]
        return Drawn(users, sampler.items_at(role, places), positives, places)


def _first_places(users: torch.Tensor, places: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the first places of each user, by the user's own count.

    Args:
        users: int64 [B].
        places: int64 [B, K].
        counts: int64 [B], at most K.

    Returns:
        The users [P], once per place, and the places [P, 1].
    """
    rows, columns = (torch.arange(places.shape[1], device=places.device) < counts.unsqueeze(1)).nonzero(as_tuple=True)
    return users[rows], places[rows, columns].unsqueeze(1)

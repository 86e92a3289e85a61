"""RecBole's samplers, vectorized: of negatives in training, and the one that its evaluation loaders ask for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.sampler import Sampler

from recbole_bd.data.key_set import KeySet


class ArraySampler(Sampler):
    """RecBole's negative sampler for training; a negative is any item that is not a training item of the user.

    Args:
        parts: the training, validation and test parts. RecBole counts popularity over all of them; only training items
            are rejected as negatives.
        distribution: `uniform` or `popularity`.
        alpha: exponent of the popularity.
        leaks_held_out: whether validation and test items of the user are rejected too, as the paper's public code does.
            They alone are never pushed down, which tells the model what it is tested on.

    Raises:
        ValueError: a user has seen every item.
    """

    def __init__(self, parts: list[Dataset], distribution: str, alpha: float, leaks_held_out: bool = False):
        self._rejected_of = parts if leaks_held_out else parts[:1]
        super().__init__(["train", "valid", "test"], parts, distribution, alpha)

    def get_used_ids(self) -> dict[str, np.ndarray]:
        """Sorted keys `user * item_num + item` of the distinct pairs that are no negatives, int64, under `train`.

        Raises:
            ValueError: a user has seen every item.
        """
        keys = _distinct_pairs(self._rejected_of)
        self._known = KeySet(keys)
        return {"train": keys}

    def sample_by_key_ids(self, key_ids: np.ndarray, num: int) -> torch.Tensor:
        """Draw negatives by rejection sampling: items that the user knows are drawn again.

        Args:
            key_ids: [B] user ids.
            num: negatives per user.

        Returns:
            int64 [num * B]: the first negative of every user, then the second of every user, and so on; no padding.
        """
        bases = np.tile(np.asarray(key_ids, dtype=np.int64) * self.item_num, num)
        items = self.sampling(len(bases)).astype(np.int64, copy=False)
        known = np.flatnonzero(self._known.has(bases + items))
        while len(known):
            items[known] = again = self.sampling(len(known))
            known = known[self._known.has(bases[known] + again)]
        return torch.from_numpy(items)

    def _build_alias_table(self) -> None:
        super()._build_alias_table()
        self._items = np.fromiter(self.prob, np.int64, len(self.prob))
        self._kept = np.fromiter(self.prob.values(), np.float64, len(self.prob))
        self._aliases = np.fromiter(self.alias.values(), np.int64, len(self.alias))

    def _pop_sampling(self, sample_num: int) -> np.ndarray:
        cells = np.random.randint(0, len(self._items), sample_num)
        return np.where(self._kept[cells] > np.random.random(sample_num), self._items[cells], self._aliases[cells])


class EvaluationSampler(Sampler):
    """RecBole's sampler as its evaluation loaders ask for it: it knows its phase, and draws nothing.

    RecBole keeps three Python sets of each user, of the items seen up to each part. Here loaders have arrays of them.

    Args:
        parts: the training, validation and test parts.
        repeatable: RecBole's setting; users may then have seen every item.

    Raises:
        ValueError: a user has seen every item.
    """

    def __init__(self, parts: list[Dataset], repeatable: bool):
        self._repeatable = repeatable
        super().__init__(["train", "valid", "test"], parts)

    def get_used_ids(self) -> dict[str, Any]:
        """No items, under each phase.

        Raises:
            ValueError: a user has seen every item.
        """
        if not self._repeatable:
            _distinct_pairs(self.datasets)
        return dict.fromkeys(self.phases, _NoItems())


class _NoItems:
    """The items of any user: none."""

    def __getitem__(self, user: Any) -> frozenset:
        return frozenset()


def evaluation_samplers(config: Any, parts: list[Dataset]) -> list[Sampler | None]:
    """Samplers of validation and test, None where RecBole makes none: see `recbole.data.utils.create_samplers`.

    Args:
        config: settings of the run.
        parts: the training, validation and test parts.

    Raises:
        ValueError: a user has seen every item.
    """
    phases = ("train", "valid", "test")
    drawn = [phase for phase in phases if config[f"{phase}_neg_sample_args"]["distribution"] != "none"]
    if not drawn:
        return [None, None]
    sampler = EvaluationSampler(parts, config["repeatable"])
    return [sampler.set_phase(phase) if phase in drawn else None for phase in phases[1:]]


def _distinct_pairs(parts: Sequence[Dataset]) -> np.ndarray:
    """Keys `user * item_num + item` of the distinct pairs of some parts, int64, ascending.

    Raises:
        ValueError: a user has seen every item.
    """
    n_items = parts[0].item_num
    users, items = (
        np.concatenate([part.inter_feat[field].numpy() for part in parts]).astype(np.int64)
        for field in (parts[0].uid_field, parts[0].iid_field)
    )
    keys = users * n_items + items
    keys.sort()  # np.unique hashes integers first, which takes several times as long
    keys = keys[np.diff(keys, prepend=-1) > 0]
    if (np.bincount(keys // n_items) >= n_items - 1).any():
        raise ValueError("Some users have interacted with all items, so no negative is left for them")
    return keys

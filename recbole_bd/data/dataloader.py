"""RecBole's loaders and negative sampler, vectorized.

Batches and negatives equal RecBole's bitwise: the same draws in the same order. Three slow steps are replaced by array
operations: the Python list of an epoch's positions, the list made for every batch, and the loop that checks negatives.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader, UserDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.sampler import Sampler

from recbole_bd.data.negative_sampler import ArraySampler
from recbole_bd.system.distributed import group

# Scores per evaluation batch on a CPU: 2 MiB fit the cache. Batches below 32 users would make matrix products slow.
_SCORES_CACHED, _LEAST_USERS = 2**19, 32
# Base class for the type checker only; the classes below put a RecBole loader behind `_ArrayBatches`.
_HostLoader: Any = TrainDataLoader if TYPE_CHECKING else object


class _ArrayBatches(_HostLoader):
    """Mixin for RecBole's loaders: batches are slices of whole columns, which are permuted once an epoch."""

    def __iter__(self) -> Iterator[Interaction]:
        if self.num_workers or not self.config["single_spec"]:
            return super().__iter__()
        return self._batches()

    def _batches(self) -> Iterator[Interaction]:
        rows = self._rows()
        order = None
        if self.shuffle:
            # Same draws as torch's DataLoader: a seed for workers, the order, and one more permutation at the end.
            torch.empty((), dtype=torch.int64).random_(generator=self.generator)
            order = torch.randperm(self.sample_size, generator=self.generator)
        columns = {name: values if order is None else values[order] for name, values in rows.interaction.items()}
        for start in range(0, self.sample_size, self.step):
            yield self._finish(
                Interaction({name: values[start : start + self.step] for name, values in columns.items()})
            )
        if self.shuffle:
            torch.randperm(self.sample_size, generator=self.generator)


class ArrayTrainLoader(_ArrayBatches, TrainDataLoader):
    """RecBole's TrainDataLoader: training interactions with their negatives."""

    def _rows(self) -> Interaction:
        return self._dataset.inter_feat

    def _finish(self, interaction: Interaction) -> Interaction:
        joined = self._dataset.join(interaction)  # adds features of users and items, if any
        return self._neg_sampling(self.transform(self._dataset, joined))


class ArrayUserLoader(_ArrayBatches, UserDataLoader):
    """RecBole's UserDataLoader: users only, padding user 0 included."""

    def _rows(self) -> Interaction:
        return self.user_list

    def _finish(self, interaction: Interaction) -> Interaction:
        return interaction


class ArrayFullSortLoader(FullSortEvalDataLoader):
    """RecBole's loader for full ranking: users with their history and their positives.

    On a CPU the batch size is chosen so that the scores fit the cache; `eval_batch_size` is ignored. It must not vary,
    because the last bits of a matrix product depend on its size, and nearly tied items are ordered by them.
    """

    def __init__(self, config: Config, dataset: Dataset, sampler: Sampler, shuffle: bool = False):
        super().__init__(config, dataset, sampler, shuffle)
        users = self.uid_list.numpy()
        self._history = _Rows(self.uid2history_item[users])
        self._positive = _Rows(self.uid2positive_item[users])

    def _init_batch_size_and_step(self) -> None:
        super()._init_batch_size_and_step()
        if self.config["device"].type == "cpu":
            self.step = max(_SCORES_CACHED // self._dataset.item_num, _LEAST_USERS)

    def __iter__(self) -> Iterator[tuple]:
        if self.num_workers or not self.config["single_spec"]:
            return super().__iter__()
        return self._batches()

    def _batches(self) -> Iterator[tuple]:
        starts = range(0, self.sample_size, self.step)
        for start in starts[group().part(len(starts))]:  # each process ranks its share of the users
            end = min(start + self.step, self.sample_size)
            users = Interaction({name: values[start:end] for name, values in self.user_df.interaction.items()})
            yield users, self._history.of(start, end), *self._positive.of(start, end)


class _Rows:
    """Item lists of consecutive users, concatenated."""

    def __init__(self, lists: np.ndarray):
        sizes = torch.tensor([len(items) for items in lists])
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        self.rows = torch.repeat_interleave(sizes)
        self.items = torch.cat(list(lists))

    def of(self, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Row numbers, from 0, and items of the users in `[start, end)`."""
        part = slice(self.starts[start], self.starts[end])
        return self.rows[part] - start, self.items[part]


_ARRAY_LOADERS = {
    TrainDataLoader: ArrayTrainLoader,
    UserDataLoader: ArrayUserLoader,
    FullSortEvalDataLoader: ArrayFullSortLoader,
}


def make_evaluation_loader(config: Config, part: str, dataset: Dataset, sampler: Sampler) -> Any:
    """RecBole's loader for validation or test, vectorized where it ranks all items.

    Args:
        config: settings of the run.
        part: `valid` or `test`.
        dataset: the data of that part.
        sampler: RecBole's sampler for that part, which knows the items each user has seen.
    """
    loader = get_dataloader(config, part)
    return _ARRAY_LOADERS.get(loader, loader)(config, dataset, sampler, shuffle=False)


def make_train_loader(config: Config, dataset: Dataset, parts: list[Dataset]) -> Any:
    """RecBole's training loader for a backbone, vectorized and newly seeded.

    Args:
        config: settings of the role; RecBole chooses the loader by the backbone's name, `model`.
        dataset: the whole data set.
        parts: its training, validation and test parts.

    Raises:
        ValueError: a user has seen every item.
    """
    negatives = config["train_neg_sample_args"]
    if config["repeatable"]:
        sampler = create_samplers(config, dataset, parts)[0]
    elif negatives["distribution"] == "none":
        sampler = None
    else:
        sampler = ArraySampler(parts, negatives["distribution"], negatives["alpha"]).set_phase("train")
    loader = get_dataloader(config, "train")
    return _ARRAY_LOADERS.get(loader, loader)(config, parts[0], sampler, shuffle=config["shuffle"])

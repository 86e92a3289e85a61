"""RecBole's loaders and its negative sampler, over whole arrays instead of Python objects.

The batches and negatives are RecBole's own, bitwise: the same draws in the same order. What is gone is the Python list
of an epoch's positions, the list made of every batch, and the loop over all negatives to see which their users know.
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

# Scores evaluated at once on a CPU, 2 MiB, but not of fewer users than a matrix product needs to be worth it.
_SCORES_CACHED, _LEAST_USERS = 2**19, 32
# The loader of RecBole that stands behind `_ArrayBatches` in the classes that are used.
_HostLoader: Any = TrainDataLoader if TYPE_CHECKING else object


class _ArrayBatches(_HostLoader):
    """Put before a loader of RecBole: batches are cut from whole columns, permuted once an epoch."""

    def __iter__(self) -> Iterator[Interaction]:
        if self.num_workers or not self.config["single_spec"]:
            return super().__iter__()
        return self._batches()

    def _batches(self) -> Iterator[Interaction]:
        rows = self._rows()
        order = None
        if self.shuffle:
            # What torch's DataLoader draws from the generator: a seed for workers, the order, and at the end one more.
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
        joined = self._dataset.join(interaction)  # features of users and items, where there are any
        return self._neg_sampling(self.transform(self._dataset, joined))


class ArrayUserLoader(_ArrayBatches, UserDataLoader):
    """RecBole's UserDataLoader: users only, padding user 0 among them."""

    def _rows(self) -> Interaction:
        return self.user_list

    def _finish(self, interaction: Interaction) -> Interaction:
        return interaction


class ArrayFullSortLoader(FullSortEvalDataLoader):
    """RecBole's loader of full ranking: users with what they know and what they should be recommended.

    On a CPU a batch has as many users as keep its scores in the cache, whatever `eval_batch_size` says: the last
    bits of a matrix product depend on its size, and with them the order of items that all but tie.
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
        for start in starts[group().part(len(starts))]:  # of several processes each ranks a share of the users
            end = min(start + self.step, self.sample_size)
            users = Interaction({name: values[start:end] for name, values in self.user_df.interaction.items()})
            yield users, self._history.of(start, end), *self._positive.of(start, end)


class _Rows:
    """Lists of items of consecutive users, end to end."""

    def __init__(self, lists: np.ndarray):
        sizes = torch.tensor([len(items) for items in lists])
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        self.rows = torch.repeat_interleave(sizes)
        self.items = torch.cat(list(lists))

    def of(self, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Row numbers from 0 and items of the users from `start` to before `end`."""
        part = slice(self.starts[start], self.starts[end])
        return self.rows[part] - start, self.items[part]


_ARRAY_LOADERS = {
    TrainDataLoader: ArrayTrainLoader,
    UserDataLoader: ArrayUserLoader,
    FullSortEvalDataLoader: ArrayFullSortLoader,
}


def make_evaluation_loader(config: Config, part: str, dataset: Dataset, sampler: Sampler) -> Any:
    """The loader that RecBole has for validation or test.

    Args:
        config: settings of the run.
        part: `valid` or `test`.
        dataset: that part.
        sampler: RecBole's sampler for it, which knows what users have seen.
    """
    loader = get_dataloader(config, part)
    return _ARRAY_LOADERS.get(loader, loader)(config, dataset, sampler, shuffle=False)


def make_train_loader(config: Config, dataset: Dataset, parts: list[Dataset]) -> Any:
    """The training loader that RecBole has for a backbone, freshly seeded.

    Args:
        config: settings of the role, whose `model` is the backbone's name: RecBole chooses loaders by name.
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

"""RecBole's loaders and negative sampler, vectorized.

Batches and negatives equal RecBole's bitwise: the same draws in the same order. Three slow steps are replaced by array
operations: the Python list of an epoch's positions, the list made for every batch, and the loop that checks negatives.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import (
    TrainDataLoader,
    UserDataLoader,
)
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.sampler import Sampler
from recbole.utils import ModelType

from recbole_bd.data.negative_sampler import ArraySampler
from recbole_bd.data.resident import resident
from recbole_bd.data.sequences import PLACE, training_rows

# Base class for the type checker only; the classes below put a RecBole loader behind `_ArrayBatches`.
_HostLoader: Any = TrainDataLoader if TYPE_CHECKING else object


class _ArrayBatches(_HostLoader):
    """Mixin for RecBole's loaders: batches are slices of whole columns, which are permuted once an epoch."""

    def __iter__(self) -> Iterator[Interaction]:
        if self.num_workers or not self.config["single_spec"]:
            return super().__iter__()
        if not self.is_ahead:
            return self.on_host()
        return (batch for _, batch in resident((("", batch) for batch in self.on_host()), self.config["device"]))

    @property
    def is_ahead(self) -> bool:
        """Whether batches are moved to a GPU ahead of their steps.

        Dynamic negatives need the model after the step before, and worker processes make batches by themselves.
        """
        is_plain = not self.num_workers and self.config["single_spec"]
        is_dynamic = self.config["train_neg_sample_args"].get("dynamic")
        return is_plain and not is_dynamic and self.config["device"].type != "cpu"

    def on_host(self) -> Iterator[Interaction]:
        """The batches of an epoch, on the host."""
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


class SequenceTrainLoader(ArrayTrainLoader):
    """RecBole's TrainDataLoader of a sequential model: targets with the items before them, and with their negatives."""

    def __init__(self, config: Config, dataset: Any, sampler: Sampler, shuffle: bool = False):
        super().__init__(config, training_rows(dataset), sampler, shuffle=shuffle)

    def collate_fn(self, index: Any) -> Interaction:
        """RecBole's batch of some rows, for worker processes."""
        return self._finish(self._dataset.inter_feat[np.array(index)])

    def _finish(self, interaction: Interaction) -> Interaction:
        columns = dict(interaction.interaction)
        places, users = columns.pop(PLACE), columns[self._dataset.uid_field]
        histories = self._dataset.sequences.of_rows(users, places)
        return super()._finish(Interaction({**columns, **histories.interaction}))


class ArrayUserLoader(_ArrayBatches, UserDataLoader):
    """RecBole's UserDataLoader: users only, padding user 0 included.

    With `loss_items: sampled`, a user has `sample_num` negatives for each training item. They are one column,
    [B, M], padded with 0.
    """

    def __init__(self, config: Config, dataset: Dataset, sampler: Sampler, shuffle: bool = False):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self._counts = None
        if config["loss_items"] == "sampled":
            users, items = dataset.inter_feat[dataset.uid_field], dataset.inter_feat[dataset.iid_field]
            distinct = torch.unique(users * dataset.item_num + items) // dataset.item_num
            counts = torch.bincount(distinct, minlength=dataset.user_num)
            self._counts = counts * config["train_neg_sample_args"]["sample_num"]
            self._column = config["NEG_PREFIX"] + dataset.iid_field

    def collate_fn(self, index: Any) -> Interaction:
        """RecBole's batch of some users, for worker processes."""
        return self._finish(super().collate_fn(index))

    def _rows(self) -> Interaction:
        return self.user_list

    def _finish(self, interaction: Interaction) -> Interaction:
        if self._counts is None:
            return interaction
        users = interaction[self.uid_field]
        counts = self._counts[users]
        places = torch.arange(max(int(counts.max()), 1)) < counts.unsqueeze(1)
        negatives = torch.zeros(places.shape, dtype=torch.int64)
        negatives[places] = self._sampler.sample_by_key_ids(users.repeat_interleave(counts).numpy(), 1)
        return Interaction({**interaction.interaction, self._column: negatives})


_ARRAY_LOADERS = {TrainDataLoader: ArrayTrainLoader, UserDataLoader: ArrayUserLoader}


def loader_class(config: Config, part: str) -> type:
    """RecBole's class of loaders for a part, which it chooses by the model's name.

    Args:
        config: settings; `loader_model` names a RecBole model in the place of one of the user's own.
        part: `train`, `valid` or `test`.
    """
    about = {key: config[key] for key in ("MODEL_TYPE", "eval_args")}
    return get_dataloader({**about, "model": config["loader_model"] or config["model"]}, part)


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
        leaks_held_out = config["negatives_leak_held_out"]
        sampler = ArraySampler(parts, negatives["distribution"], negatives["alpha"], leaks_held_out).set_phase("train")
    loader = loader_class(config, "train")
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return SequenceTrainLoader(config, parts[0], sampler, shuffle=config["shuffle"])
    return _ARRAY_LOADERS.get(loader, loader)(config, parts[0], sampler, shuffle=config["shuffle"])

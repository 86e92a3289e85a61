"""RecBole's loaders for validation and test, vectorized: full ranking, and ranking among sampled candidates.

Where a model of the run is sequential, users come with the items before those of the part.
"""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.sampler import Sampler
from recbole.utils import ModelType

from recbole_bd.data.dataloader import loader_class
from recbole_bd.data.protocol import UserItems, left_out_of
from recbole_bd.data.sampled_candidates import candidate_rule, draw_candidates
from recbole_bd.data.sequences import MEASURED, TRAINED
from recbole_bd.system.distributed import group
from recbole_bd.system.random_state import seed_of_split

# Scores per evaluation batch on a CPU: 2 MiB fit the cache. Batches below 32 users would make matrix products slow.
_SCORES_CACHED, _LEAST_USERS = 2**19, 32
# Pairs of user and candidate, and entries of the users x items table that RecBole fills with their scores, per batch.
_PAIRS_CACHED, _TABLE_SCORES = 2**14, 2**22


class ArrayFullSortLoader(FullSortEvalDataLoader):
    """RecBole's loader for full ranking: users with their history and their positives.

    On a CPU the batch size is chosen so that the scores fit the cache; `eval_batch_size` is ignored. It must not vary,
    because the last bits of a matrix product depend on its size, and nearly tied items are ordered by them.
    """

    def __init__(self, config: Config, dataset: Dataset, sampler: Sampler, left_out: UserItems):
        """Make the loader of a part.

        Args:
            config: settings of the run.
            dataset: the data of the part.
            sampler: RecBole's sampler for the part.
            left_out: items that the ranking of each user leaves out, see `recbole_bd.data.protocol`.
        """
        super().__init__(config, dataset, sampler, shuffle=False)
        n_users, n_items = dataset.user_num, dataset.item_num
        users, items = _ids(dataset)
        own = UserItems.from_keys(torch.unique(users * n_items + items), n_users, n_items)
        self._history, self._positive = (_Rows.of(known, self.uid_list) for known in (left_out, own))
        self.uid2items_num[self.uid_list.numpy()] = self._positive.starts.diff().numpy()
        del self.uid2history_item, self.uid2positive_item  # RecBole's, without lists
        if self.num_workers:  # RecBole's own batches read them, in other processes
            for lists in ("uid2history_item", "uid2positive_item"):
                getattr(self, lists)

    def _set_user_property(self, uid: Any, used_item: Any, positive_item: set) -> None:
        """Make no lists of a user, of which RecBole keeps two; batches are slices of arrays."""

    @cached_property
    def uid2history_item(self) -> np.ndarray:
        """Items that each user's ranking leaves out, as RecBole's `case_study` reads them; made when it does."""
        return self._by_user(self._history)

    @cached_property
    def uid2positive_item(self) -> np.ndarray:
        """Items of the part of each user, likewise."""
        return self._by_user(self._positive)

    def _by_user(self, rows: "_Rows") -> np.ndarray:
        """An int64 tensor for each user of the part, None for others."""
        lists = np.full(self._dataset.user_num, None)
        for user, listed in zip(self.uid_list.tolist(), rows.lists(), strict=True):
            lists[user] = listed
        return lists

    def _init_batch_size_and_step(self) -> None:
        super()._init_batch_size_and_step()
        if self.config["device"].type == "cpu":
            self.step = max(_SCORES_CACHED // self._dataset.item_num, _LEAST_USERS)

    def __iter__(self) -> Iterator[tuple]:
        has_histories = self._dataset.sequences is not None  # which worker processes lack
        if not has_histories and (self.num_workers or not self.config["single_spec"]):
            return super().__iter__()
        return self._batches()

    def _batches(self) -> Iterator[tuple]:
        starts = range(0, self.sample_size, self.step)
        for start in starts[group().part(len(starts))]:  # each process ranks its share of the users
            end = min(start + self.step, self.sample_size)
            users = Interaction({name: values[start:end] for name, values in self.user_df.interaction.items()})
            users.update(histories_before(self._dataset, self.part, self.uid_list[start:end]))
            yield users, self._history.between(start, end), *self._positive.between(start, end)


class ArraySampledLoader(NegSampleEvalDataLoader):
    """RecBole's loader for ranking among sampled candidates (`uniN`, `popN`), whose candidates are drawn once.

    RecBole draws new candidates whenever the part is evaluated, so that no two models are ranked among the same ones.
    Here all models of a split are. On a CPU the batch size is fixed, see `ArrayFullSortLoader`.

    Attributes:
        pairs_at_once: largest number of users' items that a model scores at a time.
    """

    def __init__(self, config: Config, dataset: Dataset, sampler: Sampler, drawn: np.ndarray):
        """Make the loader of a part.

        Args:
            config: settings of the run.
            dataset: the data of the part, in ascending order of users.
            sampler: RecBole's sampler for the part.
            drawn: int32 [interactions of the part, N], the candidates of each beside its own item.
        """
        super().__init__(config, dataset, sampler, shuffle=False)
        self._users, self._items = (dataset.inter_feat[field] for field in (dataset.uid_field, dataset.iid_field))
        self._drawn = torch.from_numpy(drawn)
        on_cpu = config["device"].type == "cpu"
        self.pairs_at_once = _PAIRS_CACHED if on_cpu else config["eval_batch_size"]
        counts = torch.from_numpy(self.uid2items_num[self.uid_list])
        # A batch ends with the user whose pairs or scores fill it; users are never divided.
        table = dataset.item_num / (_TABLE_SCORES if on_cpu else config["eval_batch_size"])
        costs = (counts * (1 + drawn.shape[1]) / self.pairs_at_once).clamp(min=table).double()
        batch = (costs.cumsum(0) - costs).floor()
        ends = counts.cumsum(0)[torch.cat([batch[1:] != batch[:-1], torch.tensor([True])])].tolist()
        self._spans = list(zip([0, *ends[:-1]], ends, strict=True))

    @cached_property
    def candidates(self) -> UserItems:
        """Items among which each user is ranked: own items of the part and their candidates."""
        n_items = self._dataset.item_num
        keys = self._users.unsqueeze(1) * n_items + torch.cat([self._items.unsqueeze(1), self._drawn], dim=1)
        return UserItems.from_keys(torch.unique(keys), self._dataset.user_num, n_items)

    @property
    def fingerprint(self) -> str:
        """Hash of the candidates, 16 hex digits."""
        return hashlib.sha256(self._drawn.numpy().tobytes()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[tuple]:
        for start, end in self._spans[group().part(len(self._spans))]:  # each process ranks its share of the users
            yield self._batch(slice(start, end))

    def _batch(self, part: slice) -> tuple[Interaction, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return a part's interactions, each followed by its candidates; their rows; rows and items of positives."""
        width = 1 + self._drawn.shape[1]
        columns = self._dataset.inter_feat[part].interaction
        listed = {name: values.repeat_interleave(width, dim=0) for name, values in columns.items()}
        items = self._items[part]
        listed[self._dataset.iid_field] = torch.cat([items.unsqueeze(1), self._drawn[part]], dim=1).flatten()
        labels = torch.zeros(len(items), width)
        labels[:, 0] = 1.0
        listed[self.label_field] = labels.flatten()
        listed.update(histories_before(self._dataset, self.part, listed[self._dataset.uid_field]).interaction)
        rows = torch.unique_consecutive(self._users[part], return_inverse=True)[1]
        positives = torch.unique(rows * self._dataset.item_num + items)
        interaction = self.transform(self._dataset, self._dataset.join(Interaction(listed)))
        return (
            interaction,
            rows.repeat_interleave(width),
            positives // self._dataset.item_num,
            positives % self._dataset.item_num,
        )


class _Rows:
    """Item lists of consecutive users, concatenated.

    Args:
        rows: int64, the number of each item's user, ascending from 0.
        items: int64, the lists.
        count: number of users.
    """

    def __init__(self, rows: torch.Tensor, items: torch.Tensor, count: int):
        self.rows, self.items = rows, items
        self.starts = torch.searchsorted(rows, torch.arange(count + 1))

    @classmethod
    def of(cls, known: UserItems, users: torch.Tensor) -> "_Rows":
        """The items of some users, in their order."""
        return cls(*known.of(users), len(users))

    def lists(self) -> tuple[torch.Tensor, ...]:
        """The list of each user."""
        return self.items.split(self.starts.diff().tolist())

    def between(self, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Row numbers, from 0, and items of the users in `[start, end)`."""
        part = slice(self.starts[start], self.starts[end])
        return self.rows[part] - start, self.items[part]


def make_evaluation_loader(config: Config, part: str, parts: Mapping[str, Dataset], sampler: Sampler) -> Any:
    """RecBole's loader for validation or test, vectorized where it ranks all items or sampled candidates.

    Its attribute `part` names the part.

    Args:
        config: settings of the run.
        part: `valid` or `test`.
        parts: the data of `train`, `valid` and `test`; the part's rows are sorted by user.
        sampler: RecBole's sampler for that part, which knows the items each user has seen.

    Raises:
        DataError: sampled evaluation has no candidate for a user.
    """
    loader = _evaluation_loader(config, part, parts, sampler)
    loader.part = part
    return loader


def _evaluation_loader(config: Config, part: str, parts: Mapping[str, Dataset], sampler: Sampler) -> Any:
    loader, dataset = loader_class(config, part), parts[part]
    if dataset.sequences is not None:
        # RecBole gives a sequential model one row for each interaction; here every model has one for each user.
        config = copy.copy(config)
        config.final_config_dict = {**config.final_config_dict, "MODEL_TYPE": ModelType.GENERAL}
    if loader is FullSortEvalDataLoader:
        pairs = {name: _ids(data) for name, data in parts.items()}
        left_out = left_out_of(pairs, part, dataset.user_num, dataset.item_num, config["repeatable"])
        return ArrayFullSortLoader(config, dataset, sampler, left_out)
    mode = config[f"{part}_neg_sample_args"]
    if loader is not NegSampleEvalDataLoader or "none" in (mode["distribution"], mode["sample_num"]):
        return loader(config, dataset, sampler, shuffle=False)
    dataset.sort(by=dataset.uid_field, ascending=True)
    ids = {name: _ids(data) for name, data in parts.items()}
    arrays = {name: (users.numpy(), items.numpy()) for name, (users, items) in ids.items()}
    is_popular = mode["distribution"] == "popularity"
    rule = candidate_rule(arrays, part, dataset.item_num, is_popular, config["repeatable"])
    users, items = arrays[part]
    drawn = draw_candidates(rule, users, items, mode["sample_num"], seed_of_split(config.final_config_dict), part)
    return ArraySampledLoader(config, dataset, sampler, drawn)


def histories_before(dataset: Any, part: str, users: torch.Tensor) -> Interaction:
    """Items of users before those of a part, for sequential models.

    Args:
        dataset: the data of the part, or a sequential model, with `sequences`.
        part: `valid` or `test`.
        users: int64 [B].

    Returns:
        See `Sequences.before`; no column where no model of the run is sequential.
    """
    point = {"valid": TRAINED, "test": MEASURED}[part]
    return Interaction({}) if dataset.sequences is None else dataset.sequences.of_users(users, point)


def _ids(data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Users and items of a part's interactions, int64."""
    return data.inter_feat[data.uid_field], data.inter_feat[data.iid_field]

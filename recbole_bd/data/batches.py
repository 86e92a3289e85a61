"""Training batches of one role or of several."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_bd.data.dataloader import loader_class, make_train_loader
from recbole_bd.data.resident import resident
from recbole_bd.data.split import Split
from recbole_bd.system.distributed import Group


def train_loader(config: Config, split: Split) -> Any:
    """RecBole's training loader for a role's backbone, newly seeded; see `recbole_bd.data.dataloader`.

    Args:
        config: settings of the role; RecBole chooses the loader by the backbone's name, `model`.
        split: the data.
    """
    return make_train_loader(config, split.dataset, [split.train, split.valid, split.test])


@dataclass(frozen=True)
class Batch:
    """One batch of the distillation stage.

    Attributes:
        roles: the roles that learn from it; several if they have the same loader.
        interaction: the batch of RecBole's loader, for the models' own loss.
        users: int64 [B], users for whom items are exchanged, without padding; a user may repeat.
        positives: int64 [B], each user's training item in this batch; None if the loader gives users only.
        negatives: int64 [N], the loader's negative items, several per positive if the settings say so; None if it
            draws none.
        shard: for one process's share, the number of users of the whole batch before these and of all its users. None
            for a whole batch.
        rows: for a share whose rows of `interaction` are not those of `users`, the rows of these users.
    """

    roles: tuple[str, ...]
    interaction: Interaction
    users: torch.Tensor
    positives: torch.Tensor | None
    negatives: torch.Tensor | None = None
    shard: tuple[int, int] | None = None
    rows: Interaction | None = None

    def share(self, own: Group) -> tuple["Batch", float, float]:
        """The share of one process among several.

        Args:
            own: the process group, which knows this process's rank.

        Returns:
            The share, its weight in means over the rows of `interaction`, and its weight in means over users. Both
            means are over the whole batch.
        """
        rows, of_rows = own.share(len(self.interaction))
        users, of_users = own.share(len(self.users))
        positives = None if self.positives is None else self.positives[users]
        negatives = None if self.negatives is None else self.negatives[own.share(len(self.negatives))[0]]
        shard = (users.start, len(self.users))
        own_rows = None if rows == users or positives is None else self.interaction[users]
        part = Batch(self.roles, self.interaction[rows], self.users[users], positives, negatives, shard, own_rows)
        return part, of_rows, of_users

    def tensors(self) -> list[torch.Tensor]:
        """All tensors of the batch, always in the same order."""
        of_items = [ids for ids in (self.positives, self.negatives) if ids is not None]
        return [*self.interaction.interaction.values(), self.users, *of_items]

    def clone(self) -> "Batch":
        """The same batch in memory of its own."""
        return self._with_each(torch.Tensor.clone)

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return self._with_each(lambda values: values.to(device))

    def _with_each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """The same batch with each tensor changed."""
        interaction = Interaction({name: change(values) for name, values in self.interaction.interaction.items()})
        positives, negatives = (None if ids is None else change(ids) for ids in (self.positives, self.negatives))
        return Batch(self.roles, interaction, change(self.users), positives, negatives, self.shard)


class BatchStream:
    """Batches of the distillation stage, for every role that learns.

    Roles with equal loader settings share one stream. Otherwise each role passes over its own data once an epoch. The
    streams are interleaved in proportion to their lengths, so that neither runs ahead.

    Args:
        loaders: RecBole's training loader by role; the same object for roles that share it.
    """

    def __init__(self, loaders: dict[str, Any]):
        self._streams: list[tuple[tuple[str, ...], Any]] = []
        for loader in dict.fromkeys(loaders.values()):
            self._streams.append((tuple(role for role, own in loaders.items() if own is loader), loader))

    @property
    def loaders(self) -> list[Any]:
        """The distinct loaders, in order."""
        return [loader for _, loader in self._streams]

    @property
    def dataset(self) -> Dataset:
        """The training part, under the name that RecBole's collector reads."""
        return self._streams[0][1]._dataset

    def get_model(self, model: torch.nn.Module) -> None:
        """Do nothing: RecBole passes the model for dynamic negative sampling, which each loader already has."""

    def __len__(self) -> int:
        return sum(len(loader) for _, loader in self._streams)

    def __iter__(self) -> Iterator[Batch]:
        order = [
            ((step + 0.5) / len(loader), index)
            for index, (_, loader) in enumerate(self._streams)
            for step in range(len(loader))
        ]
        # Roles may share a random state, so that streams are drawn from in the order of the batches.
        ahead = all(getattr(loader, "is_ahead", False) for loader in self.loaders)
        iterators = [loader.on_host() if ahead else iter(loader) for loader in self.loaders]
        batches = ((index, next(iterators[index])) for _, index in sorted(order))
        for index, interaction in resident(batches, self.loaders[0].config["device"]) if ahead else batches:
            yield _batch(*self._streams[index], interaction)


def _batch(roles: tuple[str, ...], loader: Any, interaction: Interaction) -> Batch:
    user_field, item_field = loader._dataset.uid_field, loader._dataset.iid_field
    users = interaction[user_field]
    if not isinstance(loader, TrainDataLoader):
        return Batch(roles, interaction, users[users > 0], None)
    # RecBole repeats the positives once per negative; the first `count` rows are the positives themselves.
    count = len(users) // loader.times
    items = interaction[item_field]
    # Pairwise loaders put negatives into their own column, pointwise loaders into the rows after the positives.
    column = loader.config["NEG_PREFIX"] + item_field
    negatives = interaction[column] if column in interaction else items[count:]
    return Batch(roles, interaction, users[:count], items[:count], negatives if len(negatives) else None)


def rows_of_a_batch(config: Config) -> int:
    """Number of interactions, or users, of a role's batches in the distillation stage, from the role's settings."""
    own: int | None = config["distill_batch_size"]
    return int(config["train_batch_size"]) if own is None else own


def batch_stream(configs: dict[str, Config], split: Split, model_of: Callable[[str], torch.nn.Module]) -> BatchStream:
    """Build the loaders of the distillation stage.

    Args:
        configs: settings of each learner, by role.
        split: the data.
        model_of: gives the model of a role; called for RecBole's dynamic negative sampling only.
    """
    loaders: dict[str, Any] = {}
    made: dict[tuple, Any] = {}
    for role, config in configs.items():
        if (size := rows_of_a_batch(config)) != config["train_batch_size"]:
            own, config = config, copy.copy(config)
            config.final_config_dict = {**own.final_config_dict, "train_batch_size": size}
        negatives = config["train_neg_sample_args"]
        dynamic = bool(negatives.get("dynamic"))
        kind = (
            loader_class(config, "train"),
            config["MODEL_TYPE"],  # batches of sequential models hold histories
            config["MODEL_INPUT_TYPE"],
            config["train_batch_size"],
            config["shuffle"],
            config["transform"],
            role if dynamic else None,
            str(sorted(negatives.items(), key=str)),
            config["negatives_leak_held_out"],
            config["loss_items"],
        )
        if kind not in made:
            made[kind] = train_loader(config, split)
            if dynamic:
                made[kind].get_model(model_of(role))
        loaders[role] = made[kind]
    return BatchStream(loaders)

"""Base class of DE, FTD and HTD: a student's vectors learn from those of a frozen teacher."""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.registry import is_sequential, recommender_class
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.families import has_embeddings
from recbole_bd.backbones.scoring.rows import Units, users_of
from recbole_bd.backbones.snapshot import restore_snapshot, take_snapshot
from recbole_bd.data.batches import Batch
from recbole_bd.errors import RoleError
from recbole_bd.model.best_guide import untrained_role
from recbole_bd.model.one_way import OneWay
from recbole_bd.sampler.unseen_items import UnseenItems

NEW = "new"  # value of `student_start`


class OfEmbeddings(OneWay):
    """The student's vectors of a batch's users and items learn from the teacher's vectors.

    Users, positives and negatives are those of the model's own loader, each once. Where it gives users only (ENMF),
    training and unseen items are drawn, as many of each per user as a user has training items on average. At rows
    (`exchange_at`), a row stands in the place of a user, with the vector of its history in both roles.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Attributes:
        users, items: the teacher's vectors, [n_users, d_T] and [n_items, d_T]; None before `prepare`.

    Raises:
        RoleError: `student_start: new` with a student whose kind starts from a pretrained file.
    """

    @classmethod
    def check_roles(cls, backbones: dict[str, str]) -> None:
        """Refuse models that cannot learn, and models without embeddings of users and items.

        Raises:
            RoleError: names the model and the role, and says which to use instead.
        """
        super().check_roles(backbones)
        for role, name in backbones.items():
            if not has_embeddings(recommender_class(name)):
                others = "SASRec or GRU4Rec" if any(map(is_sequential, backbones.values())) else "BPR or LightGCN"
                raise RoleError(
                    f"{role}: {name} has no embeddings of users and items, which {cls.__name__} needs in both roles. "
                    f"Choose e.g. {others}, or use RD or RRD, which accept any model"
                )

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.users: Tensor | None = None
        self.items: Tensor | None = None
        self.unseen = UnseenItems(self.seen)
        if config["student_start"] == NEW and self.weight and not control:
            self.new_starts[self.learner.name] = take_snapshot(untrained_role(self.learner, dataset).model, -1)
        self.items_per_user = max(1, round(len(dataset.inter_feat) / (self.n_users - 1)))

    def widths(self) -> list[int]:
        """Widths of the student's and the teacher's vectors."""
        one = torch.ones(1, dtype=torch.int64, device=self.device)
        found = []
        for role in (self.learner, self.frozen):
            with role.scoring():
                found.append(vectors_of(role, one, one)[0].shape[1])
        return found

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the teacher's vectors once; with `student_start: new`, epoch 0 begins with a new student."""
        if (start := self.new_starts.get(self.learner.name)) is not None and epoch == 0:
            restore_snapshot(self.learner.model, start, "new student")
            self.learner.forget()
        if self.users is not None:
            return False
        with self.frozen.scoring():
            self.users, self.items = (vectors.float() for vectors in vectors_of(self.frozen))
        return True

    def vectors(self, units: Units, items: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Vectors of units and of items: the student's with gradient, and the teacher's, which `prepare` has set.

        Args:
            units: users, int64 [U], or rows; see `AtRows.units`.
            items: int64 [I].

        Returns:
            [U, d_S] and [I, d_S]; [U, d_T] and [I, d_T].
        """
        assert self.users is not None
        assert self.items is not None
        own = vectors_of(self.learner, units, items)
        if self.frozen.scores.keeps_for_users(units):
            return own, (self.users.index_select(0, users_of(units)), self.items.index_select(0, items))
        with self.frozen.scoring():
            of_rows, _ = vectors_of(self.frozen, units, items[:0])
        return own, (of_rows.float(), self.items.index_select(0, items))

    def items_of(self, users: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the distinct positives and negatives of a batch; draw those that the loader does not give.

        Args:
            users: int64 [B], see `OneWay.transfer`.
            batch: the whole batch.
        """
        positives, negatives = batch.positives, batch.negatives
        if positives is None:
            users = users.repeat_interleave(self.items_per_user)
            positives = self.seen.random_positive(users, self.generator)
        if negatives is None:
            negatives = self.unseen.draw(users, 1, self.generator)
        return positives.unique(), negatives.unique()


def start_text(config: Config) -> str:
    """Name the state that the student starts from; nothing where it is that of its warm-up.

    Args:
        config: settings of the run, with the method's options.
    """
    return "from a new student" if config["student_start"] == NEW else ""


def vectors_of(role: Role, users: Units | None = None, items: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return `Role.embeddings` of a model that has them; `check_roles` refuses others."""
    found = role.embeddings(users, items)
    assert found is not None, f"{role.config['model']} has no embeddings"
    return found

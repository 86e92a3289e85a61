"""Base class of the one-way methods: a student learns from a teacher that is trained first and then frozen."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.lists import known_lists
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import Units
from recbole_bd.data.batches import Batch
from recbole_bd.model.best_guide import untrained_role
from recbole_bd.model.objective import term_text
from recbole_bd.model.prepared import UNTRAINED, Prepared
from recbole_bd.sampler.top_lists import listed_logits


class OneWay(Prepared):
    """The student learns from its own loss and from a frozen teacher.

    L = L_CF + lambda * transfer

    `transfer` is a mean over the batch, as most of RecBole's own losses are, so lambda does not depend on the batch
    size. Where L_CF sums interactions, `in_loss_units` scales the mean to a sum.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Attributes:
        frozen, learner: the roles of teacher and student. With `taught_by: untrained` the frozen role is a new model.
        weight: lambda.

    Raises:
        DataError: a user who has seen every item.
        RoleError: `taught_by: untrained` with a teacher whose kind is never untrained.
    """

    learners = (STUDENT,)
    placebo_text = "an untrained teacher"

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.frozen, self.learner = roles[TEACHER], roles[STUDENT]
        self.weight = config["lambda_teacher_to_student"]
        if config["taught_by"] == UNTRAINED and self.weight and not control:
            self.frozen = untrained_role(self.frozen, dataset)

    @classmethod
    def distillation_terms(cls, config: Config, role: str) -> list[str]:
        """Write the transfer with its weight: see `Distiller.distillation_terms`."""
        weight = config["lambda_teacher_to_student"]
        return [term_text(weight, *cls.transfer_facts(config))] if weight else []

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the transfer's loss, and then what it takes; by default the method's name.

        Args:
            config: settings of the run, with the method's options.
        """
        return cls.__name__, f"target {teacher_text(config)}"

    def refresh(self, epoch: int, progress: Callable[[int], None] | None = None) -> bool:
        """Store the teacher's outputs before the first epoch, and draw each epoch's samples.

        Args, returns and raises: see `Distiller.refresh`.
        """
        if self.control or self.weight == 0:
            return False
        return self.prepare(epoch, progress)

    def distillation_loss(self, role: str, batch: Batch) -> dict[str, torch.Tensor]:
        """Scalars `cf`, the student's own loss, and `distill`, the weighted transfer.

        The transfer is absent where its weight is 0 or no user of the batch has a training item.
        """
        parts = {"cf": self.learner.loss(batch.interaction)}
        users = batch.users
        if batch.positives is None:  # a batch of users only: leave out those without a training item
            users = users[self.seen.counts[users] > 0]
        if self.weight and len(users):
            parts["distill"] = self.in_loss_units(STUDENT, self.weight, self.transfer(users, batch), users)
        return parts

    def users_with_list(self) -> torch.Tensor:
        """Whether the teacher ranks any unseen item of each user; all but user 0 where it scores all items.

        Returns:
            bool [n_users], on the device.
        """
        if (lists := known_lists(self.frozen.model)) is None:
            return torch.arange(self.n_users, device=self.device) > 0
        return self.seen.are_unseen(lists).any(dim=1)

    def stored_logits(self, lists: torch.Tensor) -> torch.Tensor | None:
        """The teacher's logits of lists, to be kept; None where it scores rows, anew in every step.

        Args:
            lists: int32 [n_users, K].
        """
        if self.at_rows(STUDENT) and self.frozen.scores.reads_histories:
            return None
        return listed_logits(self.frozen.pair_logits, lists)

    def teacher_logits(self, units: Units, items: torch.Tensor, stored: torch.Tensor | None) -> torch.Tensor:
        """The teacher's logits of some items: the kept ones, or those after the histories of rows.

        Args:
            units: see `AtRows.units`.
            items: int64 [B, K].
            stored: their kept logits [B, K], None if there are none.
        """
        if stored is None:
            return self.frozen.target_logits(units, items, learning=False).float()
        return stored

    def in_teachers_order(self, units: Units, items: torch.Tensor) -> torch.Tensor:
        """Sort listed items as a sequential teacher ranks them after the histories of rows; others stay.

        Args:
            units: see `AtRows.units`.
            items: int64 [B, K], in the teacher's order after all training items; 0 where the list has no item.
        """
        if self.frozen.scores.keeps_for_users(units):
            return items
        logits = self.frozen.target_logits(units, items, learning=False).masked_fill(items == 0, -torch.inf)
        return items.gather(1, logits.argsort(dim=1, descending=True, stable=True))

    @abstractmethod
    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Distillation term before its weight.

        Args:
            users: int64 [B], users of the batch who have training items. A user stands once for each positive in the
                batch, or once where the batch holds users only.
            batch: the whole batch.

        Returns:
            A scalar, a mean over positives, or over distinct users and items, or over rows: see `AtRows.units`.
        """


def teacher_text(config: Config, is_listed: bool = False) -> str:
    """Name the teacher: trained and frozen, or untrained.

    Args:
        config: settings of the run, with the method's options.
        is_listed: whether items of its list are named, where a trained one needs no adjective.
    """
    if config["taught_by"] == UNTRAINED:
        return "untrained teacher"
    return "teacher" if is_listed else "frozen teacher"

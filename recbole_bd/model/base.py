"""What every distillation method is: a RecBole model that holds two roles and knows what each learns."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType

from recbole_bd.backbones import STUDENT, TEACHER, require_teachable
from recbole_bd.data import Batch
from recbole_bd.roles import Role
from recbole_bd.sampler import DistillationSampler


class Distiller(GeneralRecommender):
    """Two roles, what is refreshed before an epoch, and the loss of each role.

    As a RecBole model it recommends as its student does, and `calculate_loss` is the sum of both roles' losses; this
    package's trainer gives each role its own optimizer instead.

    Args:
        config: settings of the run, with the method's options.
        dataset: the training part, from which RecBole models take their sizes.
        roles: the two roles by name.
        control: train both roles by their own loss only. The *continued* rows of a table.
    """

    input_type = InputType.PAIRWISE
    learners: tuple[str, ...] = (TEACHER, STUDENT)
    # What draws items from both roles' rankings; None where a method has no such sampler.
    sampler: DistillationSampler | None = None

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset)
        self.config = config
        self.roles = roles
        self.control = control
        # Registered under the roles' names, so that parameters and states read teacher.* and student.*
        for name, role in roles.items():
            self.add_module(name, role.model)

    @classmethod
    def check_roles(cls, backbones: dict[str, str]) -> None:
        """Refuse, before anything is loaded, models that cannot play their role in this method.

        Args:
            backbones: name of the RecBole model by role.

        Raises:
            RoleError: naming the model, the role and the way out.
        """
        for role in cls.learners:
            require_teachable(backbones[role], role)

    def other(self, role: str) -> Role:
        """The role from which `role` learns."""
        return self.roles[STUDENT if role == TEACHER else TEACHER]

    def refresh(self, epoch: int, progress: Callable[[int], None] | None = None) -> bool:
        """Prepare what the coming epochs need, such as samples; nothing by default.

        Args:
            epoch: the distillation epoch that begins, from 0.
            progress: called with the number of users done so far.

        Returns:
            Whether there was anything to do.
        """
        return False

    @contextmanager
    def step(self) -> Iterator[None]:
        """One training step: within it each role propagates once for its own loss and for what it teaches."""
        with ExitStack() as stack:
            for role in self.roles.values():
                stack.enter_context(role.step())
            yield

    def loss(self, role: str, batch: Batch) -> dict[str, torch.Tensor]:
        """The loss of one role on one batch, by named parts which add up to it.

        Args:
            role: the role that learns; the other one is a constant.
            batch: a batch of its stream.

        Returns:
            Scalars: `cf`, the model's own loss, and, unless this is the control, the method's parts, weighted.
        """
        if self.control:
            return {"cf": self.roles[role].loss(batch.interaction)}
        return self.distillation_loss(role, batch)

    @abstractmethod
    def distillation_loss(self, role: str, batch: Batch) -> dict[str, torch.Tensor]:
        """The method's loss of one role: see `loss`."""

    def calculate_loss(self, interaction) -> torch.Tensor:
        """Sum of both roles' own losses and distillation terms on a pairwise batch. Scalar."""
        batch = Batch(self.learners, interaction, interaction[self.USER_ID], interaction[self.ITEM_ID])
        return sum(part for role in self.learners for part in self.loss(role, batch).values())

    def predict(self, interaction) -> torch.Tensor:
        """The student's score of each (user, item) row, in its model's own unit. [B]."""
        return self.roles[STUDENT].model.predict(interaction)

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """The student's scores of every item for each user, in its model's own unit. [B * n_items]."""
        return self.roles[STUDENT].model.full_sort_predict(interaction)

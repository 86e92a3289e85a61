"""What every distillation method is: a RecBole model that holds two roles and knows which of them learn, and what."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.registry import recommender_class, require_teachable
from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.errors import ConfigError
from recbole_bd.model.objective import objective_text
from recbole_bd.sampler.sampler import DistillationSampler


class Distiller(GeneralRecommender):
    """Two roles, what is refreshed before an epoch, and the loss of each role that learns.

    As a RecBole model it recommends as its student does, and `calculate_loss` is the sum of the learners' losses; this
    package's trainer gives each learner its own optimizer instead. A role that is no learner stays as its warm-up left
    it: it has no optimizer, no batches and no validation in this stage.

    Args:
        config: settings of the run, with the method's options.
        dataset: the training part, from which RecBole models take their sizes.
        roles: the two roles by name.
        control: train the learners by their own loss only. The *continued* rows of a table.

    Attributes:
        learners: names of the roles that learn in the distillation stage.
        sampler: what draws items from both roles' rankings; None where a method has no such sampler.
        resting: names of the learners that have stopped learning at their best; the trainer adds to it.
        positives_per_user: training items of a user, on average.

    Raises:
        ConfigError: `stop_on` names a role that does not learn.
    """

    input_type = InputType.PAIRWISE
    learners: tuple[str, ...] = (TEACHER, STUDENT)
    # Whether several processes may each take a share of a batch: what is drawn for some rows is drawn for all.
    shares_batches = False
    sampler: DistillationSampler | None = None

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset)
        if config["stop_on"] not in ("both", *self.learners):
            raise ConfigError(
                f"stop_on={config['stop_on']}: the {config['stop_on']} does not learn in {config['model']}; use "
                f"stop_on={self.learners[0]} or both"
            )
        self.config = config
        self.roles = roles
        self.control = control
        self.resting: list[str] = []
        self.positives_per_user = dataset.inter_num / (dataset.user_num - 1)
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
        for role, name in backbones.items():
            if role in cls.learners:
                require_teachable(name, role)
            else:
                recommender_class(name)

    @classmethod
    def objective_of(cls, config: Config, backbones: dict[str, str], control: bool = False) -> dict[str, str]:
        """Write the losses of the distillation stage, or of its control, from the settings alone.

        Args:
            config: settings of the run, with the method's options.
            backbones: name of the RecBole model by role.
            control: the learners train by their own loss only.

        Returns:
            One line by learner, e.g. `loss(student) = BPR + 2.0 * listwise(...)`.
        """
        terms = {role: [] if control else cls.distillation_terms(config, role) for role in cls.learners}
        return {role: objective_text(role, backbones[role], terms[role]) for role in cls.learners}

    @classmethod
    def distillation_terms(cls, config: Config, role: str) -> list[str]:
        """Write what a learner's loss adds to the model's own; by default the method's name.

        Args:
            config: settings of the run, with the method's options.
            role: a learner.

        Returns:
            One text for each term with its weight; none where the weight is 0.
        """
        return [cls.__name__]

    def objective(self) -> dict[str, str]:
        """Write the loss of each learner: see `objective_of`."""
        backbones = {name: role.config["model"] for name, role in self.roles.items()}
        return self.objective_of(self.config, backbones, self.control)

    def require_items(self, *names: str) -> None:
        """Refuse options that ask for more items per user than there are.

        Args:
            names: options whose values are numbers of items.

        Raises:
            ConfigError: naming the first that is too large.
        """
        for name in names:
            if self.config[name] > self.n_items - 1:
                raise ConfigError(f"{name}={self.config[name]}: above the number of items, {self.n_items - 1}")

    def other(self, role: str) -> Role:
        """The role from which `role` learns."""
        return self.roles[STUDENT if role == TEACHER else TEACHER]

    def parameters_beside(self, role: str) -> list[torch.nn.Parameter]:
        """What learns with a role by its optimizer but is no part of the role's model; nothing by default.

        It is the method's own and ends with the stage: a role's saved state never holds it.
        """
        return []

    def refresh(self, epoch: int, progress: Callable[[int], None] | None = None) -> bool:
        """Prepare what the coming epochs need, such as samples; nothing by default.

        Args:
            epoch: the distillation epoch that begins, from 0.
            progress: called with the number of users done so far.

        Returns:
            Whether anything was ranked, taken or drawn; a number that is set for the epoch does not count.

        Raises:
            DataError: a score is not a number, so that items cannot be ranked.
        """
        return False

    def new_best(self, role: str) -> None:
        """A learner has a new best by validation and is in that state; nothing by default."""

    def sampling_state(self) -> dict[str, Any]:
        """Everything beside parameters that decides what comes next, as tensors by name; nothing by default."""
        return {}

    def load_sampling_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `sampling_state` was taken."""

    @contextmanager
    def step(self) -> Iterator[None]:
        """One training step: within it each learner propagates once for its own loss and for what it teaches."""
        with ExitStack() as stack:
            for name in self.learners:
                stack.enter_context(self.roles[name].step())
            yield

    def loss(self, role: str, batch: Batch) -> dict[str, torch.Tensor]:
        """The loss of one role on one batch, by named parts which add up to it; `refresh` comes before.

        Args:
            role: a learner; the other role is a constant, no gradient reaches it.
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

    def in_loss_units(self, role: str, weight: float, term: torch.Tensor, users: torch.Tensor) -> torch.Tensor:
        """A distillation term in the unit of the role's own loss: one lambda means the same for BPR, MultiVAE and CDAE.

        Args:
            role: a learner.
            weight: lambda, what the term weighs for one interaction where the own loss weighs 1 for one.
            term: scalar, a mean over interactions.
            users: [B], of the batch.

        Returns:
            weight * term * the interactions that the role's own loss adds up, see `Role.interactions_added`.
        """
        return weight * self.roles[role].interactions_added(len(users), self.positives_per_user) * term

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Sum of the learners' own losses and distillation terms; `refresh` comes before.

        Args:
            interaction: a pairwise batch: users, items and negatives, [B] each.

        Returns:
            A scalar.
        """
        users, items, negatives = (interaction[name] for name in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        batch = Batch(self.learners, interaction, users, items, negatives)
        parts = [part for role in self.learners for part in self.loss(role, batch).values()]
        return torch.stack(parts).sum()

    def predict(self, interaction: Interaction) -> torch.Tensor:
        """The student's score of each (user, item) row, in its model's own unit. [B]."""
        return self.roles[STUDENT].model.predict(interaction)

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """The student's scores of every item for each user, padding first, in its model's own unit. [B * n_items]."""
        return self.roles[STUDENT].model.full_sort_predict(interaction)

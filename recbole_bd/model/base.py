"""Base class of the distillation methods: a RecBole model of a teacher and a student."""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType

from recbole_bd.backbones.names import CONTINUED, DISTILLED, STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot
from recbole_bd.data.batches import Batch
from recbole_bd.errors import ConfigError
from recbole_bd.model.at_rows import AtRows
from recbole_bd.model.method_facts import MethodFacts
from recbole_bd.model.turns import Turns
from recbole_bd.sampler.sampler import DistillationSampler


class Distiller(MethodFacts, AtRows, GeneralRecommender):
    """Two roles, a refresh before each epoch, and a loss for each role that learns.

    As a RecBole model it recommends as its student does, and `calculate_loss` is the sum of the learners' losses. The
    trainer gives each learner its own optimizer instead. A role that does not learn keeps the state of its warm-up.

    Args:
        config: settings of the run, with the method's options.
        dataset: the training part; RecBole models take their sizes from it.
        roles: the two roles by name.
        control: train the learners by their own loss only, as in the *continued* rows of a table.

    Attributes:
        arm: `continued` with `control`, else `distilled`, or `placebo` where the run says so.
        sampler: draws items by both roles' rankings; None where a method has no such sampler.
        resting: learners that have stopped in their best state; the trainer adds to it.
        paused: learners that skip the present batch, see `pauses`.
        new_starts: states that learners begin the stage with, by role, where these are not those of their warm-ups.
        turns: whose turn it is to learn.
        positives_per_user: training items of a user, on average.

    Raises:
        ConfigError: `stop_on` names a role that does not learn.
    """

    input_type = InputType.PAIRWISE
    # True if processes may split a batch: draws for some rows advance the generator as draws for all rows do.
    shares_batches = False
    sampler: DistillationSampler | None = None

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset)
        if config["stop_on"] not in ("both", *self.learners):
            raise ConfigError(
                f"stop_on={config['stop_on']}: the {config['stop_on']} does not learn in {config['model']}; use "
                f"stop_on={self.learners[0]} or both"
            )
        self.config, self.roles, self.control = config, roles, control
        self.arm = CONTINUED if control else DISTILLED
        self.resting: list[str] = []
        self.paused: set[str] = set()
        self.new_starts: dict[str, Snapshot] = {}
        self.turns = Turns()
        self.positives_per_user = dataset.inter_num / (dataset.user_num - 1)
        # Name the submodules after the roles, so that parameters and states are called teacher.* and student.*
        for name, role in roles.items():
            self.add_module(name, role.model)

    def require_items(self, *names: str) -> None:
        """Refuse options that ask for more items per user than there are.

        Args:
            names: options whose values are numbers of items.

        Raises:
            ConfigError: names the first that is too large.
        """
        for name in names:
            if self.config[name] > (most := self.n_items - 1):
                raise ConfigError(f"{name}={self.config[name]}: above the number of items, {most}: use {most} or less")

    def other(self, role: str) -> Role:
        """Return the role that `role` learns from."""
        return self.roles[STUDENT if role == TEACHER else TEACHER]

    def parameters_beside(self, role: str) -> list[torch.nn.Parameter]:
        """Parameters that a role's optimizer trains beside the role's model; none by default.

        They belong to the method; a role's saved state never holds them.
        """
        return []

    def refresh(self, epoch: int, progress: Callable[[int], None] | None = None) -> bool:
        """Prepare the coming epochs, e.g. draw samples; nothing by default.

        Args:
            epoch: the distillation epoch that begins, from 0.
            progress: called with the number of users done so far.

        Returns:
            Whether items were ranked or drawn, or teacher outputs stored. Setting a weight does not count.

        Raises:
            DataError: a score is NaN, so that items cannot be ranked.
        """
        return False

    def rankings(self) -> dict[str, Callable[..., torch.Tensor]]:
        """Logits of all that ranks items for the sampler, by name: the roles, and what stands in for one of them.

        Returns:
            Functions for `DistillationSampler.refresh`.
        """
        return {name: role.all_logits for name, role in self.roles.items()}

    def new_best(self, role: str) -> None:
        """Called when a learner is better by validation than its start and all states since; nothing by default."""

    def is_learning(self, role: str) -> bool:
        """Whether a role learns now: a learner that does not rest, and whose turn it is."""
        return role in self.learners and role not in self.resting and self.turns.learns(role)

    def pauses(self, role: str, batch: Batch) -> bool:
        """Whether a learner skips a batch; called before each of its steps, and sets `paused`. Never by default."""
        return False

    def takes_step(self, role: str, batch: Batch) -> bool:
        """Whether a role learns from a batch, once `pauses` has been asked."""
        return role in batch.roles and self.is_learning(role) and role not in self.paused

    def generators(self) -> list[torch.Generator]:
        """Random generators of a step that may be captured, beside torch's own: that of the sampler."""
        return [] if self.sampler is None else [self.sampler.generator]

    def kind_of_step(self, batch: Batch) -> Hashable:
        """Name all that a step on a batch reads beside the batch, the models and the states of `generators`.

        Equal kinds mean that a step captured as a CUDA graph can be replayed. A control reads nothing else.

        Returns:
            None where a step waits for the GPU or depends on the batch's values, so that it cannot be captured.
        """
        return "control" if self.control else self.kind_of_distillation(batch)

    def kind_of_distillation(self, batch: Batch) -> Hashable:
        """`kind_of_step` of the distillation; None, as nothing is known of a method by default."""
        return None

    def sampling_state(self) -> dict[str, Any]:
        """State beside the parameters that a resumed run needs, as tensors by name; empty by default."""
        return {}

    def load_sampling_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `sampling_state` was taken."""

    @contextmanager
    def step(self) -> Iterator[None]:
        """One training step, in which a graph model propagates once for its own loss and for the logits it teaches."""
        with ExitStack() as stack:
            for name in self.learners:
                stack.enter_context(self.roles[name].step())
            yield

    def loss(self, role: str, batch: Batch) -> dict[str, torch.Tensor]:
        """Loss of one role on one batch, as named parts that add up to it. Call `refresh` before.

        Args:
            role: a learner; no gradient reaches the other role.
            batch: a batch of its stream.

        Returns:
            Scalars: `cf`, the model's own loss, and the method's weighted parts. The control has `cf` alone.
        """
        if self.control:
            return {"cf": self.roles[role].loss(batch.interaction)}
        with ExitStack() as stack:
            for own in self.roles.values():
                stack.enter_context(own.scores.one_pass())
            return self.distillation_loss(role, batch)

    @abstractmethod
    def distillation_loss(self, role: str, batch: Batch) -> dict[str, torch.Tensor]:
        """Loss of one role with the method's terms: see `loss`."""

    def in_loss_units(
        self, role: str, weight: float, term: torch.Tensor, users: torch.Tensor, per_user: float | None = None
    ) -> torch.Tensor:
        """Scale a distillation term to the role's own loss, so that one lambda suits means and sums alike.

        weight * n * term, where n is the number of interactions that the own loss sums (`Role.interactions_added`).

        Args:
            role: a learner.
            weight: lambda, the term's weight per interaction; the own loss has weight 1 per interaction.
            term: scalar, a mean over interactions.
            users: int64 [B], the users of the batch.
            per_user: their mean number of interactions; None for that of all users.
        """
        return weight * self.roles[role].interactions_added(len(users), per_user or self.positives_per_user) * term

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Sum of the learners' own losses and distillation terms. Call `refresh` before.

        Args:
            interaction: a pairwise batch: users, items and negatives, [B] each.

        Returns:
            A scalar.
        """
        users, items, negatives = (interaction[name] for name in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        batch = Batch(self.learners, interaction, users, items, negatives)
        return torch.stack([part for role in self.learners for part in self.loss(role, batch).values()]).sum()

    def predict(self, interaction: Interaction) -> torch.Tensor:
        """The student's score of each (user, item) row, in its model's own unit. [B]."""
        return self.roles[STUDENT].model.predict(interaction)

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """The student's scores of every item for each user, padding first, in its model's own unit. [B * n_items]."""
        return self.roles[STUDENT].model.full_sort_predict(interaction)

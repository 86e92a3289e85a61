"""Bidirectional Distillation: teacher and student learn from each other.

Kweon, Kang, Yu: Bidirectional Distillation for Top-K Recommender System. WWW 2021. doi 10.1145/3442381.3449878.

The default form is this package's own, *BD, listwise*. The student learns the teacher's order of the head of its own
list, the teacher the student's order of a list with the positive. The paper's form is `BD-paper.yaml`: a cross-entropy
for each of the items on which the rankings disagree most.
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import InputType

from recbole_bd.backbones.names import DIRECTION_INTO, STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch, rows_of_a_batch
from recbole_bd.errors import ConfigError
from recbole_bd.model.base import Distiller
from recbole_bd.model.batch_items import BatchItems, Drawn
from recbole_bd.model.exchange import (
    SHUFFLED,
    TURNS,
    exchange_into,
    exchange_text,
    may_pause,
    option_of_direction,
    placebo_guides,
)
from recbole_bd.model.guides import Guides, keeps_logits
from recbole_bd.model.pause import SwitOKD
from recbole_bd.model.row_items import RowItems
from recbole_bd.model.schedule import share_of_weight
from recbole_bd.model.turns import Turns
from recbole_bd.model.unread_options import unread_options
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems


class BD(Distiller):
    """Both roles learn from their own loss and from the other's logits on sampled items.

    L_role = L_CF(role) + lambda * mean over u, j ~ p(.|u) of exchange(z_role(u, j), z_other(u, j))   (paper, Eq. 4-7)

    Where a model's L_CF adds up interactions instead of averaging them, `in_loss_units` scales the mean to a sum.
    z are logits, and j are items that the user has not seen. No gradient reaches the other role. It is in its current
    state or, with `guide_state: best`, in its best state by validation so far. Until a validation is better, that
    is the state of the warm-up. Samples are drawn every `refresh_period` epochs from both roles' current rankings, or
    with `ranks_at: rows`, for a sequential learner, in every step from those of its rows.
    With another `guide` a placebo stands in for z_other, see `recbole_bd.model.guides`.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Attributes:
        exchanges: the direction into each role, by learner.
        weight: lambda of the current epoch, by learner.
        drawn: draws the items of a batch, for users.
        of_rows: draws them for rows, by ranks after the rows' histories.
        guides: the targets of both directions, and whose rankings choose items.
        best_guides: roles in their best states that some direction learns from, by name.

    Raises:
        ConfigError: options that contradict each other or the chosen models, or ask for more items than there are.
        DataError: a user who has seen every item.
        RoleError: an untrained guide whose kind starts from a pretrained file.
    """

    sampler: DistillationSampler
    shares_batches = True

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.refresh_period = config["refresh_period"]
        self.require_items(*(option_of_direction("samples_per_positive", name, config) for name in DIRECTION_INTO))
        self.exchanges = {learner: exchange_into(learner, config) for learner in DIRECTION_INTO}
        self.weight = {learner: exchange.weight for learner, exchange in self.exchanges.items()}
        if order := TURNS.get(config["directions"]):
            self.turns = Turns(order, config["distill_epochs"])
        _check_options(self)
        active = {learner: self.exchanges[learner] for learner in roles if self.exchanges[learner].weight > 0}
        keeping = [learner for learner in active if keeps_logits(config) and not self.at_rows(learner)]
        self.guides = Guides({} if control else active, roles, dataset, config["seed"], self.device, keeping)
        self.best_guides, self.shares_batches = self.guides.best, not self.guides.mixes_rows
        users, items = dataset.inter_feat[self.USER_ID], dataset.inter_feat[self.ITEM_ID]
        self.seen = SeenItems(users, items, self.n_users, self.n_items).to(self.device)
        samples = {learner: one.samples for learner, one in self.exchanges.items()}
        self.drawn = BatchItems(config, samples, self.seen, self.roles, self.positives_per_user)
        drawn_for = TEACHER if TEACHER in active else STUDENT
        self.switch = SwitOKD(roles, drawn_for) if active and self._may_pause() else None
        self.sampler = DistillationSampler(
            self.seen,
            {learner: one.drawing for learner, one in self.exchanges.items() if one.weight > 0},
            pool_sizes={learner: self.drawn.pool_sizes(learner) for learner in self.exchanges},
            ranks=config["rank_precision"],
            ranked_items=config["ranked_items"],
            seed=config["seed"],
            device=self.device,
            guides=self.guides.rankers,
        )
        at_rows = {learner: one for learner, one in active.items() if self.at_rows(learner)}
        self.of_rows = RowItems(config, at_rows, roles, self.guides, self.seen, self.sampler)
        self.shares_batches = self.shares_batches and not self.of_rows.exchanges

    @classmethod
    def distillation_terms(cls, config: Config, role: str) -> list[str]:
        """Write what a role takes from the other: see `Distiller.distillation_terms`."""
        exchange = exchange_into(role, config)
        return [exchange_text(exchange, config)] if exchange.weight else []

    @classmethod
    def placebo_settings(cls, config: Config) -> dict[str, Any]:
        """The guide of each direction in the placebo arm: see `Distiller.placebo_settings`."""
        return _of_another_target(placebo_guides(config), config)

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options that no direction of any arm reads: see `Distiller.not_read`."""
        return {**super().not_read(config), **unread_options(config)}

    def refresh(self, epoch: int, progress: Callable[[int], None] | None = None) -> bool:
        """Set this epoch's weights; every `refresh_period` epochs, rank items and draw anew for the learners.

        Args:
            epoch, progress: see `Distiller.refresh`.

        Returns:
            Whether items were ranked and drawn.

        Raises:
            DataError: a score is NaN; names the role.
        """
        if self.control:
            return False
        epochs = self.config["lambda_warmup_epochs"], self.config["lambda_decay_epochs"]
        for learner, exchange in self.exchanges.items():
            self.weight[learner] = exchange.weight * share_of_weight(exchange.schedule, epoch, *epochs)
        if self.switch is not None:
            self.switch.log()
        self.turns.take(epoch, self.resting)
        by_users = [name for name in self.roles if name not in self.of_rows.exchanges]
        awake = [name for name in by_users if self.is_learning(name)]
        is_first = self.turns.now in by_users and self.turns.now not in self.sampler.pools
        users = None
        # A share is drawn anew where all users have items. A resumed run has none yet: its state follows.
        if self.config["refresh_users"] == "rolling" and epoch > 0 and not is_first and self.sampler.pools:
            everyone = torch.arange(1, self.n_users, device=self.device)
            users = everyone[everyone % self.refresh_period == epoch % self.refresh_period]
        is_due = is_first or epoch % self.refresh_period == 0 if users is None else len(users) > 0
        is_due = is_due and any(self.exchanges[name].weight for name in by_users)
        if is_due:
            with self.roles[TEACHER].scoring(), self.roles[STUDENT].scoring():
                self.sampler.refresh(self.rankings(), progress, users, awake)
        self.guides.keep_logits(self.sampler, awake, is_due)
        return is_due

    def rankings(self) -> dict[str, Callable[..., torch.Tensor]]:
        """Logits of all that ranks items: see `Distiller.rankings` and `Guides.rankings`."""
        return self.guides.rankings()

    def _may_pause(self) -> bool:
        return not self.control and may_pause(self.config)

    def pauses(self, role: str, batch: Batch) -> bool:
        """Whether the teacher skips a batch, as the student is too far behind: see `Distiller.pauses`, `SwitOKD`."""
        if self.switch is None or role != TEACHER:
            return False
        units_of = partial(self.units, role, batch=batch)
        holds = STUDENT not in self.resting and self.switch.holds(self.drawn, self.sampler, batch, units_of)
        self.paused = {role} if holds else set()
        return holds

    def new_best(self, role: str) -> None:
        """Copy the role's new best state, if a role learns from it."""
        self.guides.new_best(self.roles[role])

    def sampling_state(self) -> dict[str, Any]:
        """State of the sampler (`DistillationSampler.state_dict`) and of the guides (`Guides.state_dict`)."""
        return {**self.sampler.state_dict(), **self.guides.state_dict()}

    def load_sampling_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `sampling_state` was taken."""
        self.sampler.load_state_dict(state)
        self.guides.load_state_dict(state)
        self.guides.keep_logits(self.sampler, self.sampler.pools, is_new=True)  # an epoch may go on without a refresh

    def kind_of_distillation(self, batch: Batch) -> Hashable:
        """Weights, and where the drawn items and the guides' vectors lie; None where a batch decides on the step."""
        if batch.positives is None or self.guides.mixes_rows or self.switch is not None or self.of_rows.exchanges:
            return None
        kept = [one.logits for one in self.guides.kept.values() if one.logits is not None]
        read = tuple(numbers.data_ptr() for numbers in (*self.sampler.pools.values(), *kept))
        return tuple(self.weight.items()), read, self.guides.version

    def distillation_loss(self, role: str, batch: Batch) -> dict[str, torch.Tensor]:
        """Scalars `cf`, the model's own loss, and `distill`, the weighted exchange.

        The exchange is absent where its weight is 0 or no user of the batch has a training item and a target.

        Raises:
            RuntimeError: nothing has been drawn yet.
        """
        learner, weight = self.roles[role], self.weight[role]
        if weight == 0:
            return {"cf": learner.loss(batch.interaction)}
        exchange, interaction = self.exchanges[role], batch.interaction
        drawn = self._drawn(role, batch)
        users, items = drawn.users, drawn.items
        if exchange.is_negative:
            interaction = self._with_negatives(interaction, items[:, 0])
        own = learner.loss(interaction)
        if len(users) == 0:
            return {"cf": own}
        if exchange.takes_positive:
            items = drawn.with_positives()
        units = self.units(role, users, batch)
        logits = learner.pair_logits(units, items)
        target, rows = self.guides.target(role, units, items, self.takes_step(exchange.guide, batch), drawn.places)
        logits, target = logits[rows], target[rows]
        if len(logits) == 0:
            return {"cf": own}
        term = exchange.loss(logits, target, exchange.temperature, exchange.temperature_on)
        per_user = None
        if self.config["samples_of_user"] == "own" and batch.positives is None:
            draws, users = len(users), users.unique()
            per_user = draws / exchange.samples / len(users)
        return {"cf": own, "distill": self.in_loss_units(role, weight, term, users, per_user)}

    def _drawn(self, role: str, batch: Batch) -> Drawn:
        """The lists that a role learns on: see `BatchItems.draw`."""
        if role not in self.of_rows.exchanges or batch.positives is None:
            return self.drawn.draw(self.sampler, role, batch, self.exchanges[role].takes_positive)
        items = self.of_rows.draw(role, self.units(role, batch.users, batch), batch.positives)
        return Drawn(batch.users, items, batch.positives, None)

    def _with_negatives(self, interaction: Interaction, items: torch.Tensor) -> Interaction:
        changed = interaction.to(items.device)
        changed.interaction[self.NEG_ITEM_ID] = items
        return changed


def _check_options(method: BD) -> None:
    """Refuse lists of one item, and distilled negatives for models that take other than one per positive."""
    active = [one for one in method.exchanges.values() if one.weight]
    bare = [one for one in active if one.kind == "listwise" and not one.takes_positive]
    for one in bare:
        if one.samples == 1:
            samples = option_of_direction("samples_per_positive", one.learner, method.config)
            option = f"list_positive_{DIRECTION_INTO[one.learner]}=True"
            raise ConfigError(f"a list needs at least two items: use {samples}=2 or more, or {option}")
    if order := method.turns.order:
        if method.config["stop_on"] == order[0]:
            raise ConfigError(
                f"stop_on={order[0]} would end the {order[1]}'s turn, which is last: use both or {order[1]}"
            )
        if method.config["distill_epochs"] == 1:
            directions = method.config["directions"]
            raise ConfigError(f"directions={directions} needs two epochs at least: use distill_epochs=2 or more")
    if method._may_pause() and method.config["samples_of_user"] == "own":
        raise ConfigError("pause=switokd needs lists with a positive: use samples_of_user=average")
    if method.config["samples_of_user"] == "own" and any(one.kind != "pointwise" for one in active):
        raise ConfigError("samples_of_user=own gives users lists of unequal lengths: it needs exchange=pointwise")
    for exchange in active:
        if exchange.is_negative:
            _require_one_negative(method.roles[exchange.learner])
        if exchange.target == SHUFFLED and rows_of_a_batch(method.roles[exchange.learner].config) == 1:
            raise ConfigError("guide=shuffled needs two users in a batch: use train_batch_size=2 or more")


def _of_another_target(guides: dict[str, str], config: Config) -> dict[str, str]:
    """Guides of a placebo; one whose targets are those of the distilled arm is refused."""
    exchanges = [exchange_into(learner, config) for learner in DIRECTION_INTO]
    given = {f"guide_{DIRECTION_INTO[one.learner]}": one.target for one in exchanges if one.weight}
    if given and all(guides[option] == target for option, target in given.items()):
        raise ConfigError(
            f"placebo={config['placebo']}: the distilled arm learns from it already, by "
            f"{' and '.join(f'{option}={target}' for option, target in given.items())}; leave placebo out of controls, "
            "or choose another one"
        )
    return guides


def _require_one_negative(role: Role) -> None:
    pairwise = role.config["MODEL_INPUT_TYPE"] == InputType.PAIRWISE
    if not pairwise or role.config["train_neg_sample_args"]["sample_num"] != 1:
        raise ConfigError(
            f"cf_negatives=distilled needs pairwise models with one negative per positive; the {role.name} "
            f"{role.config['model']} is not one: use cf_negatives=sampled"
        )

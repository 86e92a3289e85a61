"""HetComp: the student learns lists of earlier states of the teacher first, and each user moves on when it is ready.

Kang, Kweon, Lee, Lian, Xie, Yu: Distillation from Heterogeneous Models for Top-K Recommendation. WWW 2023.
doi 10.1145/3543507.3583209. Here one teacher is distilled, not several.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.names import DISTILLED, TEACHER
from recbole_bd.backbones.registry import learns_by_gradient
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot, take_snapshot
from recbole_bd.data.batches import Batch
from recbole_bd.model import losses
from recbole_bd.model.objective import number
from recbole_bd.model.one_way import OneWay, teacher_text
from recbole_bd.model.prepared import UNTRAINED
from recbole_bd.sampler.trajectories import list_distance, next_stages
from recbole_bd.sampler.unseen_items import UnseenItems

logger = logging.getLogger(__name__)

# Factor of the threshold at each comparison.
_EASING = 0.995


class HetComp(OneWay):
    """The student learns the teacher's lists along its training, from early to best.

    Stage v of a user's list is the list of the v-th state of the teacher: `kept_states` of them, the best one last. All
    users begin with the first. Every `refresh_period` epochs the student's list is compared with that of the user's
    next state, d = 1 - NDCG: see `list_distance`. A user moves on when the student comes nearer, or goes away:

    d_before / d > step_threshold * .995^(epoch / refresh_period), or d_before / d < 1

    d_before is the distance to the next state at the user's last move, or at the first comparison.

    While some user is before the last state, the order of the list Q of K items is free:

    L = L_CF + lambda * mean over u of - sum over i in Q of [z_i - log(exp(z_i) + sum over j not in Q of exp(z_j))]

    Afterwards it is the teacher's: L = L_CF + lambda * (R(first K / 2 ; all others) + R(first K / 10 ; all others))

    R(A ; B) is the loss of `RRD`. j are unseen items. Their sum is estimated from `rest_items` items per user, drawn
    uniformly in every epoch, with log(number of items that can be drawn / number drawn) added to their logits (logQ).
    Where all are drawn it is exact. Training items are taught by L_CF alone. The mean is over the distinct users of a
    batch.

    A teacher without earlier states (a closed form, an untrained one) has one list.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Attributes:
        is_ordered: whether all users have reached the last state.
    """

    prepared = ("lists", "stages", "distances", "rest")

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.lists: Tensor | None = None  # int32 [states, n_users, K]
        self.stages: Tensor | None = None  # int64 [n_users], the state whose list each user learns, from 0
        self.distances: Tensor | None = None  # float32 [n_users], d_before
        self.rest: Tensor | None = None  # int32 [n_users, rest_items]
        self.is_ordered = False

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the states and the items: see `OneWay.transfer_facts`."""
        period, threshold = config["refresh_period"], number(config["step_threshold"])
        states, listed = cls.states_of_teacher(config), teacher_text(config, is_listed=True)
        whose = f"the {listed}" if states == 1 else f"{states} states of the {listed}"
        return (
            "order" if states == 1 else "set_then_order",
            f"the top {config['top_items']} of {whose}",
            f"above {config['rest_items']} uniform items (logQ)",
            "" if states == 1 else f"a step after {period} epochs and {threshold} times nearer",
            f"target {teacher_text(config)}",
        )

    @classmethod
    def states_of_teacher(cls, config: Config) -> int:
        """`kept_states`; 1 where the teacher has no earlier states: see `Distiller.states_of_teacher`."""
        return 1 if _single_state(config) else config["kept_states"]

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options of the states and of the comparison, where there is one state: see `Distiller.not_read`."""
        unread, options = super().not_read(config), ("refresh_period", "step_threshold")
        if reason := _single_state(config):
            return unread | dict.fromkeys(("kept_states", *options), reason)
        return unread | (dict.fromkeys(options, "kept_states is 1") if config["kept_states"] == 1 else {})

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the lists of all states once, move users on, and draw this epoch's other items."""
        if self.lists is None:
            self.lists = self._lists(progress)
            self._warn()
            self.stages = torch.zeros(self.n_users, dtype=torch.int64, device=self.device)
            self._look()
        if epoch % self.config["refresh_period"] == 0:
            self._move(epoch, progress)
        rest = UnseenItems(self.seen, besides=self._present(slice(None)))
        users = torch.arange(self.n_users, device=self.device)
        self.rest = rest.draw_distinct(users, self.config["rest_items"], self.generator).to(torch.int32)
        return True

    def _lists(self, progress: Callable[[int], None] | None) -> Tensor:
        """The teacher's lists in its earlier states and in its best one. int32 [states, n_users, K]."""
        role, found = self.frozen, []
        best = take_snapshot(role.model)
        for state in [*(Snapshot(**state) for state in role.earlier), best][-self.config["kept_states"] :]:
            restore_snapshot(role.model, state, f"earlier state of the {role.name}")
            role.forget()
            found.append(self.top_of(role, self.config["top_items"], progress))
        return torch.stack(found)

    def _warn(self) -> None:
        """Say so where early stopping may end the training before the order is learned."""
        assert self.lists is not None
        least = (len(self.lists) - 1) * self.config["refresh_period"]
        patience = self.config["stopping_step"] * max(self.config["eval_step"], 1)
        if self.arm == DISTILLED and self.config["early_stopping"] != "none" and least > patience:
            logger.warning(
                "%s: users reach the teacher's best state after %d epochs or more, but the student stops after %d "
                "without improvement; use stopping_epochs=%d or more, or a smaller refresh_period",
                self.config["model"],
                least,
                patience,
                5 * least,
            )

    def _move(self, epoch: int, progress: Callable[[int], None] | None) -> None:
        """Compare the student's list with those of the next states, and move users on."""
        assert self.lists is not None
        assert self.stages is not None
        if self.is_ordered:
            return
        own = self.top_of(self.learner, self.lists.shape[2], progress)
        to_states = torch.stack([list_distance(own, listed) for listed in self.lists])
        threshold = self.config["step_threshold"] * _EASING ** (epoch // self.config["refresh_period"])
        self.stages, self.distances = next_stages(self.stages, self.distances, to_states, threshold)
        self._look()

    def _look(self) -> None:
        """See whether all users have reached the last state."""
        if self.lists is not None and self.stages is not None:
            self.is_ordered = bool((self.stages[1:] == len(self.lists) - 1).all())

    def load_sampling_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `sampling_state` was taken."""
        super().load_sampling_state(state)
        self._look()

    def _present(self, users: Tensor | slice) -> Tensor:
        """The lists that users learn now. int32 [n, K]."""
        assert self.lists is not None
        assert self.stages is not None
        stages = self.stages[users]
        rows = torch.arange(self.n_users, device=self.device)[users]
        return self.lists[stages, rows]

    def transfer(self, users: Tensor, batch: Batch) -> Tensor:
        """Negative log-likelihood of the users' lists, as sets or in order. Scalar."""
        assert self.rest is not None  # `prepare` has set it
        users = users.unique()
        listed, rest = self._present(users).long(), self.rest[users].long()
        logits = self.learner.pair_logits(users, torch.cat([listed, rest], dim=1))
        own, others = logits.split([listed.shape[1], rest.shape[1]], dim=1)
        drawn = (rest > 0).sum(dim=1, keepdim=True)
        left = self.n_items - 1 - self.seen.counts[users].unsqueeze(1) - (listed > 0).sum(dim=1, keepdim=True)
        others = others + torch.log(left.clamp(min=1) / drawn.clamp(min=1))
        lowest = losses.lowest_of(logits)
        others = others.masked_fill(rest == 0, lowest)
        if not self.is_ordered:
            return losses.set_above_rest(own, others, listed > 0)
        below = torch.cat([own.masked_fill(listed == 0, lowest), others], dim=1)
        heads = (max(1, listed.shape[1] // part) for part in (2, 10))
        terms = [losses.relaxed_ranking(own[:, :head], below[:, head:], listed[:, :head] > 0) for head in heads]
        return torch.stack(terms).sum()


def _single_state(config: Config) -> str:
    """Say why the teacher has one state alone; empty where it may have several."""
    if config["taught_by"] == UNTRAINED:
        return "an untrained teacher has one state"
    if not learns_by_gradient(name := config.backbones[TEACHER]):
        return f"{name} as the teacher is not trained by gradient, so it has one state"
    role = config.role(TEACHER)
    if role["epochs"] == 0 and not role["checkpoint"]:
        return "the teacher is not trained (epochs is 0), so it has one state"
    return ""

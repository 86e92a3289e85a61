"""Cross-entropy distillation: the student learns the teacher's softmax over a list of items.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. arXiv 1503.02531. Its three lists for
recommendation are those of Zhu, Zhang: Rejuvenating Cross-Entropy Loss in Knowledge Distillation for Recommender
Systems. ICLR 2026. arXiv 2509.20989.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.names import STUDENT
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.scoring.rows import users_of
from recbole_bd.data.batches import Batch
from recbole_bd.errors import RoleError
from recbole_bd.model import losses
from recbole_bd.model.best_guide import StoredGuide
from recbole_bd.model.full_lists import can_learn_full_lists, full_list_cross_entropy, some_units
from recbole_bd.model.objective import temperature_text
from recbole_bd.model.one_way import OneWay, teacher_text

ALL, STUDENT_TOP = "all", "student_top"  # values of `items`


class CE(OneWay):
    """The student learns the teacher's softmax over a list of items that the user has not seen.

    L = L_CF + lambda * mean over u of - sum over j in Q of softmax_Q(z_T / t)_j * log softmax_Q(z_S / t)_j

    z are logits, t is the temperature. The list Q is the first K items of the teacher's ranking or of the student's, or
    all unseen items. The student's is ranked anew every `refresh_period` epochs. The mean is over the distinct users of
    a batch, or its rows (`exchange_at`), or over some of them by `users_of_batch`. A user of whom the teacher ranks
    nothing has a term of 0.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Raises:
        ConfigError: more items are asked for than there are.
        RoleError: `items: all` with a student that scores one pair at a time.
    """

    prepared = ("lists", "targets")

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.lists: torch.Tensor | None = None  # int32 [n_users, K]
        self.targets: torch.Tensor | None = None  # the teacher's logits of these items, where they are kept
        self.has_list = self.users_with_list()
        self.all_have_list = bool(self.has_list[1:].all())
        self.takes_all = config["items"] == ALL
        self.guide = StoredGuide(self.frozen, for_all_items=True)
        if not self.takes_all:
            self.require_items("top_items")
        elif not can_learn_full_lists(type(self.learner.model)):
            name = self.learner.config["model"]
            raise RoleError(
                f"items=all: {name} as the student scores one pair at a time; use items=student_top or teacher_top"
            )

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the list and the temperature: see `OneWay.transfer_facts`."""
        if config["items"] == ALL:
            some = config["users_of_batch"]
            items = "all unseen items" + (f" of {some} users of a batch" if some else "")
        else:
            whose = "student's own" if config["items"] == STUDENT_TOP else f"{teacher_text(config, is_listed=True)}'s"
            items = f"the {whose} top {config['top_items']}"
        return (
            "cross_entropy",
            items,
            f"target {teacher_text(config)}",
            temperature_text(config["temperature"], on="both"),
        )

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the lists and the teacher's logits of them, or its vectors; the student's every `refresh_period`."""
        if self.takes_all:
            is_kept = not (self.at_rows(STUDENT) and self.frozen.scores.reads_histories)
            return is_kept and self.guide.keep_vectors()
        is_moving = self.config["items"] == STUDENT_TOP
        if self.lists is not None and (not is_moving or epoch % self.config["refresh_period"]):
            return False
        role = self.learner if is_moving else self.frozen
        with role.scoring(), self.frozen.scoring():
            self.lists = self.top_of(role, self.config["top_items"], progress)
            self.targets = self.stored_logits(self.lists)
        return True

    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy with the teacher's softmax, for the distinct users, or the rows. Scalar."""
        units, temperature = self.units(STUDENT, users, batch, distinct=True), self.config["temperature"]
        if self.takes_all:
            some = some_units(units, self.config["users_of_batch"], self.generator)
            taught = some if self.all_have_list else some[self.has_list[users_of(some)]]
            term = full_list_cross_entropy(
                self.learner,
                taught,
                lambda part: self.guide.all_logits(taught[part]),
                self.seen,
                temperature,
                self.frozen.name,
            )
            return term * (len(taught) / len(some))
        assert self.lists is not None  # `prepare` has set it
        users = users_of(units)
        items = self.lists[users].long()
        logits = self.learner.pair_logits(units, items)
        targets = self.teacher_logits(units, items, None if self.targets is None else self.targets[users])
        terms = losses.list_cross_entropy(logits, targets, temperature, items > 0)
        return (terms * self.has_list[users]).mean()

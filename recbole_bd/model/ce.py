"""Cross-entropy distillation: the student learns the teacher's softmax over a list of items.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. arXiv 1503.02531. Its three lists for
recommendation are those of Zhu, Zhang: Rejuvenating Cross-Entropy Loss in Knowledge Distillation for Recommender
Systems. ICLR 2026. arXiv 2509.20989.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.errors import RoleError
from recbole_bd.model import losses
from recbole_bd.model.best_guide import StoredGuide
from recbole_bd.model.full_lists import can_learn_full_lists, full_list_cross_entropy, some_users
from recbole_bd.model.objective import temperature_text
from recbole_bd.model.one_way import OneWay, teacher_text
from recbole_bd.sampler.top_lists import listed_logits

ALL, STUDENT_TOP = "all", "student_top"  # values of `items`


class CE(OneWay):
    """The student learns the teacher's softmax over a list of items that the user has not seen.

    L = L_CF + lambda * mean over u of - sum over j in Q of softmax_Q(z_T / t)_j * log softmax_Q(z_S / t)_j

    z are logits, t is the temperature. The list Q is the first K items of the teacher's ranking or of the student's, or
    all unseen items. The student's is ranked anew every `refresh_period` epochs. The mean is over the distinct users of
    a batch, or over some of them by `users_of_batch`. A user of whom the teacher ranks nothing has a term of 0.

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
        self.targets: torch.Tensor | None = None  # the teacher's logits of these items
        self.has_list = self.users_with_list()
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
            return self.guide.keep_vectors()
        is_moving = self.config["items"] == STUDENT_TOP
        if self.lists is not None and (not is_moving or epoch % self.config["refresh_period"]):
            return False
        role = self.learner if is_moving else self.frozen
        with role.scoring(), self.frozen.scoring():
            self.lists = self.top_of(role, self.config["top_items"], progress)
            self.targets = listed_logits(self.frozen.pair_logits, self.lists)
        return True

    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy with the teacher's softmax, for the distinct users. Scalar."""
        users, temperature = users.unique(), self.config["temperature"]
        if self.takes_all:
            some = some_users(users, self.config["users_of_batch"], self.generator)
            taught = some[self.has_list[some]]
            term = full_list_cross_entropy(
                self.learner,
                taught,
                lambda part: self.guide.all_logits(taught[part]),
                self.seen,
                temperature,
                self.frozen.name,
            )
            return term * (len(taught) / len(some))
        # `prepare` has set these.
        assert self.lists is not None
        assert self.targets is not None
        items = self.lists[users].long()
        logits = self.learner.pair_logits(users, items)
        terms = losses.list_cross_entropy(logits, self.targets[users], temperature, items > 0)
        return (terms * self.has_list[users]).mean()

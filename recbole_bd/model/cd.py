"""Collaborative Distillation: soft labels by the teacher for items drawn by rank.

Lee, Choi, Lee, Shim: Collaborative Distillation for Top-N Recommendation. ICDM 2019. arXiv 1911.05276.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_bd.backbones.lists import Lists
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.registry import recommender_class
from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.errors import RoleError
from recbole_bd.model import losses
from recbole_bd.model.objective import number, temperature_text, whole
from recbole_bd.model.one_way import OneWay, teacher_text
from recbole_bd.sampler.draws import draw_positions, head_length
from recbole_bd.sampler.top_lists import top_lists


class CD(OneWay):
    """The student learns the teacher's probabilities of items at the top of a ranking.

    L = L_CF + lambda * mean over u, j ~ p(.|u) of BCE(z_S(u, j), sigmoid((z_T(u, j) + shift) / temperature))

    z are logits. Items are drawn from the guide's ranking of the items that the user has not seen; rank 1 is best:

    p(rank r) is proportional to exp(-r / rank_temperature)

    The guide is the student, so that the teacher corrects items that the student wrongly ranks high, or the teacher.
    As in BD, `samples_per_positive` items are drawn for every positive.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Raises:
        ConfigError: more items are asked for than there are.
    """

    prepared = ("lists", "targets")

    @classmethod
    def check_roles(cls, backbones: dict[str, str]) -> None:
        """Refuse a teacher of which only lists are known: see `Distiller.check_roles`."""
        super().check_roles(backbones)
        if issubclass(recommender_class(backbones[TEACHER]), Lists):
            raise RoleError(
                f"teacher: {backbones[TEACHER]} has ranks alone, and CD learns probabilities of single items; use RD, "
                "RRD, DCD, UnKD, HetComp, CE or RCEKD"
            )

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        self.require_items("samples_per_positive")
        self.samples = config["samples_per_positive"]
        # Autoencoder batches hold users only: draw as many items per user as a user has positives on average.
        self.samples_per_user = self.samples * max(1, round(len(dataset.inter_feat) / (self.n_users - 1)))
        self.lists: torch.Tensor | None = None  # int32 [n_users, head of the guide's list]
        self.targets: torch.Tensor | None = None  # the teacher's logits of these items, where they are kept

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the loss, the drawn items and the target: see `OneWay.transfer_facts`."""
        guide = f"{teacher_text(config, is_listed=True)}'s" if config["guide"] == TEACHER else "student's own"
        return (
            "collaborative",
            f"{config['samples_per_positive']} of the {guide} top {whole(config['rank_temperature'])}",
            f"target {teacher_text(config)}",
            f"shift {number(config['shift'])}" if config["shift"] else "",
            temperature_text(config["temperature"]),
        )

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the guide's top lists and the teacher's logits of them; a student's every `refresh_period` epochs."""
        is_moving = self.config["guide"] == STUDENT
        if self.lists is not None and (not is_moving or epoch % self.config["refresh_period"]):
            return False
        guide = self.learner if is_moving else self.frozen
        length = head_length(self.config["rank_temperature"])
        with guide.scoring(), self.frozen.scoring():
            self.lists = top_lists(guide.all_logits, self.seen, length, self.generator, progress, guide.name)
            self.targets = self.stored_logits(self.lists)
        return True

    def transfer(self, users: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Binary cross-entropy with the teacher's soft labels on the drawn items. Scalar."""
        assert self.lists is not None  # `prepare` has set it
        count = self.samples_per_user if batch.positives is None else self.samples
        lengths = torch.clamp(self.n_items - 1 - self.seen.counts[users], max=self.lists.shape[1])
        positions = draw_positions(lengths, count, self.config["rank_temperature"], self.generator)
        items = self.lists[users.unsqueeze(1), positions].long()
        stored = None if self.targets is None else self.targets[users.unsqueeze(1), positions]
        units = self.units(STUDENT, users, batch)
        targets = self.teacher_logits(units, items, stored)
        logits = self.learner.pair_logits(units, items)
        options = {"temperature": self.config["temperature"], "shift": self.config["shift"]}
        return losses.collaborative_exchange(logits, targets, **options)

"""Dual Correction Distillation: the student learns where it ranks items lower, and higher, than the teacher does.

Lee, Kim: Dual Correction Strategy for Ranking Distillation in Top-N Recommender System. CIKM 2021. arXiv 2109.03459.
"""

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_bd.backbones.lists import known_lists
from recbole_bd.backbones.role import Role
from recbole_bd.data.batches import Batch
from recbole_bd.errors import ConfigError
from recbole_bd.model import losses
from recbole_bd.model.objective import number
from recbole_bd.model.one_way import teacher_text
from recbole_bd.model.rrd import RRD
from recbole_bd.sampler.corrections import draw_corrections, listed_ranks
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.sampler.top_lists import top_lists

# Number of users scored at once where all users are scored for a few items.
_USERS_AT_ONCE = 1024
_SIDES = ("user", "item")
# Options of the terms, and of their weights.
_OF_ORDER = ("interesting", "interesting_items", "rank_temperature", "uninteresting_items")
_OF_CORRECTION = ("list_length", "corrected_items", "correction_scale", "refresh_period")
_WEIGHTS = {"order": "order_weight", "user": "user_side_weight", "item": "item_side_weight"}


class DCD(RRD):
    """The student learns to rank what it underestimates above what it overestimates, beside RRD's order.

    L = L_CF + lambda * (w_order * R(interesting ; uninteresting) + w_user * R(under_u ; over_u)
                         + w_item * R(under_i ; over_i))

    R(A ; B) is the loss of `RRD`: A in the teacher's order, all of it above B. Its first term is RRD itself. For the
    second, the student's ranks of the teacher's first items are compared with the teacher's, every `refresh_period`
    epochs. Items under_u that the student ranks lower and items over_u that it ranks higher are drawn with the weights
    of `correction_weights`. The third is the same for the users of an item, over the distinct positives of the batch.
    Where the loader gives users only (ENMF), one training item of each user is drawn.

    Each term is a mean over distinct users or items, as in `RRD`.

    Args:
        config, dataset, roles, control: see `Distiller`.

    Raises:
        ConfigError: more items are asked for than there are, every term has weight 0, or the item side has a weight
            with a teacher that knows lists only.
    """

    prepared = (*RRD.prepared, *(f"{kind}_{side}" for side in _SIDES for kind in ("listed", "under", "over")))

    def __init__(self, config: Config, dataset: Dataset, roles: dict[str, Role], control: bool = False):
        super().__init__(config, dataset, roles, control)
        for name in self.prepared[len(RRD.prepared) :]:
            setattr(self, name, None)  # int32, a row for each user or each item
        self.side_weights = {side: config[f"{side}_side_weight"] for side in _SIDES}
        if not any(config[name] for name in _WEIGHTS.values()):
            raise ConfigError(
                f"{', '.join(_WEIGHTS.values())}: all are 0, so nothing is taught; set one of them, or use "
                "lambda_teacher_to_student=0"
            )
        self.seen_by: SeenItems | None = None  # the users of each item, with the two kinds of ids exchanged
        if self.side_weights["item"]:
            if known_lists(self.frozen.model) is not None:
                raise ConfigError(
                    f"item_side_weight={self.side_weights['item']}: {self.frozen.config['model']} as the teacher ranks "
                    "items, not the users of an item; use item_side_weight=0"
                )
            users, items = dataset.inter_feat[self.USER_ID], dataset.inter_feat[self.ITEM_ID]
            self.seen_by = SeenItems(items, users, self.n_items, self.n_users, allows_full=True).to(self.device)

    @classmethod
    def transfer_facts(cls, config: Config) -> tuple[str, ...]:
        """Name the terms with their weights: see `OneWay.transfer_facts`."""
        name, *of_order, target = super().transfer_facts(config)
        weights = {term: config[name] for term, name in _WEIGHTS.items()}
        facts = [f"{number(weights['order'])} * {name}", *of_order] if weights["order"] else []
        if weights["user"]:
            facts.append(f"{number(weights['user'])} * items of each user")
        if weights["item"]:
            facts.append(f"{number(weights['item'])} * users of each item")
        if weights["user"] or weights["item"]:
            listed = teacher_text(config, is_listed=True)
            count, scale = config["corrected_items"], number(config["correction_scale"])
            kinds = f"{count} underestimated above {count} overestimated"
            facts.append(
                f"{kinds} of the {listed}'s top {config['list_length']} by tanh(difference of ranks / {scale})"
            )
            if config["refresh_period"] > 1:
                facts.append(f"drawn every {config['refresh_period']} epochs")
        return ("dual_correction", *facts, target)

    @classmethod
    def not_read(cls, config: Config) -> dict[str, str]:
        """Options of a term whose weight is 0: see `Distiller.not_read`."""
        found = super().not_read(config)
        if not config["order_weight"]:
            found |= dict.fromkeys(_OF_ORDER, "order_weight is 0")
        if not (config["user_side_weight"] or config["item_side_weight"]):
            found |= dict.fromkeys(_OF_CORRECTION, "user_side_weight and item_side_weight are 0")
        elif config["corrected_items"] >= config["list_length"]:
            reason = "corrected_items is list_length or more, so that the whole list is drawn as both kinds"
            found["correction_scale"] = reason
            if config["corrected_items"] > config["list_length"]:
                found["corrected_items"] = "it is above list_length, so that the whole list is drawn"
        return found

    def prepare(self, epoch: int, progress: Callable[[int], None] | None) -> bool:
        """Store the teacher's lists once; draw RRD's items, and the corrections of both sides."""
        is_done = self.config["order_weight"] > 0 and super().prepare(epoch, progress)
        if epoch % self.config["refresh_period"] and any(getattr(self, f"under_{side}") is not None for side in _SIDES):
            return is_done
        sides = [side for side in _SIDES if self.side_weights[side]]
        for side in sides:
            self._draw(side, progress)
        return is_done or bool(sides)

    def _draw(self, side: str, progress: Callable[[int], None] | None) -> None:
        """Compare the ranks of both roles, and draw the corrections of one side."""
        seen, of = (self.seen, _items_of_users) if side == "user" else (self.seen_by, _users_of_items)
        assert seen is not None  # with a weight of the item side
        if (lists := getattr(self, f"listed_{side}")) is None:
            length = self.config["list_length"]
            if side == "user":
                lists = self.top_of(self.frozen, length, progress)
            else:
                with self.frozen.scoring():
                    lists = top_lists(of(self.frozen), seen, length, self.generator, progress, self.frozen.name)
            setattr(self, f"listed_{side}", lists)
        with self.learner.scoring():
            ranks = listed_ranks(of(self.learner), seen, lists, progress, self.learner.name)
        count, scale = self.config["corrected_items"], self.config["correction_scale"]
        under, over = draw_corrections(lists, ranks, count, scale, self.generator)
        setattr(self, f"under_{side}", under)
        setattr(self, f"over_{side}", over)

    def transfer(self, users: Tensor, batch: Batch) -> Tensor:
        """Weighted sum of the three terms. Scalar."""
        terms = []
        if self.config["order_weight"]:
            terms.append(self.config["order_weight"] * super().transfer(users, batch))
        if weight := self.side_weights["user"]:
            terms.append(weight * self._correction("user", users.unique()))
        if weight := self.side_weights["item"]:
            items = self.seen.random_positive(users, self.generator) if batch.positives is None else batch.positives
            terms.append(weight * self._correction("item", items.unique()))
        return torch.stack(terms).sum()

    def _correction(self, side: str, rows: Tensor) -> Tensor:
        """Loss of the underestimated above the overestimated, for distinct users or items. Scalar."""
        under, over = (getattr(self, f"{kind}_{side}")[rows].long() for kind in ("under", "over"))
        columns = torch.cat([under, over], dim=1)
        if side == "user":
            logits = self.learner.pair_logits(rows, columns)
        else:
            items = rows.unsqueeze(1).expand_as(columns)
            logits = self.learner.pair_logits(columns.flatten(), items.reshape(-1, 1)).view(columns.shape)
        ordered, others = logits.split([under.shape[1], over.shape[1]], dim=1)
        return losses.relaxed_ranking(ordered, others, listed=under > 0, drawn=over > 0)


def _items_of_users(role: Role) -> Callable[[Tensor], Tensor]:
    """Logits of all items for some users, [C, n_items]."""
    return role.all_logits


def _users_of_items(role: Role) -> Callable[[Tensor], Tensor]:
    """Logits of all users for some items, [C, n_users]; a row model scores all items for each call."""
    chunks = torch.arange(role.n_users, device=role.device).split(_USERS_AT_ONCE)
    return lambda items: torch.cat([role.all_logits(users, items) for users in chunks]).T

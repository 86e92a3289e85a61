"""Checks of a role while it trains: broken parameters or scores, and validations without information.

Training that cannot continue ends with an error. Other findings are warnings, once per kind, role and arm. Both name
the epoch, the likely cause and the remedy.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor

from recbole_bd.backbones.registry import learns_by_gradient
from recbole_bd.backbones.role import Role
from recbole_bd.errors import TrainingError
from recbole_bd.trainer.journal import Journal

# Number of users whose scores are checked (the first of the validation part), and length of their lists.
_USERS, _LIST_LENGTH = 100, 10
# Fewer users than this may have the same list by chance.
_FEW_USERS = 8
# Sigmoid and softmax of larger logits are 0 or 1 in float32, without gradient.
_LARGE = 1e4
# Number of equal validations in a row that gives a warning.
_SAME = 3


class ScoreSample:
    """Statistics of the scores of an evaluation's first users: two counts per item and two numbers.

    Args:
        broken: makes the error for a score that is not finite.

    Attributes:
        users: number of users seen.
        largest: largest magnitude of their scores: logits, or probabilities if the model's `predict` gives these.
        all_equal: whether in every list all items have the same score.
    """

    def __init__(self, broken: Callable[[float], TrainingError]):
        self._broken = broken
        self.users = 0
        self.largest = 0.0
        self.all_equal = True
        self._list_length = 0
        self._compared = False
        self._listed = torch.zeros(1, dtype=torch.int64)  # [n_items], number of users with the item in their list
        self._offered = torch.zeros(1, dtype=torch.int64)  # [n_items], number of users who have not seen the item

    def take(self, scores: Tensor, rows: Tensor, items: Tensor) -> None:
        """Check one batch of an evaluation.

        Args:
            scores: [B, n_items], -inf for items that must not be recommended; or [B] if pairs are evaluated.
            rows, items: row and item of each positive, int64; these scores are checked for all users.

        Raises:
            TrainingError: a score is NaN or +inf. A score of -inf looks like an excluded item and passes.
        """
        self._require_numbers(scores[rows, items] if scores.dim() == 2 else scores)
        if scores.dim() != 2 or self.users >= _USERS:
            return
        scores = scores[: _USERS - self.users].float()
        offered = scores > -torch.inf
        length = min(_LIST_LENGTH, scores.shape[1])
        best = torch.topk(scores, length, dim=1)
        self._require_numbers(best.values)  # topk puts NaN first
        lists = best.values > -torch.inf
        self.users += len(scores)
        self._list_length = length
        self.largest = max(self.largest, float(scores.masked_fill(~offered, 0.0).abs().amax()))
        lowest = torch.where(lists, best.values, best.values[:, :1]).amin(dim=1)
        self.all_equal &= bool(((lowest == best.values[:, 0]) | ~lists[:, 0]).all())
        self._compared |= bool((lists.sum(dim=1) > 1).any())
        self._listed = self._listed.to(scores.device) + torch.bincount(best.indices[lists], minlength=scores.shape[1])
        self._offered = self._offered.to(scores.device) + offered.sum(dim=0)

    def finding(self) -> str | None:
        """The problem with the lists, in words; None if there is none."""
        if self.all_equal and self._compared:
            return "the scores of a user's best items are all equal"
        if self.users >= _FEW_USERS:
            # If all users share one order, its first items are in the list of every user who has not seen them.
            by_everyone = (self._listed == self._offered) & (4 * self._offered > self.users)
            if int(by_everyone.sum()) >= self._list_length:
                return "all users get the same list"
        return None

    def _require_numbers(self, scores: Tensor) -> None:
        bad = scores.isnan() | (scores == torch.inf)
        if bad.any():
            raise self._broken(float(scores[bad][0]))


class Health:
    """Checks one role in one arm while it is trained and evaluated.

    Args:
        role: the role.
        arm: `separate`, `distilled` or `continued`.
        journal: holds the validations so far; receives the warnings.
        rate: name of the setting that is the arm's learning rate.
        beside: parameters outside the model that are trained with the role.
    """

    def __init__(self, role: Role, arm: str, journal: Journal, rate: str, beside: Sequence[Tensor] = ()):
        self.role, self.arm, self.journal, self.beside = role, arm, journal, beside
        # A baseline's settings have no prefix.
        self.rate = rate if role.name == "model" else f"{role.name}.{rate}"
        self.epoch = -1
        self.sample = ScoreSample(self._broken_score)

    def before_evaluation(self, epoch: int) -> Callable[[Tensor, Tensor, Tensor], None]:
        """Check every parameter and buffer, and start a new sample of scores.

        Args:
            epoch: the epoch that has ended, from 0; -1 before the first.

        Returns:
            `ScoreSample.take`, to be called with each batch of scores.

        Raises:
            TrainingError: a parameter is not finite, although every loss was.
        """
        self.epoch = epoch
        self.sample = ScoreSample(self._broken_score)
        beside = ((f"parameter {number} outside the model", value) for number, value in enumerate(self.beside))
        for name, value in chain(self.role.model.named_parameters(), self.role.model.named_buffers(), beside):
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise self._broken_parameter(name)
        return self.sample.take

    def after_validation(self, metric: str, value: float, bigger: bool) -> None:
        """Warn if the latest validation, already in the journal, shows a problem.

        Args:
            metric, value: the metric that selects the best state.
            bigger: whether larger values are better.
        """
        if self.sample.largest > _LARGE:
            self._warn("scores", f"{self._seen()}, where the gradients of the losses vanish; {self._remedy()}")
        if bigger and value == 0:
            self._warn("zero", f"valid {metric} is exactly 0 (no hits): {self._seen()}; {self._remedy()}")
        elif value != 1 and self._is_constant():  # a value of 1 cannot improve
            self._warn("constant", f"the same values in {_SAME} validations in a row: {self._seen()}; {self._remedy()}")

    def _is_constant(self) -> bool:
        latest = self.journal.of(self.arm, self.role.name)[-_SAME:]
        values = [{name: value for name, value in row.items() if name != "epoch"} for row in latest]
        return len(values) == _SAME and all(one == values[-1] for one in values)

    def _seen(self) -> str:
        """The finding about the lists and scores of the first users, in words."""
        if self.sample.largest > _LARGE:
            return f"scores reach {self.sample.largest:.0e}"
        return self.sample.finding() or "users' lists differ and their scores are in range"

    def _remedy(self) -> str:
        if not learns_by_gradient(self.role.config["model"]):
            return "it counts alike items alike: choose another model, or validate on more users"
        if self.sample.largest > _LARGE or self.sample.finding():
            return "most likely it diverged or collapsed: lower learning_rate or set clip_grad_norm"
        return "most likely it has learnt too little: raise epochs or learning_rate, or validate on more users"

    def _warn(self, kind: str, message: str) -> None:
        self.journal.warn(kind, self.arm, self.role.name, self.epoch, message)

    def _broken_parameter(self, name: str) -> TrainingError:
        if self.epoch < 0:
            cause, remedy = "the state it starts from is broken", "choose another checkpoint"
        else:
            cause, remedy = "its last updates were most likely too large", f"lower {self.rate} or set clip_grad_norm"
        return TrainingError(f"the {self._where()}: {name} is no longer finite; {cause}: {remedy}")

    def _broken_score(self, value: float) -> TrainingError:
        return TrainingError(
            f"the {self._where()}: a score is {value} though every parameter is finite; its scores overflow, or the "
            f"model cannot score users without training interactions: lower {self.rate}, or leave such users out"
        )

    def _where(self) -> str:
        return f"{self.role.name} ({self.role.config['model']}, arm {self.arm}, epoch {self.epoch})"

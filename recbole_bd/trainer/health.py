"""Whether a role's numbers can be believed: parameters and scores that broke, and validations that say nothing.

What cannot be gone on from is an error; what a user should look at is a warning, once per kind, role and stage. Both
name the epoch, the likely cause and the way out.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor

from recbole_bd.backbones.role import Role
from recbole_bd.errors import TrainingError
from recbole_bd.trainer.journal import Journal

# Users whose scores are looked at, the first of the validation part, and places of their lists.
_USERS, _PLACES = 100, 10
# Fewer users than this may well have the same list by chance.
_FEW_USERS = 8
# A sigmoid or softmax of such logits is 0 or 1 and has no gradient left; in float32 that begins far below.
_LARGE = 1e4
# Validations in a row that may give the same numbers.
_SAME = 3


class ScoreSample:
    """What is kept of the scores of the first users of an evaluation: two counts per item and two numbers.

    Args:
        broken: makes the error of a score that is no number, which it is given.

    Attributes:
        users: number of users looked at.
        largest: largest magnitude among their scores, in the unit in which the model ranks: logits, but probabilities
            of models whose `predict` gives these.
        all_equal: whether in every list the best items have one and the same score.
    """

    def __init__(self, broken: Callable[[float], TrainingError]):
        self._broken = broken
        self.users = 0
        self.largest = 0.0
        self.all_equal = True
        self._places = 0
        self._compared = False
        self._listed = torch.zeros(1, dtype=torch.int64)  # [n_items], users in whose list an item is
        self._offered = torch.zeros(1, dtype=torch.int64)  # [n_items], users to whom it may be recommended

    def take(self, scores: Tensor, rows: Tensor, items: Tensor) -> None:
        """Look at one batch of an evaluation.

        Args:
            scores: [B, n_items], what is not to be recommended being -inf; or [B] where pairs are evaluated.
            rows, items: row and item of each positive; these scores are looked at for all users.

        Raises:
            TrainingError: a score is NaN or infinite. One of -inf cannot be told from an item that is not offered.
        """
        self._require_numbers(scores[rows, items] if scores.dim() == 2 else scores)
        if scores.dim() != 2 or self.users >= _USERS:
            return
        scores = scores[: _USERS - self.users].float()
        offered = scores > -torch.inf
        places = min(_PLACES, scores.shape[1])
        best = torch.topk(scores, places, dim=1)
        self._require_numbers(best.values)  # topk puts NaN first
        lists = best.values > -torch.inf
        self.users += len(scores)
        self._places = places
        self.largest = max(self.largest, float(scores.masked_fill(~offered, 0.0).abs().amax()))
        lowest = torch.where(lists, best.values, best.values[:, :1]).amin(dim=1)
        self.all_equal &= bool(((lowest == best.values[:, 0]) | ~lists[:, 0]).all())
        self._compared |= bool((lists.sum(dim=1) > 1).any())
        self._listed = self._listed.to(scores.device) + torch.bincount(best.indices[lists], minlength=scores.shape[1])
        self._offered = self._offered.to(scores.device) + offered.sum(dim=0)

    def finding(self) -> str | None:
        """What is wrong with the lists, in words; None where nothing is."""
        if self.all_equal and self._compared:
            return "the scores of a user's best items are all equal"
        if self.users >= _FEW_USERS:
            # If all users share one order, its first items stand in the list of everyone who has not seen them.
            by_everyone = (self._listed == self._offered) & (4 * self._offered > self.users)
            if int(by_everyone.sum()) >= self._places:
                return "all users get the same list"
        return None

    def _require_numbers(self, scores: Tensor) -> None:
        bad = scores.isnan() | (scores == torch.inf)
        if bad.any():
            raise self._broken(float(scores[bad][0]))


class Health:
    """Looks at one role of one stage while it is trained and evaluated.

    Args:
        role: the role.
        arm: `separate`, `distilled` or `continued`.
        journal: holds the validations so far; receives the warnings.
        rate: name of the setting that is the stage's learning rate.
        beside: what else is trained with the role.
    """

    def __init__(self, role: Role, arm: str, journal: Journal, rate: str, beside: Sequence[Tensor] = ()):
        self.role, self.arm, self.journal, self.beside = role, arm, journal, beside
        # A baseline's settings belong to no block.
        self.rate = rate if role.name == "model" else f"{role.name}.{rate}"
        self.epoch = -1
        self.sample = ScoreSample(self._broken_score)

    def before_evaluation(self, epoch: int) -> Callable[[Tensor, Tensor, Tensor], None]:
        """Look at every parameter and buffer, and begin to look at scores.

        Args:
            epoch: the epoch that has ended, from 0; -1 before any.

        Returns:
            What is to see each batch of scores: `ScoreSample.take`.

        Raises:
            TrainingError: a parameter is not finite, although every loss was.
        """
        self.epoch = epoch
        self.sample = ScoreSample(self._broken_score)
        beside = ((f"number {number} beside the model", value) for number, value in enumerate(self.beside))
        for name, value in chain(self.role.model.named_parameters(), self.role.model.named_buffers(), beside):
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise self._broken_parameter(name)
        return self.sample.take

    def after_validation(self, metric: str, value: float, bigger: bool) -> None:
        """Warn of what the latest validation shows, which the journal has already.

        Args:
            metric, value: the metric that selects.
            bigger: whether more of it is better.
        """
        if self.sample.largest > _LARGE:
            self._warn("scores", f"{self._seen()}, where losses have no gradient left; {self._way_out()}")
        if bigger and value == 0:
            self._warn("zero", f"valid {metric} is exactly 0, every hit was missed: {self._seen()}; {self._way_out()}")
        elif value != 1 and self._is_constant():  # a role that finds everything has nowhere to go
            self._warn("constant", f"the same numbers in {_SAME} validations: {self._seen()}; {self._way_out()}")

    def _is_constant(self) -> bool:
        latest = self.journal.of(self.arm, self.role.name)[-_SAME:]
        values = [{name: value for name, value in row.items() if name != "epoch"} for row in latest]
        return len(values) == _SAME and all(one == values[-1] for one in values)

    def _seen(self) -> str:
        """What the lists and scores of the first users show."""
        if self.sample.largest > _LARGE:
            return f"scores reach {self.sample.largest:.0e}"
        return self.sample.finding() or "users' lists differ and their scores are in range"

    def _way_out(self) -> str:
        if self.sample.largest > _LARGE or self.sample.finding():
            return "most likely it diverged or collapsed: lower learning_rate or set clip_grad_norm"
        return "most likely it has learnt too little: raise epochs or learning_rate, or validate on more users"

    def _warn(self, kind: str, message: str) -> None:
        self.journal.warn(kind, self.arm, self.role.name, self.epoch, message)

    def _broken_parameter(self, name: str) -> TrainingError:
        if self.epoch < 0:
            cause, way_out = "the state it starts from is broken", "choose another checkpoint"
        else:
            cause, way_out = "its last updates were most likely too large", f"lower {self.rate} or set clip_grad_norm"
        return TrainingError(f"the {self._place()}: {name} is no longer finite; {cause}: {way_out}")

    def _broken_score(self, value: float) -> TrainingError:
        return TrainingError(
            f"the {self._place()}: a score is {value} though every parameter is finite; its scores overflow, or the "
            f"model cannot score users without training interactions: lower {self.rate}, or leave such users out"
        )

    def _place(self) -> str:
        return f"{self.role.name} ({self.role.config['model']}, stage {self.arm}, epoch {self.epoch})"

"""New bests of several learners, counted for early stopping."""

import math
from collections.abc import Collection, Iterable
from typing import Any


class Improvements:
    """Best validation score of each learner, and the epoch at which it was reached.

    The first score of a learner may be that of the state it starts from: see `begins_at`. A learner that begins anew
    improves on its own scores. They may be below that of its warm-up, and no such state is its best.

    Args:
        roles: the learners.
        watched: roles whose improvements count for early stopping.

    Attributes:
        count: number of validations at which a watched role improved.
        best_epochs: epoch of each role's best score, from 0; -1 for the state that it starts from.
        to_beat: score of the warm-up of each role that begins anew.
        first_epochs: first epoch of each role whose turn came later than 0.
    """

    def __init__(self, roles: Iterable[str], watched: Collection[str]):
        self.watched = watched
        self.best_scores = dict.fromkeys(roles, -math.inf)
        self.best_epochs = dict.fromkeys(self.best_scores, -1)
        self.to_beat: dict[str, float] = {}
        self.first_epochs: dict[str, int] = {}
        self.count = 0

    def begins_at(self, role: str, score: float, anew: bool = False) -> bool:
        """Record the score of a role's warm-up, the first to beat; False if it is not a number.

        Args:
            role: a learner.
            score: of its warm-up; more is better.
            anew: whether the role begins in another state.
        """
        if math.isnan(score):
            return False
        (self.to_beat if anew else self.best_scores)[role] = score
        return True

    def begins_in(self, role: str, epoch: int) -> None:
        """Record the first epoch of a role's turn, from which its patience counts; later calls change nothing."""
        self.first_epochs.setdefault(role, epoch)

    def of_turn(self, role: str, epoch: int) -> int:
        """Number of an epoch within a role's turn, from 0; 0 as well before its turn."""
        return max(0, epoch - self.first_epochs.get(role, 0))

    def waited(self, role: str, epoch: int) -> int:
        """Epochs of a role without an improvement, up to an epoch."""
        return epoch - max(self.best_epochs[role], self.first_epochs.get(role, 0) - 1)

    def is_new_best(self, role: str, score: float, epoch: int) -> bool:
        """Record a validation of one role after an epoch; the higher score is better."""
        if not score > self.best_scores[role]:
            return False
        self.best_scores[role], self.best_epochs[role] = score, epoch
        return score > self.to_beat.get(role, -math.inf)

    def counted(self, improved: Collection[str]) -> int:
        """Close a validation of all learners.

        Args:
            improved: the roles that have improved.

        Returns:
            The new `count` if a watched role improved, else -1, which RecBole's early stopping takes as no improvement.
        """
        if not set(improved).intersection(self.watched):
            return -1
        self.count += 1
        return self.count

    def state_dict(self) -> dict[str, Any]:
        """Scores and counts, as plain data."""
        bests = {"best_scores": dict(self.best_scores), "best_epochs": dict(self.best_epochs)}
        starts = {"to_beat": dict(self.to_beat), "first_epochs": dict(self.first_epochs)}
        return {**bests, **starts, "improvements": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; other keys are ignored."""
        self.best_scores, self.count = dict(state["best_scores"]), state["improvements"]
        self.best_epochs = dict(state["best_epochs"])
        # Earlier versions had none of these.
        self.to_beat = dict(state.get("to_beat", {}))
        self.first_epochs = dict(state.get("first_epochs", {}))

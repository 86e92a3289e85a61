"""Turns of the learners: who learns first, and who after it."""

from collections.abc import Collection, Sequence


class Turns:
    """Learners that learn one after another; without an order they learn together.

    A turn is an equal part of the epochs. It ends earlier if its role comes to rest.

    Args:
        order: names of the learners, the first one first; empty if they learn together.
        epochs: epochs of the whole stage.

    Attributes:
        now: whose turn it is; None where all learn, and before the first epoch.
    """

    def __init__(self, order: Sequence[str] = (), epochs: int = 0):
        self.order, self._epochs = tuple(order), epochs
        self.now: str | None = None

    def take(self, epoch: int, resting: Collection[str]) -> None:
        """Set `now` for an epoch.

        Args:
            epoch: from 0.
            resting: learners that have come to rest.
        """
        if not self.order:
            return
        place = self._place(epoch)
        if self.now is not None:
            place = max(place, self.order.index(self.now))
        while self.order[place] in resting and place < len(self.order) - 1:
            place += 1
        self.now = self.order[place]

    def learns(self, role: str) -> bool:
        """Whether a role learns now, as far as turns are concerned."""
        return self.now is None or role == self.now

    @property
    def over(self) -> tuple[str, ...]:
        """Learners whose turn is over."""
        return () if self.now is None else self.order[: self.order.index(self.now)]

    def end_after(self, epoch: int) -> bool:
        """Whether the turn of `now` ends with an epoch, as its part of the epochs does."""
        return self.now is not None and self._place(epoch + 1) > self.order.index(self.now)

    def _place(self, epoch: int) -> int:
        return min(epoch * len(self.order) // max(self._epochs, 1), len(self.order) - 1)

    @property
    def are_to_come(self) -> bool:
        """Whether another turn follows."""
        return self.now is not None and self.now != self.order[-1]

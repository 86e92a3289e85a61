"""Where training can be left and taken up again, bit for bit, by a process that knows nothing but what was kept.

A place is after a batch, or after the last batch of an epoch and before its validation. To come back to the middle of
an epoch its beginning is repeated without training: the same order of the same data, up to the next batch.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from recbole_bd.data.batches import BatchStream
from recbole_bd.system.distributed import group
from recbole_bd.system.random_state import random_state, set_random_state
from recbole_bd.system.signals import Stop


class Keeper:
    """Keeps the places that a trainer comes to, and stops there if the user wants it.

    Args:
        write: receives a place, as plain data that must be written or copied before it returns.
        stop: whether the user wants to stop.
        every: a place is kept after this many epochs, and wherever the user stops.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None], stop: Stop, every: int = 1):
        self.write, self.stop, self.every = write, stop, every
        self._is_kept = False

    def batch_done(self, place: Callable[[], dict[str, Any]]) -> None:
        """A batch is over.

        Raises:
            Interrupted: the user stops; the place was kept.
        """
        self._agree()
        if self.stop.signal is not None:
            self._write(place)
            self.stop.check()

    def epoch_done(self, epoch: int, place: Callable[[], dict[str, Any]]) -> None:
        """The training of an epoch (from 0) is over, its validation comes next.

        Raises:
            Interrupted: the user stops; the place was kept.
        """
        self._agree()
        self._is_kept = (epoch + 1) % self.every == 0 or self.stop.signal is not None
        if self._is_kept:
            self._write(place)
        self.stop.check()

    def validating(self) -> None:
        """A batch of a validation begins, which is lost if the user stops here; what was trained is not.

        Several processes validate to the end.

        Raises:
            Interrupted: the user stops, and the epoch that is validated was kept.
        """
        if self._is_kept and group().size == 1:
            self.stop.check()

    def _agree(self) -> None:
        """Let several processes stop at the same place, whichever of them has been told to."""
        own = group()
        if own.size > 1 and (number := own.all_max(self.stop.signal or 0)):
            self.stop.signal = number

    def _write(self, place: Callable[[], dict[str, Any]]) -> None:
        if group().is_first:
            self.write(place())


def nothing_kept() -> Keeper:
    """A keeper that keeps nothing and never stops."""
    return Keeper(lambda place: None, Stop(), every=2**62)


class Resumable:
    """Put before a RecBole trainer: says from where it would go on, and goes on from there."""

    keeper: Keeper
    start_epoch: int
    epochs: int
    cur_step: int
    best_valid_score: float
    _resume_point: dict[str, Any] | None = None

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Everything of models, optimizers, samplers, records and losses that decides what comes next."""

    @abstractmethod
    def _load_state(self, state: dict[str, Any]) -> None:
        """Go on from `_state`."""

    def resume_from(self, place: dict[str, Any]) -> None:
        """Go on from a place when `fit` is called.

        Args:
            place: what another trainer of the same settings told its keeper.
        """
        self.start_epoch, self.cur_step = place["epoch"], place["cur_step"]
        self.best_valid_score = place["best_valid_score"]
        self._resume_point = place
        if self.start_epoch >= self.epochs:  # the settings now want fewer epochs: fit will do nothing
            self._load_state(place["state"])

    def _is_trained(self, train_data: Any) -> bool:
        """Whether the place to go on from is the end of the epoch that begins; then that is where everything is now."""
        if self._resume_point is None or self._resume_point["step"] is not None:
            return False
        resume_point, self._resume_point = self._resume_point, None
        self._restore(resume_point, train_data)
        return True

    def _run_epoch(self, train_data: Any, epoch: int, train: Callable[[Iterable], Any], by_batch: bool) -> None:
        """Train one epoch, or what is left of it.

        Args:
            train_data: the loader or stream of the epoch's batches.
            epoch: its number.
            train: trains on the batches it is given.
            by_batch: whether `train` passes over them once and keeps nothing of its own, so that it can be left between
                two of them.
        """
        resume_point, self._resume_point = self._resume_point, None
        if resume_point is not None:
            _set_generators(train_data, resume_point["generators"])
            set_random_state(resume_point["random_before"])
        generators, random_before = _generators(train_data), random_state()

        def place(step: int) -> dict[str, Any]:
            return {**self._place(epoch), "step": step, "generators": generators, "random_before": random_before}

        def batch_done(step: int) -> None:
            self.keeper.batch_done(lambda: place(step))

        def restore() -> None:
            if resume_point is not None:
                self._restore(resume_point)

        train(_Batches(train_data, resume_point, restore, batch_done) if by_batch else train_data)

    def _epoch_done(self, train_data: Any, epoch: int) -> None:
        """Tell the keeper that an epoch was trained."""
        self.keeper.epoch_done(
            epoch, lambda: {**self._place(epoch), "step": None, "generators": _generators(train_data)}
        )

    def _place(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "state": self._state(),
            "random": random_state(),
        }

    def _restore(self, place: dict[str, Any], train_data: Any = None) -> None:
        self._load_state(place["state"])
        if train_data is not None:
            _set_generators(train_data, place["generators"])
        set_random_state(place["random"])


class _Batches:
    """The batches of an epoch, without those before the place at which it was left."""

    def __init__(
        self,
        loader: Any,
        resume_point: dict[str, Any] | None,
        restore: Callable[[], None],
        batch_done: Callable[[int], None],
    ):
        self._loader, self._resume_point, self._restore, self._batch_done = loader, resume_point, restore, batch_done

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator:
        batches, step = iter(self._loader), 0
        if self._resume_point is not None:
            while step < self._resume_point["step"]:
                next(batches)
                step += 1
            self._restore()
        for batch in batches:
            yield batch
            step += 1
            self._batch_done(step)


def _loaders(train_data: Any) -> list[Any]:
    return train_data.loaders if isinstance(train_data, BatchStream) else [train_data]


def _generators(train_data: Any) -> list[torch.Tensor]:
    return [loader.generator.get_state() for loader in _loaders(train_data)]


def _set_generators(train_data: Any, states: list[torch.Tensor]) -> None:
    for loader, state in zip(_loaders(train_data), states, strict=True):
        loader.generator.set_state(state)

"""Resume points of training: a new process continues from one with bitwise the same results.

A resume point lies after a batch, or after the last batch of an epoch and before its validation. To resume within an
epoch, the earlier batches are drawn again in the same order and skipped.
"""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from recbole_bd.data.batches import BatchStream
from recbole_bd.system.allocator import freed_memory_kept
from recbole_bd.system.distributed import group
from recbole_bd.system.garbage import old_objects_left_alone
from recbole_bd.system.random_state import random_state, set_random_state
from recbole_bd.system.signals import Stop


class Keeper:
    """Writes a trainer's resume points, and stops the training there if the user asked for it.

    Args:
        write: receives a resume point as plain data, which it must write or copy before it returns.
        stop: whether the user wants to stop.
        every: number of epochs between resume points; one is also written wherever the user stops.
        seconds: least time between two resume points, and from the keeper's start to the first.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None], stop: Stop, every: int = 1, seconds: float = 0.0):
        self.write, self.stop, self.every, self.seconds = write, stop, every, seconds
        self._is_kept, self._written = False, time.monotonic()

    def batch_done(self, resume_point: Callable[[], dict[str, Any]]) -> None:
        """Stop after a batch if the user asked for it.

        Args:
            resume_point: builds the resume point; called only if it is written.

        Raises:
            Interrupted: the user stops; the resume point was written.
        """
        self._agree()
        if self.stop.signal is not None:
            self._write(resume_point)
            self.stop.check()

    def epoch_done(self, epoch: int, resume_point: Callable[[], dict[str, Any]]) -> None:
        """Write a resume point between the training and the validation of an epoch, if one is due.

        Args:
            epoch: the epoch that was trained, from 0.
            resume_point: builds the resume point; called only if it is written.

        Raises:
            Interrupted: the user stops; the resume point was written.
        """
        self._agree()
        is_due = (epoch + 1) % self.every == 0 and time.monotonic() - self._written >= self.seconds
        self._is_kept = is_due or self.stop.signal is not None
        if self._is_kept:
            self._write(resume_point)
        self.stop.check()

    def validating(self) -> None:
        """Stop before a batch of a validation, if the trained epoch was written and the user asked for it.

        A single process loses only the validation. Several processes finish it.

        Raises:
            Interrupted: the user stops; the resume point of the epoch was written.
        """
        if self._is_kept and group().size == 1:
            self.stop.check()

    def _agree(self) -> None:
        """Let all processes stop at the same batch, whichever of them received the signal."""
        own = group()
        if own.size > 1 and (number := own.all_max(self.stop.signal or 0)):
            self.stop.signal = number

    def _write(self, resume_point: Callable[[], dict[str, Any]]) -> None:
        if group().is_first:
            self.write(resume_point())
        self._written = time.monotonic()


def nothing_kept() -> Keeper:
    """A keeper that writes nothing and never stops."""
    return Keeper(lambda resume_point: None, Stop(), every=2**62)


class Resumable:
    """Mixin for a RecBole trainer that can be stopped and resumed."""

    keeper: Keeper
    start_epoch: int
    epochs: int
    cur_step: int
    eval_step: int
    best_valid_score: float
    _resume_point: dict[str, Any] | None = None

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """The full training state: models, optimizers, samplers, records and losses."""

    @abstractmethod
    def _load_state(self, state: dict[str, Any]) -> None:
        """Continue from `_state`."""

    def resume_from(self, resume_point: dict[str, Any]) -> None:
        """Let `fit` continue from a resume point.

        Args:
            resume_point: written by the keeper of another trainer with the same settings.
        """
        self.start_epoch = resume_point["epoch"]
        # RecBole counts validations, which may be at other distances now.
        self.cur_step = (
            resume_point["cur_step"] * resume_point.get("eval_step", self.eval_step) // max(self.eval_step, 1)
        )
        self.best_valid_score = resume_point["best_valid_score"]
        self._resume_point = resume_point
        if self.start_epoch >= self.epochs:  # the settings now want fewer epochs, so that fit will do nothing
            self._load_state(resume_point["state"])

    def _is_trained(self, train_data: Any) -> bool:
        """If the resume point is the end of this epoch, restore it and return True: the epoch needs no training."""
        if self._resume_point is None or self._resume_point["step"] is not None:
            return False
        resume_point, self._resume_point = self._resume_point, None
        self._restore(resume_point, train_data)
        return True

    def _run_epoch(self, train_data: Any, epoch: int, train: Callable[[Iterable], Any], by_batch: bool) -> None:
        """Train one epoch, or the rest of it after the resume point.

        Args:
            train_data: the loader or stream of the epoch's batches.
            epoch: its number, from 0.
            train: trains on the batches that it is given.
            by_batch: whether `train` can be stopped between two batches: it passes over them once and has no state.
        """
        resume_point, self._resume_point = self._resume_point, None
        if resume_point is not None:
            _set_generators(train_data, resume_point["generators"])
            set_random_state(resume_point["random_before"])
        generators, random_before = _generators(train_data), random_state()

        def after(step: int) -> dict[str, Any]:
            return {**self._position(epoch), "step": step, "generators": generators, "random_before": random_before}

        def batch_done(step: int) -> None:
            self.keeper.batch_done(lambda: after(step))

        with old_objects_left_alone(), freed_memory_kept():
            train(_Batches(train_data, resume_point, self._restore, batch_done) if by_batch else train_data)

    def _epoch_done(self, train_data: Any, epoch: int) -> None:
        """Offer the keeper the resume point after the last batch of an epoch."""
        self.keeper.epoch_done(
            epoch, lambda: {**self._position(epoch), "step": None, "generators": _generators(train_data)}
        )

    def _position(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "cur_step": self.cur_step,
            "eval_step": self.eval_step,
            "best_valid_score": float(self.best_valid_score),
            "state": self._state(),
            "random": random_state(),
        }

    def _restore(self, resume_point: dict[str, Any], train_data: Any = None) -> None:
        self._load_state(resume_point["state"])
        if train_data is not None:
            _set_generators(train_data, resume_point["generators"])
        set_random_state(resume_point["random"])


class _Batches:
    """The batches of an epoch, without those before the resume point."""

    def __init__(
        self,
        loader: Any,
        resume_point: dict[str, Any] | None,
        restore: Callable[[dict[str, Any]], None],
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
            self._restore(self._resume_point)
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

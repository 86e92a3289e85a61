"""One run trained by several processes: what they share, what each does for itself, and how they end together.

Every process holds both models and draws the same batches, negatives and samples; it computes losses for its share of
each batch's rows, and gradients are summed before every update. So one process and several take the same steps, up to
rounding. Users are shared out for ranking and for evaluation.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as processes
from torch import Tensor

from recbole_bd.errors import PeerError
from recbole_bd.system.child_processes import end_with_parent

T = TypeVar("T")
# Seconds after which a process that waits for the others gives up.
TIMEOUT = 1800


class Group:
    """The processes of one run.

    Attributes:
        rank: number of this one, from 0; the first writes what the run leaves.
        size: how many there are.

    Raises, in every method that talks to the others:
        PeerError: another one has ended.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this process writes what the run leaves."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's share of so many things in a row; the shares are as equal as can be and miss nothing."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def share(self, rows: int) -> tuple[slice, float]:
        """This process's rows of a batch, and their weight in a mean over all rows.

        Where there are fewer rows than processes, each takes all of them.
        """
        if rows < self.size:
            return slice(0, rows), 1 / self.size
        part = self.part(rows)
        return part, (part.stop - part.start) / rows

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place."""
        if self.size > 1:
            with _explaining():
                processes.all_reduce(tensor)
        return tensor

    def all_max(self, number: int) -> int:
        """The greatest of the processes' numbers."""
        if self.size == 1:
            return number
        numbers = torch.tensor([number])
        with _explaining():
            processes.all_reduce(numbers, op=processes.ReduceOp.MAX)
        return int(numbers)

    def all_gather(self, value: T) -> list[T]:
        """Every process's value, in their order; plain data, copied."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _explaining():
            processes.all_gather_object(values, value)
        return values

    def broadcast(self, make: Callable[[], T]) -> T:
        """What the first process makes; plain data, copied."""
        if self.size == 1:
            return make()
        held: list[Any] = [make() if self.is_first else None]
        with _explaining():
            processes.broadcast_object_list(held, src=0)
        return held[0]


_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)


def group() -> Group:
    """The processes of this run; one that was not started with others is alone."""
    if not _is_alone.get() and processes.is_available() and processes.is_initialized():
        return Group(processes.get_rank(), processes.get_world_size())
    return Group(0, 1)


@contextmanager
def alone() -> Iterator[None]:
    """Within, this process does its work as if there were no others."""
    before = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(before)


def started_rank() -> int | None:
    """Number of this process among those that `torchrun` started for one run; None where it was started alone."""
    return int(os.environ["RANK"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else None


@contextmanager
def joined() -> Iterator[Group]:
    """Join the processes that `torchrun` started with this one, by nccl between GPUs and gloo between CPUs.

    A process that was started alone, or has joined before, is left as it is. One that joins ends with its launcher.

    Raises:
        PeerError: the others do not come.
    """
    if started_rank() is None or int(os.environ["WORLD_SIZE"]) < 2 or processes.is_initialized():
        yield group()
        return
    end_with_parent()
    # The first optimizer imports this, which imports torch.distributed.nn, whose functions keep the group that there is
    # then as a default argument. Its threads would outlive destroy_process_group and might abort the process at exit.
    importlib.import_module("torch._dynamo")
    on_gpus = has_gpu_for_each() and processes.is_nccl_available()
    if on_gpus:
        torch.cuda.set_device(local_rank())
    with _explaining():
        processes.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=timedelta(seconds=TIMEOUT))
    try:
        yield group()
    finally:
        processes.destroy_process_group()


def local_rank() -> int:
    """Number of this process on its machine, from 0: that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def has_gpu_for_each() -> bool:
    """Whether this machine has a GPU for each of the run's processes on it: nccl takes no two on one."""
    return torch.cuda.is_available() and torch.cuda.device_count() >= processes_here()


def processes_here() -> int:
    """How many processes of this run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def with_gradient_all_reduce(loss: Tensor, parameters: Iterable[torch.nn.Parameter]) -> Tensor:
    """The same loss, whose `backward` ends with the sum of all processes' gradients in `grad`.

    Args:
        loss: of this process's share, weighted by `Group.share`.
        parameters: the same ones in every process, whether a gradient reaches them or not.
    """
    if group().size == 1:
        return loss
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    return _Then.apply(loss, lambda: _sum_gradients(learned))


class _Then(torch.autograd.Function):
    """Nothing, after whose backward pass, all of it, something is done."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, then: Callable[[], None]) -> Tensor:
        ctx.then = then
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        torch.autograd.Variable._execution_engine.queue_callback(ctx.then)
        return gradients[0], None


def _sum_gradients(parameters: list[torch.nn.Parameter]) -> None:
    reached = torch.tensor([float(one.grad is not None) for one in parameters], device=parameters[0].device)
    flat = [torch.zeros_like(one).view(-1) if one.grad is None else one.grad.reshape(-1) for one in parameters]
    buffer = group().all_reduce(torch.cat([*flat, reached]))
    counts = buffer[len(buffer) - len(parameters) :].tolist()
    start = 0
    for parameter, count in zip(parameters, counts, strict=True):
        values = buffer[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
        if parameter.grad is not None:
            parameter.grad.copy_(values)
        elif count:  # of another process's rows
            parameter.grad = values.clone()


@contextmanager
def per_process_rng() -> Iterator[None]:
    """Within, torch's global random numbers are this process's own; after it, all processes are at the same again.

    Dropout of different rows draws different amounts. A process alone draws as ever.
    """
    own = group()
    if own.size == 1:
        yield
        return
    seed = int(torch.randint(2**62, (1,)))
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed + own.rank)
        yield


@contextmanager
def _explaining() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # DistBackendError is one
        raise PeerError(
            f"process {started_rank()} of this run has lost the others: one has ended, and says why above"
        ) from error

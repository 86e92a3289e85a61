"""Data-parallel training of one run by several processes.

Every process holds both models and draws the same batches, negatives and samples. It computes losses for its share of
each batch's rows, and gradients are summed over the processes before every update. So one process and several take the
same steps, up to rounding. For ranking and evaluation each process takes a share of the users.
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
from recbole_bd.system.torchrun import local_rank, processes_here, started_rank

T = TypeVar("T")
# Seconds that a process waits for the others in a collective operation.
TIMEOUT = 1800


class Group:
    """The processes of one run.

    Attributes:
        rank: number of this process, from 0; process 0 writes the run folder.
        size: number of processes.

    Raises, in every collective operation:
        PeerError: another process has ended.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Slice of `range(count)` for this process. The slices differ by at most one in length and cover everything."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def share(self, rows: int) -> tuple[slice, float]:
        """Slice of a batch's rows for this process, and its weight in a mean over all rows.

        With fewer rows than processes, every process takes all rows.
        """
        if rows < self.size:
            return slice(0, rows), 1 / self.size
        part = self.part(rows)
        return part, (part.stop - part.start) / rows

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place, and return it."""
        if self.size > 1:
            with _explaining():
                processes.all_reduce(tensor)
        return tensor

    def all_max(self, number: int) -> int:
        """Return the maximum of a number over the processes."""
        if self.size == 1:
            return number
        numbers = torch.tensor([number])
        with _explaining():
            processes.all_reduce(numbers, op=processes.ReduceOp.MAX)
        return int(numbers)

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes in order of rank, as copies of plain data."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _explaining():
            processes.all_gather_object(values, value)
        return values

    def broadcast(self, make: Callable[[], T]) -> T:
        """Call `make` in process 0 only and return its value in every process, as a copy of plain data."""
        if self.size == 1:
            return make()
        held: list[Any] = [make() if self.is_first else None]
        with _explaining():
            processes.broadcast_object_list(held, src=0)
        return held[0]


_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)


def group() -> Group:
    """Return the processes of this run; a group of one if this process has joined no others."""
    if not _is_alone.get() and processes.is_available() and processes.is_initialized():
        return Group(processes.get_rank(), processes.get_world_size())
    return Group(0, 1)


@contextmanager
def alone() -> Iterator[None]:
    """Work as a group of one within the scope."""
    before = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(before)


@contextmanager
def joined() -> Iterator[Group]:
    """Join the process group that `torchrun` started: NCCL for tensors on GPUs, Gloo for tensors on CPUs.

    Nothing changes for a process that was started alone or has already joined. A process that joins ends with its
    launcher.

    Raises:
        PeerError: the other processes do not join in time.
    """
    if started_rank() is None or int(os.environ["WORLD_SIZE"]) < 2 or processes.is_initialized():
        yield group()
        return
    end_with_parent()
    # The first optimizer would import torch._dynamo, and with it torch.distributed.nn. Its functions keep the current
    # process group as a default argument: threads would outlive destroy_process_group and could abort the process at
    # exit. Imported before the group exists, they keep none.
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


def has_gpu_for_each() -> bool:
    """Whether each process on this machine can have its own GPU; NCCL does not let two share one."""
    return torch.cuda.is_available() and torch.cuda.device_count() >= processes_here()


def with_gradient_all_reduce(loss: Tensor, parameters: Iterable[torch.nn.Parameter]) -> Tensor:
    """Return the loss unchanged; its `backward` ends with an all-reduce that sums `grad` over the processes.

    Args:
        loss: scalar loss of this process's rows, times their weight from `Group.share`.
        parameters: the same parameters in every process, with or without a gradient.
    """
    if group().size == 1:
        return loss
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    return _AfterBackward.apply(loss, lambda: _sum_gradients(learned))


class _AfterBackward(torch.autograd.Function):
    """Identity whose backward schedules a callback for the end of the whole backward pass."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, callback: Callable[[], None]) -> Tensor:
        ctx.callback = callback
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        torch.autograd.Variable._execution_engine.queue_callback(ctx.callback)
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
        elif count:  # only rows of other processes have a gradient
            parameter.grad = values.clone()


@contextmanager
def per_process_rng() -> Iterator[None]:
    """Give each process its own torch random numbers within the scope, as dropout on different rows needs.

    Afterwards all processes are at the same random state again. A single process draws from its usual state.
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
    except RuntimeError as error:  # also torch.distributed.DistBackendError
        raise PeerError(
            f"process {started_rank()} of this run has lost the other processes: one has ended; see its error above"
        ) from error

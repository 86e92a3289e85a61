"""Training steps as CUDA graphs.

A step of a small model is about a hundred kernels of a few microseconds each. Launched one by one, the GPU waits for
Python most of the time. A graph holds the kernels of a whole step and launches them together. The numbers are those of
the plain step: the same kernels in the same order, with the same random numbers.
"""

import gc
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from recbole_bd.backbones.acceleration.embedding_gradients import renew_nodes
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.traits import declared_traits, is_recbole_model, traits_of
from recbole_bd.data.batches import Batch
from recbole_bd.errors import TrainingError
from recbole_bd.system.distributed import group
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.training_step import Parts

# Plain steps of a kind before it is captured: they allocate what outlives a step, such as the optimizer's state.
_PLAIN_STEPS = 2


class Recording(Protocol):
    """A recorded step that can be run again."""

    def replay(self) -> None:
        """Run the step on what its batch holds now."""


class CapturedSteps:
    """Runs training steps; steps of a kind that comes again are captured and replayed.

    Steps are of one kind if they update the same roles from batches of the same shapes, and if `kind` is equal. A graph
    reads its batch from fixed tensors, into which each batch is copied. The last, shorter batch of an epoch is of
    another kind and is run plainly.

    Args:
        run: the step, `TrainingStep.run` without a record. It must not wait for the device, nor read numbers on the
            host that `kind` does not name.
        record: makes a recording of a function, such as `CudaGraph`.
        stream: the stream of all steps, plain ones too: autograd runs a backward pass on the stream of the forward
            pass. None on a CPU.
        before: called at the start of every epoch, on the stream of the steps.
        after: called after every replay with the roles, for what a graph cannot hold.
    """

    def __init__(
        self,
        run: Callable[[Batch, Sequence[str]], Parts],
        record: Callable[[Callable[[], None]], Recording],
        stream: Any = None,
        before: Callable[[], None] = lambda: None,
        after: Callable[[Sequence[str]], None] = lambda roles: None,
    ):
        self.run, self.record, self.stream, self.before, self.after = run, record, stream, before, after
        # Graphs and the number of plain steps by roles and shapes; the kind of the latest step by roles.
        self._captured: dict[tuple[tuple[str, ...], Hashable], _Captured] = {}
        self._met: Counter[tuple[tuple[str, ...], Hashable]] = Counter()
        self._kinds: dict[tuple[str, ...], Hashable] = {}

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Scope of an epoch's steps: work before it is done before them, and work after it comes after them."""
        if self.stream is None:
            self.before()
            yield
            return
        outside = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            self.before()
            yield
        outside.wait_stream(self.stream)

    def update(
        self, batch: Batch, roles: Sequence[str], losses: Mapping[str, EpochLosses], kind: Hashable = None
    ) -> None:
        """Update some roles once.

        Args:
            batch: a batch on the models' device.
            roles: roles to update.
            losses: receives the loss parts, by role.
            kind: all that the step reads beside the batch, the models and the state of random generators.
        """
        names, tensors = tuple(roles), batch.tensors()
        if kind != self._kinds.setdefault(names, kind):  # what a graph of another kind reads may be gone
            self._kinds[names] = kind
            self.forget(names)
        key = names, tuple((value.shape, value.dtype) for value in tensors)
        captured = self._captured.get(key)
        if captured is None and self._met[key] >= _PLAIN_STEPS:
            captured = self._captured[key] = _Captured(batch, lambda own: self.run(own, roles), self.record)
        if captured is None:
            self._met[key] += 1
            parts = self.run(batch, roles)
            for name in roles:
                losses[name].add(parts[name])
            return
        row = captured.run(tensors)
        self.after(roles)
        start = 0
        for name, parts_of in captured.names.items():
            losses[name].add_row(parts_of, row[start : start + len(parts_of)])
            start += len(parts_of)

    def forget(self, roles: tuple[str, ...]) -> None:
        """Drop the graphs of some roles' steps."""
        for held in (self._captured, self._met):
            for key in [key for key in held if key[0] == roles]:
                del held[key]


class _Captured:
    """A recorded step with the batch that it reads and the loss parts that it writes."""

    def __init__(self, batch: Batch, run: Callable[[Batch], Parts], record: Callable[[Callable[[], None]], Recording]):
        self.batch = batch.clone()
        self._tensors = self.batch.tensors()
        self.names: dict[str, tuple[str, ...]] = {}

        def step() -> None:
            parts = run(self.batch)
            self.names = {role: tuple(own) for role, own in parts.items()}
            self._row = torch.stack([value.detach().reshape(()) for own in parts.values() for value in own.values()])

        self._recording = record(step)

    def run(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        """Run the step on a batch. Returns its loss parts, role by role: [parts]."""
        torch._foreach_copy_(self._tensors, tensors)
        self._recording.replay()
        return self._row.clone()


class CudaGraph:
    """A function recorded as a CUDA graph; the function runs once for it, without effect on the device.

    Args:
        step: a function that launches kernels on the current stream and does not wait for them.
        generators: random generators on the device that it uses, beside torch's own.

    Raises:
        TrainingError: the function waits for the device, or copies numbers from the host.
    """

    def __init__(self, step: Callable[[], None], generators: Sequence[torch.Generator]):
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        torch.cuda.synchronize()
        try:
            with _without_collection():
                self._graph.capture_begin(capture_error_mode="thread_local")
                step()
                self._graph.capture_end()
        except RuntimeError as error:
            # The device's random generator stays with the capture, so that no plain step can follow.
            raise TrainingError(
                f"a step cannot be captured as a CUDA graph ({str(error).splitlines()[0]}); use cuda_graphs=False"
            ) from error

    def replay(self) -> None:
        """Run the recorded kernels on the current stream."""
        self._graph.replay()


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep Python from freeing a graph of an earlier trainer, which would break the capture."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def cuda_steps(
    run: Callable[[Batch, Sequence[str]], Parts],
    generators: Sequence[torch.Generator],
    trainers: Mapping[str, Any],
) -> CapturedSteps:
    """Steps that are captured as CUDA graphs; see `CapturedSteps`.

    Args:
        run: see `CapturedSteps`.
        generators: random generators that the steps use, beside torch's own.
        trainers: RecBole's trainer of each role that learns, on one GPU.
    """

    def before() -> None:
        for one in trainers.values():
            renew_nodes(one.model)

    def after(roles: Sequence[str]) -> None:
        for name in roles:
            trainers[name].average.after_replay()

    on_device = [one for one in dict.fromkeys(generators) if one.device.type == "cuda"]
    stream = torch.cuda.Stream(next(iter(trainers.values())).device)
    return CapturedSteps(run, lambda step: CudaGraph(step, on_device), stream, before, after)


def may_capture(trainers: Iterable[Any], roles: Iterable[Role]) -> bool:
    """Whether the steps of some roles can be captured as CUDA graphs, as far as machine, settings and models say.

    Args:
        trainers: RecBole's trainers of the roles that learn.
        roles: all roles that a step reads.
    """
    return (
        group().size == 1
        and all(_is_capturable(role) for role in roles)
        and all(
            one.device.type == "cuda"
            and one.config["cuda_graphs"]
            and not one.enable_scaler
            and one.rate_decay.factor == 1  # a captured step has the rate with which it was captured
            and all(settings.get("capturable") for settings in one.optimizer.param_groups)
            for one in trainers
        )
    )


def _is_capturable(role: Role) -> bool:
    """Whether a role's loss and scores are known to be capturable; a subclass may do more than the model it extends."""
    is_own_loss = role.softmax is None
    is_known = is_recbole_model(role.model) or declared_traits(type(role.model)) is not None
    return is_own_loss and is_known and traits_of(role.model).is_capturable

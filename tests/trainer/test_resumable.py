"""Resume points: when they are written, where training stops, and where it goes on."""

import signal

import pytest
import torch

from recbole_bd.errors import Interrupted
from recbole_bd.system.distributed import Group
from recbole_bd.system.signals import Stop
from recbole_bd.trainer import resumable
from recbole_bd.trainer.resumable import Keeper, Resumable, nothing_kept


class Counting(Resumable):
    """A trainer whose state is the list of the batches it has seen, each with a random number."""

    def __init__(self, keeper: Keeper, epochs: int = 3):
        self.keeper, self.epochs = keeper, epochs
        self.start_epoch, self.cur_step, self.eval_step, self.best_valid_score = 0, 0, 1, 0.0
        self.seen: list[tuple[int, float]] = []

    def _state(self):
        return {"seen": list(self.seen)}

    def _load_state(self, state):
        self.seen = list(state["seen"])

    def train(self, loader, by_batch: bool = True):
        """Train the epochs."""
        for epoch in range(self.start_epoch, self.epochs):
            if not self._is_trained(loader):
                self._run_epoch(loader, epoch, self._take, by_batch)
                self._epoch_done(loader, epoch)

    def _take(self, batches):
        for batch in batches:
            self.seen.append((int(batch), float(torch.rand(1))))


class Loader:
    """Four batches in an order of its own generator."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)

    def __iter__(self):
        return iter(torch.randperm(4, generator=self.generator))

    def __len__(self):
        return 4


class Notes:
    """A keeper's resume points, in order."""

    def __init__(self):
        self.points = []

    def keeper(self, stop: Stop | None = None, every: int = 1) -> Keeper:
        return Keeper(self.points.append, stop or Stop(), every)


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [3]), (99, [])])
def test_points_are_written_every_few_epochs(every, epochs):
    notes = Notes()
    keeper = notes.keeper(every=every)
    for epoch in range(6):
        keeper.epoch_done(epoch, lambda epoch=epoch: {"epoch": epoch})
        keeper.batch_done(lambda: pytest.fail("nobody asked for a stop"))
        keeper.validating()
    assert [point["epoch"] for point in notes.points] == epochs


def test_points_are_some_time_apart(monkeypatch):
    """Epochs of four seconds, and at least ten between two points, the start of the stage included."""
    now = 100.0
    monkeypatch.setattr(resumable.time, "monotonic", lambda: now)
    notes = Notes()
    keeper = Keeper(notes.points.append, Stop(), every=1, seconds=10.0)
    for epoch in range(8):
        now += 4
        keeper.epoch_done(epoch, lambda epoch=epoch: {"epoch": epoch})
    assert [point["epoch"] for point in notes.points] == [2, 5]
    keeper.stop.signal = signal.SIGINT
    with pytest.raises(Interrupted):
        keeper.epoch_done(8, lambda: {"epoch": 8})
    assert notes.points[-1] == {"epoch": 8}, "a stop is written at once"


def test_a_stop_is_written_after_a_batch_and_after_an_epoch_whatever_is_due():
    notes, stop = Notes(), Stop()
    keeper = notes.keeper(stop, every=99)
    stop.signal = signal.SIGTERM
    with pytest.raises(Interrupted) as stopped:
        keeper.batch_done(lambda: {"step": 3})
    assert stopped.value.signal == signal.SIGTERM
    with pytest.raises(Interrupted):
        keeper.epoch_done(0, lambda: {"step": None})
    assert notes.points == [{"step": 3}, {"step": None}]


@pytest.mark.parametrize("every", [1, 2])
def test_a_validation_is_left_only_where_its_epoch_was_written(every):
    notes, stop = Notes(), Stop()
    keeper = notes.keeper(stop, every)
    keeper.epoch_done(0, dict)
    stop.signal = signal.SIGINT
    if every == 1:
        with pytest.raises(Interrupted):
            keeper.validating()
    else:
        keeper.validating()
    assert len(notes.points) == 2 - every


class Pair(Group):
    """The second of two processes; the first has received SIGINT."""

    def all_max(self, number):
        return max(number, signal.SIGINT)


def test_processes_stop_together_and_the_first_writes(monkeypatch):
    monkeypatch.setattr(resumable, "group", lambda: Pair(1, 2))
    notes = Notes()
    with pytest.raises(Interrupted) as stopped:
        notes.keeper().batch_done(dict)
    assert (stopped.value.signal, notes.points) == (signal.SIGINT, [])
    monkeypatch.setattr(resumable, "group", lambda: Pair(0, 2))
    with pytest.raises(Interrupted):
        notes.keeper().batch_done(lambda: {"step": 1})
    assert notes.points == [{"step": 1}]


def test_several_processes_finish_a_validation(monkeypatch):
    keeper = Notes().keeper()
    keeper.epoch_done(0, dict)
    keeper.stop.signal = signal.SIGINT
    monkeypatch.setattr(resumable, "group", lambda: Pair(0, 2))
    assert keeper.validating() is None


def test_a_keeper_may_keep_nothing():
    keeper = nothing_kept()
    keeper.batch_done(lambda: pytest.fail("nothing is built"))
    keeper.epoch_done(0, lambda: pytest.fail("nothing is built"))
    keeper.validating()


def whole() -> list[tuple[int, float]]:
    """What a trainer sees that is not stopped."""
    torch.manual_seed(5)
    trainer = Counting(nothing_kept())
    trainer.train(Loader())
    return trainer.seen


@pytest.mark.parametrize("batch", range(1, 12))
def test_training_goes_on_after_any_batch(batch):
    notes, stop = Notes(), Stop()
    torch.manual_seed(5)
    first = Counting(notes.keeper(stop, every=99))
    take = first.seen.append

    class Stopping(list):
        def append(self, one):
            take(one)
            super().append(one)
            if len(self) == batch:
                stop.signal = signal.SIGINT

    first.seen = Stopping()
    with pytest.raises(Interrupted):
        first.train(Loader())
    (point,) = notes.points
    assert (point["epoch"], point["step"]) == ((batch - 1) // 4, (batch - 1) % 4 + 1)
    torch.manual_seed(99)
    second = Counting(nothing_kept())
    second.resume_from(point)
    second.train(Loader())
    assert second.seen == whole()


@pytest.mark.parametrize("by_batch", [True, False])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_training_goes_on_after_any_epoch(epoch, by_batch):
    notes = Notes()
    torch.manual_seed(5)
    Counting(notes.keeper()).train(Loader(), by_batch)
    torch.manual_seed(99)
    second = Counting(nothing_kept())
    second.resume_from(notes.points[epoch])
    second.train(Loader(), by_batch)
    assert second.seen == whole()


def test_fewer_epochs_than_were_trained_leave_the_state_of_the_point():
    notes = Notes()
    torch.manual_seed(5)
    Counting(notes.keeper()).train(Loader())
    second = Counting(nothing_kept(), epochs=1)
    second.resume_from(notes.points[1])
    second.train(Loader())
    assert second.seen == whole()[:8]


def test_batches_of_an_epoch_are_counted_for_progress_bars():
    assert len(resumable._Batches(Loader(), None, lambda _: None, lambda _: None)) == 4

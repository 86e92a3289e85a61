"""Signals: a stop at once, a stop that waits for its place, and the second signal."""

import os
import signal
import threading

import pytest

from recbole_bd.errors import ConfigError, Interrupted
from recbole_bd.system import signals
from recbole_bd.system.atomic_write import write_atomically
from recbole_bd.system.signals import Stop, stoppable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once(number):
    with pytest.raises(Interrupted) as stopped, stoppable():
        signal.raise_signal(number)
    assert stopped.value.signal == number


def test_a_library_may_turn_the_stop_into_an_error_of_its_own(tmp_path):
    """`torch.save` raises RuntimeError where the stream it writes to raises anything."""

    def write(stream) -> None:
        signal.raise_signal(signal.SIGINT)

    def save(stream) -> None:
        try:
            write(stream)
        except Interrupted as error:
            raise RuntimeError("unexpected pos 64 vs 0") from error

    with pytest.raises(Interrupted) as stopped, stoppable():
        write_atomically(tmp_path / "model.pth", save)
    assert stopped.value.signal == signal.SIGINT
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_a_stop_waits_for_its_place_stays_an_error():
    def save() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ConfigError("the disk is full")

    with pytest.raises(ConfigError, match="the disk is full"), stoppable() as stop, stop.deferred():
        save()


def test_a_deferred_signal_stops_at_the_next_check_only():
    with stoppable() as stop:
        with stop.deferred():
            stop.check()
            signal.raise_signal(signal.SIGTERM)
            with stop.deferred():
                pass
            assert stop.signal == signal.SIGTERM
            with pytest.raises(Interrupted, match=r"^stopped$"):
                stop.check()
        with pytest.raises(Interrupted):
            stop.check()


def test_a_nested_scope_leaves_the_outer_one_deferred():
    with stoppable() as stop, stop.deferred():
        with stop.deferred():
            pass
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT


def test_the_second_signal_goes_to_the_system(monkeypatch):
    """The system's own handling of SIGINT and SIGTERM ends the process."""
    sent = []
    monkeypatch.setattr(
        signals.os, "kill", lambda process, number: sent.append((process, number, signal.getsignal(number)))
    )
    with stoppable() as stop, stop.deferred():
        signal.raise_signal(signal.SIGINT)
        assert sent == []
        signal.raise_signal(signal.SIGTERM)
        assert sent == [(os.getpid(), signal.SIGTERM, signal.SIG_DFL)]
        assert stop.signal == signal.SIGINT


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stoppable():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_handles_nothing():
    before, found = signal.getsignal(signal.SIGINT), []

    def work():
        with stoppable() as stop:
            found.append((type(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(Stop, before)]

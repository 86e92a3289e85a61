"""Graceful stop on SIGINT and SIGTERM: the run saves its state first; a second signal stops it at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from recbole_bd.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Request to stop this process.

    Attributes:
        signal: number of the signal that was received; None before.
        has_raised: whether `Interrupted` was raised, wherever the process was. A library may turn it into an error of
            its own, as `torch.save` does.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.has_raised = False
        self._is_deferred = False

    def check(self) -> None:
        """Stop here if a signal was received.

        Raises:
            Interrupted: a signal was received.
        """
        if self.signal is not None:
            self.has_raised = True
            raise Interrupted(self.signal)

    def cause_of(self, error: Exception) -> Exception:
        """Name the cause of an error: `Interrupted` where that was raised before, else the error itself."""
        if self.signal is None or not self.has_raised or isinstance(error, Interrupted):
            return error
        return Interrupted(self.signal)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only record a signal within the scope; the caller calls `check` where it can stop.

        Outside the scope a signal raises `Interrupted` at once.
        """
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:  # a second signal
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.signal = number
        if not self._is_deferred:
            self.check()


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Handle SIGINT and SIGTERM as requests to stop within the scope.

    Python delivers signals to the main thread only; in another thread nothing is handled.

    Raises:
        Interrupted: a signal is received outside `Stop.deferred`, also where a library turned it into an error of its
            own. A second signal ends the process.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop._take) for number in _SIGNALS}
    try:
        yield stop
    except Exception as error:
        cause = stop.cause_of(error)
        if cause is error:
            raise
        raise cause from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

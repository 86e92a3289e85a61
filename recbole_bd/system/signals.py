"""SIGINT and SIGTERM as requests: work that can be continued is saved first, and a second signal stops at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from recbole_bd.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the user wants this process to stop.

    Attributes:
        signal: the number of the signal that asked for it; None before.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._is_deferred = False

    def check(self) -> None:
        """Stop here if that was asked for.

        Raises:
            Interrupted: a signal has come.
        """
        if self.signal is not None:
            raise Interrupted(self.signal)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, a signal is noted only, and the work itself calls `check` where it can stop.

        Elsewhere a signal stops the work at once.
        """
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:  # the second one
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.signal = number
        if not self._is_deferred:
            self.check()


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Take SIGINT and SIGTERM as requests within; outside the main thread, where Python has no signals, none comes.

    Raises:
        Interrupted: a signal comes while nothing is deferred; a second one ends the process.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop._take) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

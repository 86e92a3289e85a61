"""Pool of child processes: a limited number runs at a time, each with a log file, and all end with the pool."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from recbole_bd.system.child_processes import end, start

_INTERVAL = 0.1  # seconds between two polls of the processes
_CHUNK = 1 << 16  # bytes of one read from a pipe


@dataclass(eq=False)
class Child:
    """One process of a pool.

    Attributes:
        process: the process; it has a return code once `ProcessPool.wait` has returned the child.
        log: file that receives its output.
        listener: receives each line of its standard output; None if that goes to the log.
        started: monotonic time of its start, in seconds.
        started_at: time of its start, in seconds since the epoch.
        seconds: duration of an ended process.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    listener: Callable[[str], bool] | None
    started: float
    started_at: float
    seconds: float = 0.0
    _partial: bytes = field(default=b"", repr=False)

    def listen(self) -> None:
        """Pass the complete lines that the process has written to the listener, without blocking."""
        stream = self.process.stdout
        if self.listener is None or stream is None:
            return
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(stream.fileno(), _CHUNK):
                *lines, self._partial = (self._partial + chunk).split(b"\n")
                for line in lines:
                    if self.listener(line.decode()):
                        self.process.terminate()

    def close(self) -> None:
        """Close the pipe from the process."""
        if self.process.stdout is not None:
            self.process.stdout.close()


class ProcessPool:
    """Starts processes and waits for them, without threads.

    As a context manager it terminates the running processes at its exit, and kills those that survive the grace period.

    Args:
        jobs: number of processes at a time.
        grace: seconds that a process may take to stop after SIGTERM.

    Attributes:
        running: processes that `wait` and `stop` have not returned yet, in the order of their starts.
    """

    def __init__(self, jobs: int, grace: float):
        self.running: list[Child] = []
        self._jobs, self._grace = jobs, grace

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end([child.process for child in self.running], self._grace)
        for child in self.running:
            child.close()
        self.running.clear()

    @property
    def has_room(self) -> bool:
        """Whether fewer processes run than the pool allows."""
        return len(self.running) < self._jobs

    def start(
        self,
        command: Sequence[str],
        log: Path,
        environment: dict[str, str] | None = None,
        text: str = "",
        listener: Callable[[str], bool] | None = None,
    ) -> Child:
        """Start a process.

        Args:
            command: the program and its arguments.
            log: file to create for its output; with a listener, for its standard error only.
            environment: environment variables; None inherits those of this process.
            text: what the process reads from its standard input.
            listener: called within `wait` and `stop` with each line of its standard output; returns whether to
                terminate the process.

        Raises:
            OSError: the log cannot be created or the process cannot be started.
            RuntimeError: the pool has no room.
        """
        if not self.has_room:
            raise RuntimeError(f"{self._jobs} processes are already running")
        began, began_at = time.monotonic(), time.time()
        log.parent.mkdir(parents=True, exist_ok=True)
        source = subprocess.PIPE if text else subprocess.DEVNULL
        with log.open("wb") as stream:
            if listener is None:
                process = start(command, environment, subprocess.STDOUT, stdin=source, stdout=stream)
            else:
                process = start(command, environment, stream, stdin=source, stdout=subprocess.PIPE)
        child = Child(process, log, listener, began, began_at)
        self.running.append(child)
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        if process.stdin is not None:
            # A process that has died already is reported by `wait`.
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(text.encode())
        return child

    def wait(self) -> list[Child]:
        """Sleep for one polling interval; return the processes that have ended, in the order of their starts."""
        time.sleep(_INTERVAL)
        return self._ended()

    def stop(self) -> list[Child]:
        """Terminate the running processes, kill those that survive the grace period, and return all of them."""
        for child in self.running:
            child.process.terminate()
        stopped: list[Child] = []
        limit = time.monotonic() + self._grace
        while self.running and time.monotonic() < limit:
            stopped += self.wait()
        for child in self.running:
            child.process.kill()
            child.process.wait()
        return stopped + self._ended()

    def _ended(self) -> list[Child]:
        ended = []
        for child in list(self.running):
            # The order matters: all that an ended process wrote is in the pipe.
            has_ended = child.process.poll() is not None
            child.listen()
            if has_ended:
                child.seconds = time.monotonic() - child.started
                child.close()
                self.running.remove(child)
                ended.append(child)
        return ended

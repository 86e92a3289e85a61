"""Processes that this package starts: where they find it, how many cores they take, and that none is left behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment_of(threads: int) -> dict[str, str]:
    """This process's environment, in which the same package is found and libraries use as many threads as torch.

    Args:
        threads: of each run.
    """
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}


def start(
    command: Sequence[str], environment: dict[str, str] | None, stderr: IO[Any] | int, **streams: Any
) -> subprocess.Popen:
    """Start a process that the terminal's Ctrl-C does not reach, and that ends when this one is killed.

    Args:
        command: the program and its words.
        environment: of the process; None is this one's.
        stderr: where its errors go.
        streams: `stdin` and `stdout` as `subprocess.Popen` takes them, and `text`.

    Raises:
        OSError: it cannot be started.
    """
    return subprocess.Popen(
        command, stderr=stderr, env=environment, start_new_session=True,
        preexec_fn=end_with_parent if sys.platform == "linux" else None, **streams,
    )  # fmt: skip


def end(running: Sequence[subprocess.Popen], seconds: float) -> None:
    """Ask processes to end, and kill those that have not after so many seconds."""
    for process in running:
        process.terminate()
    limit = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_line(output: Path) -> str:
    """The last line that a process has written; empty where it has written none."""
    lines = [line for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def end_with_parent() -> None:
    """Ask the system to end this process when the one that started it is killed, so that none goes on unseen.

    Linux can do that; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

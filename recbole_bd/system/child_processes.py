"""Child processes: their environment, their number of threads, and their end together with this process."""

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
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment_of(threads: int) -> dict[str, str]:
    """Environment for a child: the same package on its path, and a number of threads for numerical libraries.

    Args:
        threads: value of OMP_NUM_THREADS.
    """
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}


def start(
    command: Sequence[str], environment: dict[str, str] | None, stderr: IO[Any] | int, **streams: Any
) -> subprocess.Popen:
    """Start a process that does not receive the terminal's Ctrl-C and that ends when this process is killed.

    Args:
        command: the program and its arguments.
        environment: environment variables; None inherits those of this process.
        stderr: stream or file for its errors.
        streams: `stdin`, `stdout` and `text`, as `subprocess.Popen` takes them.

    Raises:
        OSError: the process cannot be started.
    """
    return subprocess.Popen(
        command, stderr=stderr, env=environment, start_new_session=True,
        preexec_fn=end_with_parent if sys.platform == "linux" else None, **streams,
    )  # fmt: skip


def end(running: Sequence[subprocess.Popen], seconds: float) -> None:
    """Terminate processes, and kill those that still run after so many seconds."""
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
    """Last non-blank line of a file that a process writes to; empty if there is none."""
    lines = [line for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def end_with_parent() -> None:
    """Let the system send SIGTERM to this process when its parent dies. Works on Linux; elsewhere does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

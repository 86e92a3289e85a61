"""Children that begin as a copy of this process: a Python program without the seconds of importing torch and RecBole.

A child has its own process id, environment, folder, streams and signal handlers, and runs the program as `__main__`.
"""

import importlib
import inspect
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

# Programs of these modules and files are run in a copy; each imports what this process has imported anyway.
MODULES = ("recbole_bd", "recbole_bd.tuning.worker", "torch.distributed.run")
FILES = ("run_bd.py", "together.py")
# A process whose coverage is measured starts anew.
MEASURED = "COVERAGE_PROCESS_CONFIG"


def can_fork(words: Sequence[str], environment: dict[str, str] | None) -> bool:
    """Whether a command is one of the programs above."""
    program = [word for word in words[1:] if word != "-u"]
    if sys.platform != "linux" or words[0] != sys.executable or MEASURED in (environment or {}):
        return False
    return (program[0] == "-m" and program[1] in MODULES) or os.path.basename(program[0]) in FILES


class Forked(subprocess.Popen):
    """`subprocess.Popen` that forks where it can, and starts other commands as ever."""

    def _execute_child(self, *given: Any) -> None:
        how = inspect.signature(super()._execute_child).bind(*given).arguments
        if not can_fork(how["args"], how["env"]):
            super()._execute_child(*given)
            return
        pipes = [how[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        self.pid = os.fork()
        if not self.pid:
            _become(how)
        self._child_created = True
        self._close_pipe_fds(*pipes)


def _become(how: dict[str, Any]) -> None:
    """Turn a new copy of this process into that of a program; never returns."""
    code = 1
    try:
        for number, name in enumerate(("p2cread", "c2pwrite", "errwrite")):
            if how[name] != -1:
                os.dup2(how[name], number)
        _leave_files_of_the_parent()
        if how["start_new_session"]:
            os.setsid()
        if how["preexec_fn"] is not None:
            how["preexec_fn"]()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if how["cwd"] is not None:
            os.chdir(how["cwd"])
        if how["env"] is not None:
            os.environ.clear()
            os.environ.update(how["env"])
        code = _exit_code([word for word in how["args"][1:] if word != "-u"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _leave_files_of_the_parent() -> None:
    """Let nothing that the parent has open be written here: its numbers stay taken, by the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != null:
            try:
                os.dup2(null, int(name))
            except OSError:  # that of the listing itself
                continue
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, closefd=False, errors="backslashreplace")


def _exit_code(words: list[str]) -> int:
    """Run a program as the interpreter does."""
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def forked_children() -> Iterator[None]:
    """Within, children are forked: those that tests start, and those that the package or torch starts."""
    importlib.import_module("recbole_bd.runs.pipeline")  # else each child imports it
    with patch.object(subprocess, "Popen", Forked):
        yield

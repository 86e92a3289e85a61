"""File locks that the operating system releases when a process ends, however it ends."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from recbole_bd.errors import CheckpointError, InUseError, reason_of

logger = logging.getLogger(__name__)


@contextmanager
def exclusively(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that only one process can hold; wait for it if another process has it.

    Args:
        path: the lock file, created if it is missing and kept afterwards.
        what: named in the log line written before the wait.

    Raises:
        CheckpointError: the file cannot be written.
    """
    lock = _lock_file(path)
    if not _is_acquired(lock):
        logger.info("waiting for another process: %s", what)
        lock.acquire()
    with _releasing(lock):
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder by its file `.lock`, which holds the id of this process.

    A killed process loses the lock, so the id that it leaves in the file locks nothing.

    Raises:
        InUseError: another process works in the folder.
        CheckpointError: the folder cannot be written.
    """
    path = folder / ".lock"
    lock = _lock_file(path)
    before = _owner(path)  # some versions of filelock empty the file when they acquire it
    if not _is_acquired(lock):
        owner = _owner(path)
        user = f"process {owner}" if owner else "another process"
        raise InUseError(f"{folder} is in use by {user}: wait until it ends, or stop it")
    with _releasing(lock):
        if before:
            logger.info("took over the lock of process %s, which has ended", before)
        _write_owner(path, str(os.getpid()))
        try:
            yield
        finally:
            _write_owner(path, "")


def _lock_file(path: Path) -> BaseFileLock:
    # On file systems without flock, filelock would use the mere existence of a file, which survives a killed process.
    # A preserved file rules that out and raises an error instead.
    return FileLock(path, preserve_lock_file=True)


def _is_acquired(lock: BaseFileLock) -> bool:
    """Try to acquire a lock without waiting.

    Raises:
        CheckpointError: the lock file cannot be written.
    """
    path = Path(lock.lock_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {reason_of(error)}") from error
    return True


@contextmanager
def _releasing(lock: BaseFileLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    """Process id in a lock file; empty if there is none, or if it cannot be read (Windows locks the content too)."""
    try:
        with path.open("rb") as stream:
            text = stream.read(20).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return text if text.isdecimal() else ""


def _write_owner(path: Path, text: str) -> None:
    """Write the process id into a held lock file. If that fails, as on a full disk, the lock holds without an id."""
    try:
        with path.open("r+b") as stream:
            stream.truncate(0)
            stream.write(text.encode())
    except OSError as error:
        if os.name != "nt":  # Windows locks the content too
            logger.warning("the lock file cannot be written: %s", error)

"""Locks that a process cannot leave behind."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recbole_bd.errors import CheckpointError, InUseError

logger = logging.getLogger(__name__)


@contextmanager
def exclusively(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that one process has at a time; the system takes it back from a process that ends, however it ends.

    Args:
        path: the lock's file, made if need be and left where it is.
        what: named in the log line where another process must be waited for.

    Raises:
        CheckpointError: the file cannot be written.
    """
    with _opened(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waits for another process: %s", what)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, by its file `.lock` with this process's id.

    The system takes the lock from a process that ends, however it ends: an id that is left there alone locks nothing.

    Raises:
        InUseError: another process works there.
        CheckpointError: the folder cannot be written.
    """
    with _opened(folder / ".lock") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(
                f"{folder} is in use by process {_owner(stream) or 'of unknown id'}: wait until it ends, or stop it"
            ) from error
        if before := _owner(stream):
            logger.info("the lock of process %s, which is gone, is taken over", before)
        _sign(stream, str(os.getpid()))
        try:
            yield
        finally:
            _sign(stream, "")


def _opened(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def _owner(stream: BinaryIO) -> str:
    stream.seek(0)
    text = stream.read(20).decode("ascii", "replace").strip()
    return text if text.isdecimal() else ""


def _sign(stream: BinaryIO, text: str) -> None:
    """Say who holds the lock. It holds without: on a full disk the name is missing, not the lock."""
    try:
        stream.truncate(0)
        stream.write(text.encode())
        stream.flush()
    except OSError as error:
        logger.warning("the lock's file cannot be written: %s", error)

"""Files that are written whole or not at all, and locks that a process cannot leave behind."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recbole_bd.errors import CheckpointError

logger = logging.getLogger(__name__)


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that readers see the old one or the new one, never a part.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {error}") from error


@contextmanager
def exclusively(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that one process has at a time; the system takes it back from a process that ends, however it ends.

    Args:
        path: the lock's file, made if need be and left where it is.
        what: named in the log line where another process must be waited for.

    Raises:
        CheckpointError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waits for another process: %s", what)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield

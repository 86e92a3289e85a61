"""Files that are written whole or not at all, and locks that a process cannot leave behind."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from recbole_bd.errors import CheckpointError, InUseError

logger = logging.getLogger(__name__)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that readers see the old one or the new one, never a part, and so that it outlasts a power cut.

    A temporary file in the same folder is written, flushed and synchronised, then renamed, and the folder synchronised.

    Args:
        path: the file; its folder is made if need be.
        write: writes the content; the stream can be read too.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            write(cast(BinaryIO, stream))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
        synchronise_folder(path.parent)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be written: {_reason(error)}") from error
    finally:
        if temporary is not None:  # whatever went wrong, a signal's exception included
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a text, in UTF-8, or bytes as `write_atomically` writes.

    Raises:
        CheckpointError: see `write_atomically`.
    """
    whole = content.encode() if isinstance(content, str) else content
    write_atomically(path, lambda stream: stream.write(whole))


def remove_torn_files(folder: Path) -> None:
    """Remove what `write_atomically` of a killed process left in a folder that this process has claimed."""
    for path in folder.glob(".*.*"):
        path.unlink()


def _reason(error: BaseException) -> BaseException:
    """The system's error behind one: torch ends a file that could not be written with an error of its own."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, OSError):
        behind = behind.__cause__ or behind.__context__
    return behind or error


def synchronise_folder(folder: Path) -> None:
    """Let the names in a folder outlast a power cut. Systems that cannot do this for folders are left alone."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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

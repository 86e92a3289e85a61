"""Atomic file writes: a reader sees the old file or the new one, never a part."""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from recbole_bd.errors import CheckpointError

logger = logging.getLogger(__name__)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically and durably: readers see the old file or the new one, also after a power cut.

    A temporary file in the same folder is written, flushed, synchronised with the disk and renamed. Then the folder is
    synchronised.

    Args:
        path: the file; a missing folder is created.
        write: writes the content to a binary stream, which can be read too.

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
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(f"{path} cannot be written: {error.filename} is a file, not a folder") from error
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be written: {_reason(error)}") from error
    finally:
        if temporary is not None:  # after any error, and after the exception of a signal
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or text in UTF-8, atomically.

    Raises:
        CheckpointError: see `write_atomically`.
    """
    whole = content.encode() if isinstance(content, str) else content
    write_atomically(path, lambda stream: stream.write(whole))


def remove_torn_files(folder: Path) -> None:
    """Remove temporary files that a killed process left behind. This process must have claimed the folder."""
    for path in folder.glob(".*.*"):
        path.unlink()


def _reason(error: BaseException) -> BaseException:
    """Find the operating system's error in a chain; torch raises its own error when it cannot finish a file."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, OSError):
        behind = behind.__cause__ or behind.__context__
    return behind or error


def synchronise_folder(folder: Path) -> None:
    """Synchronise a folder with the disk, so that its file names survive a power cut. Does nothing on Windows."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

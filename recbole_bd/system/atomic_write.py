"""Files that are written whole or not at all, and locks that a process cannot leave behind."""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from recbole_bd.errors import CheckpointError

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

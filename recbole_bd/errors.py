"""Errors that a user can act on: one line that says what is wrong, where, and how to fix it.

The command line prints the message alone and exits with the error's `exit_code`; from Python they are ordinary
exceptions. Any other exception is a defect of this package.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class BDError(Exception):
    """Base of all errors whose message is meant for the user.

    The message is one line: line breaks, which a name or value in it may hold, become spaces.

    Attributes:
        exit_code: exit code of the command line: 2; 1 for `TrainingError` and `PeerError`; 128 plus the signal's
            number for `Interrupted`.
    """

    exit_code = 2

    def __init__(self, message: str = ""):
        super().__init__(" ".join(str(message).splitlines()))


class ConfigError(BDError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another."""


class DataError(BDError):
    """The data set cannot be found, read, or used for distillation."""


class RoleError(BDError):
    """A model cannot play the role (teacher or student) it was given."""


class CheckpointError(BDError):
    """A checkpoint is truncated, unsafe, of an unknown format, or made for other data or sizes."""


class TrainingError(BDError):
    """Training produced a loss, a parameter or a score that is not finite."""

    exit_code = 1


class InstallationError(BDError):
    """The installation lacks something that this package needs."""


class ComparisonError(BDError):
    """Runs cannot be compared: a record is missing or damaged, or the runs have different users or splits."""


class RunFolderError(BDError):
    """A folder holds no finished run, or lacks a record that is needed."""


class InUseError(RunFolderError):
    """Another process is using a run folder."""


class PeerError(BDError):
    """Another process of a distributed run has ended."""

    exit_code = 1


class ExportError(BDError):
    """A model cannot be exported in the requested format."""


class LeaderboardError(BDError):
    """Runs do not belong in one table, or an entry of a leaderboard cannot be run."""


class Interrupted(BDError):
    """The user stopped a run that can be resumed.

    Args:
        number: number of the signal that stopped it; the exit code is 128 plus this number, as in shells.
        message: what was kept, and how to resume.

    Attributes:
        signal: the number of the signal.
    """

    def __init__(self, number: int, message: str = "stopped"):
        super().__init__(message)
        self.signal = number
        self.exit_code = 128 + number


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Suggest the known name that is most like a misspelt one, whatever its case.

    Args:
        name: the misspelt name.
        known: the names that there are.
        cutoff: similarity that a suggestion needs, in [0, 1].

    Returns:
        ` Did you mean NAME?`, or an empty text.
    """
    spelled = {one.lower(): one for one in known}
    nearest = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=cutoff)
    return f" Did you mean {spelled[nearest[0]]}?" if nearest else ""


def reason_of(error: Exception) -> str:
    """Say in one line why a file cannot be read or written, without the number and the path of an OSError.

    Args:
        error: what reading or writing raised.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def named_damage(named: str, kind: type[BDError]) -> Iterator[None]:
    """Turn any exception raised while a file is read into one line that names the file.

    Args:
        named: the file, named at the beginning of the line.
        kind: class of the error to raise.

    Raises:
        BDError: an error of that class; `Interrupted` is raised unchanged.
    """
    try:
        yield
    except Interrupted:
        raise
    except BDError as error:
        raise kind(f"{named}: {error}") from error
    # Catches all exceptions on purpose. Depending on the damage, pickle, zipfile, json, numpy and torch raise
    # struct.error, IndexError, MemoryError, RecursionError, zlib.error and more.
    except Exception as error:
        text = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
        raise kind(f"{named} is damaged: {text}") from error


@contextmanager
def objects_refused(named: str, kind: type[BDError]) -> Iterator[None]:
    """Refuse arrays of Python objects, which only pickle can read, in one line that names the file.

    Args:
        named: the file that holds the array, named at the beginning of the line.
        kind: class of the error to raise.

    Raises:
        BDError: an error of that class; any other ValueError is raised unchanged.
    """
    try:
        yield
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise kind(f"{named} contains Python objects, which could run code, and is refused") from error

"""Errors a user can act on: one line that says what is wrong, where, and the way out.

The command line prints the message alone and exits with the error's `exit_code`; from Python they are ordinary
exceptions. Anything else that escapes is a defect of this package.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class BDError(Exception):
    """Base of every error whose message is meant for the user: one line, whatever a name or a value in it holds.

    Attributes:
        exit_code: of the command line: 2, but 1 for a `TrainingError` and 128 above the signal for `Interrupted`.
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
    """A checkpoint is truncated, foreign, unsafe, or belongs to other data or sizes."""


class TrainingError(BDError):
    """Training produced a loss, a parameter or a score that is not finite."""

    exit_code = 1


class InstallationError(BDError):
    """The installation lacks something this package cannot work without."""


class ComparisonError(BDError):
    """Runs cannot be compared: a record is missing or damaged, or they are of other users or another split."""


class RunFolderError(BDError):
    """A folder holds no finished run, or lacks a record that is asked of it."""


class InUseError(RunFolderError):
    """Another process works in a run folder."""


class PeerError(BDError):
    """Another process of a run that several train has ended."""

    exit_code = 1


class ExportError(BDError):
    """A model cannot be delivered in the form that was asked for."""


class LeaderboardError(BDError):
    """Runs that do not make one table, or entries that cannot be run."""


class Interrupted(BDError):
    """The user stopped what can be continued.

    Args:
        number: the signal that asked for it; the exit code is 128 above it, as shells have it.
        message: what was kept, and how to go on.

    Attributes:
        signal: the number of the signal.
    """

    def __init__(self, number: int, message: str = "stopped"):
        super().__init__(message)
        self.signal = number
        self.exit_code = 128 + number


@contextmanager
def named_damage(named: str, kind: type[BDError]) -> Iterator[None]:
    """Whatever reading a file raises, as one line that names the file.

    Args:
        named: the file, as the line begins.
        kind: of the error that is raised.

    Raises:
        BDError: of that kind; `Interrupted` passes as it is.
    """
    try:
        yield
    except Interrupted:
        raise
    except BDError as error:
        raise kind(f"{named}: {error}") from error
    # The one place where anything may come: pickle, zipfile, json, numpy and torch raise struct.error, IndexError,
    # MemoryError, RecursionError, zlib.error and more, depending on where the damage is.
    except Exception as error:
        text = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
        raise kind(f"{named} is damaged: {text}") from error


@contextmanager
def objects_refused(named: str, kind: type[BDError]) -> Iterator[None]:
    """NumPy's error for an array of Python objects, which only pickle reads, as a refusal that names what holds it.

    Args:
        named: what holds the array, as the line begins.
        kind: of the error that is raised.

    Raises:
        BDError: of that kind; any other ValueError passes as it is.
    """
    try:
        yield
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise kind(f"{named} holds Python objects, which could run code, and is refused") from error

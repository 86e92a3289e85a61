"""Errors a user can act on: one line that says what is wrong, where, and the way out.

The command line prints the message alone and exits with code 2; from Python they are ordinary
exceptions. Anything else that escapes is a defect of this package.
"""


class BDError(Exception):
    """Base of every error whose message is meant for the user: one line, whatever a name or a value in it holds."""

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
    """Training produced a loss that is not finite."""

    exit_code = 1


class InstallationError(BDError):
    """The installation lacks something this package cannot work without."""


class ComparisonError(BDError):
    """Runs cannot be compared: a record is missing or damaged, or they are of other users or another split."""


class RunFolderError(BDError):
    """A folder holds no finished run, or lacks a record that is asked of it."""


class LeaderboardError(BDError):
    """Runs that do not make one table, or entries that cannot be run."""


class Interrupted(BDError):
    """The user stopped what can be continued."""

    exit_code = 130

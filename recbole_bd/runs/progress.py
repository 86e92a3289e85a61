"""How far a run has come: `last.ckpt`, from which another process goes on as if it had never been stopped."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_bd.backbones.snapshot import Snapshot
from recbole_bd.config.layers import dotted
from recbole_bd.config.option import WITHOUT_EFFECT
from recbole_bd.errors import CheckpointError, ConfigError, RunFolderError, named_damage
from recbole_bd.runs.hashes import changed_hashes
from recbole_bd.runs.records import read_result
from recbole_bd.system.sealed_archive import load_archive, save_archive

logger = logging.getLogger(__name__)

PROGRESS_FILE = "last.ckpt"
PROGRESS_FORMAT, PROGRESS_VERSION = "recbole-bd progress", 1
# Settings that may be others when a run goes on: how long it trains, and when it stops.
MAY_CHANGE = ("epochs", "distill_epochs", "stopping_step", "stop_on", "eval_step")


@dataclass
class Progress:
    """Everything that a run has found out and decided so far.

    Attributes:
        record: what `result.json` said of it when it began; hashes, command.
        settings: the resolved settings, as plain data.
        device: the type of its device.
        fingerprint: of the data and its split.
        arms: the best state of each role by arm, of what is over: `separate`, `distilled`, `continued`.
        journal: state of the journal.
        stage: the stage that goes on, None between two.
        place: where in this stage, as `pausing.Resumable` tells it.
        changes: settings that were others at first: `setting`, `before`, `now`, `after` (what was over then).
        seconds: how long it has taken so far, earlier processes included.
    """

    record: dict[str, Any]
    settings: dict[str, Any]
    device: str
    fingerprint: str
    arms: dict[str, dict[str, Snapshot]] = field(default_factory=dict)
    journal: dict[str, Any] = field(default_factory=dict)
    stage: str | None = None
    place: dict[str, Any] | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, folder: Path) -> None:
        """Write it into the run folder; until that is complete, the one before stays.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        content = {**vars(self), "format": PROGRESS_FORMAT, "version": PROGRESS_VERSION}
        content["arms"] = {
            arm: {role: vars(snapshot) for role, snapshot in roles.items()} for arm, roles in self.arms.items()
        }
        save_archive(folder / PROGRESS_FILE, content)

    @classmethod
    def load(cls, folder: Path) -> "Progress":
        """Read a run folder's.

        Raises:
            RunFolderError: there is none.
            CheckpointError: it is damaged, or no file of this kind and version.
        """
        path = folder / PROGRESS_FILE
        if not has_progress(folder):
            raise no_progress(folder)
        content = load_archive(path, "checkpoint")
        kind, version = content.pop("format", None), content.pop("version", None)
        if kind != PROGRESS_FORMAT:
            raise CheckpointError(f"{path} is no progress of a run; {PROGRESS_FILE} of a run folder is needed")
        if version != PROGRESS_VERSION:
            raise CheckpointError(f"{path} is of version {version}, this recbole-bd reads version {PROGRESS_VERSION}")
        with named_damage(str(path), CheckpointError):
            content["arms"] = {
                arm: {role: Snapshot(**snapshot) for role, snapshot in roles.items()}
                for arm, roles in content["arms"].items()
            }
            return cls(**content)

    def change_settings(self, settings: dict[str, Any], changes: Sequence[dict[str, Any]]) -> None:
        """Take over settings that differ from the earlier ones, and give the run hashes of its own.

        Args:
            settings: the resolved settings, as plain data.
            changes: see `check_settings`.
        """
        self.changes += changes
        self.record = {**self.record, "hashes": changed_hashes(self.record["hashes"], changes)}
        self.record["config_hash"] = self.record["hashes"]["config"]
        self.settings = settings

    def check_models(self, given: Mapping[str, Any], folder: Path) -> None:
        """Refuse other models or other data before settings are read, whose meaning depends on these.

        Args:
            given: settings as the user wrote them.
            folder: named in errors.

        Raises:
            ConfigError: naming what must stay as it is.
        """
        for key in ("model", "dataset", "teacher_model", "student_model"):
            if given.get(key) is not None and given[key] != self.settings.get(key):
                raise _refusal(folder, key, self.settings.get(key), given[key])

    def check_settings(self, settings: dict[str, Any], device: str, folder: Path) -> list[dict[str, Any]]:
        """Compare the settings with which a run is to go on with those it has had.

        Args:
            settings: the resolved settings, as plain data.
            device: type of the device.
            folder: named in errors.

        Returns:
            What has changed and may: `setting`, `before`, `now`, `after`.

        Raises:
            ConfigError: naming what must stay as it is.
        """
        before, now = dict(dotted(self.settings)), dict(dotted(settings))
        changes: list[dict[str, Any]] = [
            {"setting": key, "before": before.get(key), "now": now.get(key), "after": self.reached()}
            for key in dict.fromkeys([*before, *now])
            if before.get(key) != now.get(key)
        ]
        for change in changes:
            name = change["setting"].rpartition(".")[2]
            if name not in MAY_CHANGE and name not in WITHOUT_EFFECT:
                raise _refusal(folder, change["setting"], change["before"], change["now"])
        if device != self.device:
            raise ConfigError(
                f"{folder} cannot go on with device={device}: it began on {self.device}, whose numbers differ"
            )
        return [change for change in changes if change["setting"].rpartition(".")[2] in MAY_CHANGE]

    def resume_point(self, stage: str) -> dict[str, Any] | None:
        """Where to resume within a stage; None where the run did not stop in it."""
        return self.place if self.stage == stage else None

    def reached(self) -> str:
        """Where the run is, in words."""
        if self.place is not None:
            step = self.place["step"]
            return f"{self.stage}, epoch {self.place['epoch']}" + (f", batch {step}" if step is not None else "")
        done = [f"{arm} {role}" for arm, roles in self.arms.items() for role in roles]
        return done[-1] if done else "the start"


def has_progress(folder: Path) -> bool:
    """Whether a folder holds a run that can go on."""
    return (folder / PROGRESS_FILE).is_file()


def no_progress(folder: Path) -> RunFolderError:
    """The error for a folder without such a run."""
    return RunFolderError(f"{folder} holds nothing to go on from: no {PROGRESS_FILE} in it")


def _refusal(folder: Path, setting: str, before: Any, now: Any) -> ConfigError:
    return ConfigError(
        f"{folder} cannot go on with {setting}={now!r}: it began with {before!r}. Only {', '.join(MAY_CHANGE)} and "
        "what cannot change a number may differ; begin a new run for anything else"
    )


def runs_of(config_hash: str, checkpoint_dir: Path) -> Iterator[tuple[Path, str]]:
    """The folders of the runs of some settings, the newest first, with their status.

    Args:
        config_hash: see `identity.run_hashes`.
        checkpoint_dir: where run folders are; one that is damaged is logged and passed over.
    """
    files = {path: path.stat().st_mtime_ns for path in checkpoint_dir.glob("*/result.json")}
    for path in sorted(files, key=files.__getitem__, reverse=True):
        try:
            result = read_result(path.parent)
        except RunFolderError as error:
            logger.warning("passed over: %s", error)
            continue
        if result["config_hash"] == config_hash:
            yield path.parent, result["status"]

"""Progress of a run in `last.ckpt`, from which another process resumes it with the same results."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_bd.backbones.names import ARMS, BASELINE, SEPARATE
from recbole_bd.backbones.snapshot import Snapshot
from recbole_bd.config.former_settings import with_todays
from recbole_bd.config.layers import dotted
from recbole_bd.config.option import WITHOUT_EFFECT
from recbole_bd.config.recorded_paths import absolute
from recbole_bd.errors import CheckpointError, ConfigError, RunFolderError, named_damage
from recbole_bd.runs.hashes import FILES_OF_ROLES, changed_hashes, file_hash, file_hashes, settings_of_before
from recbole_bd.runs.records import read_result, runs_inside
from recbole_bd.system.sealed_archive import load_archive, save_archive

logger = logging.getLogger(__name__)

PROGRESS_FILE = "last.ckpt"
PROGRESS_FORMAT, PROGRESS_VERSION = "recbole-bd progress", 1
# Settings that may change on resume: how long a run trains, and when it stops.
MAY_CHANGE = (
    "epochs", "distill_epochs", "stopping_epochs", "stopping_step", "early_stopping", "stop_on", "eval_step",
)  # fmt: skip


@dataclass
class Progress:
    """Everything needed to resume a run.

    Attributes:
        record: content of `result.json` at the start; hashes, command.
        settings: the resolved settings, as plain data.
        device: the type of its device.
        fingerprint: fingerprint of the data and its split.
        arms: best states by arm (`separate`, `distilled`, `continued`, `placebo`) and role, of finished stages.
        journal: state of the journal.
        stage: the unfinished stage, e.g. `separate teacher` or `distilled`; None between two stages.
        place: resume point within this stage, as `resumable.Resumable` gives it.
        changes: settings changed on resume: `setting`, `before`, `now`, `after` (where the run was).
        seconds: duration so far, earlier processes included.
        files: hashes of the files that roles start from, by setting: see `file_hashes`.
        columns: hashes of the columns beside user and item that the run reads, see `other_columns.columns_of_run`.
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
    files: dict[str, str] = field(default_factory=dict)  # empty where an earlier version began the run
    columns: dict[str, str] = field(default_factory=dict)  # likewise

    @classmethod
    def begun(cls, record: dict[str, Any], settings: dict[str, Any], device: str, fingerprint: str) -> "Progress":
        """Return the progress of a run that begins, with the hashes of its files."""
        return cls(record, settings, device, fingerprint, files=file_hashes(settings))

    def save(self, folder: Path) -> None:
        """Write `last.ckpt` into the run folder; the earlier file stays until the new one is complete.

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
        """Read `last.ckpt` of a run folder.

        Raises:
            RunFolderError: there is no such file.
            CheckpointError: it is damaged, or has another kind or version.
        """
        path = folder / PROGRESS_FILE
        if not has_progress(folder):
            raise no_progress(folder)
        content = load_archive(path, "checkpoint")
        kind, version = content.pop("format", None), content.pop("version", None)
        if kind != PROGRESS_FORMAT:
            raise CheckpointError(f"{path} is not the progress of a run: expected {PROGRESS_FILE} of a run folder")
        if version != PROGRESS_VERSION:
            raise CheckpointError(
                f"{path} has format version {version}, but this recbole-bd reads version {PROGRESS_VERSION}"
            )
        with named_damage(str(path), CheckpointError):
            content["settings"] = with_todays(content["settings"], str(path))
            content["arms"] = {
                arm: {role: Snapshot(**snapshot) for role, snapshot in roles.items()}
                for arm, roles in content["arms"].items()
            }
            return cls(**content)

    def change_settings(self, settings: dict[str, Any], changes: Sequence[dict[str, Any]]) -> None:
        """Record settings that changed on resume, and give the run hashes that no unchanged run has.

        Args:
            settings: the resolved settings, as plain data.
            changes: see `check_settings`.
        """
        self.changes += changes
        self.record = {**self.record, "hashes": changed_hashes(self.record["hashes"], changes)}
        self.record["config_hash"] = self.record["hashes"]["config"]
        self.settings = settings

    def check_models(self, given: Mapping[str, Any], folder: Path) -> None:
        """Refuse other models or data before the other settings are read, because their meaning depends on these.

        Args:
            given: settings as the user wrote them.
            folder: run folder, named in errors.

        Raises:
            ConfigError: a setting that must not change would change; the message names it.
        """
        for key in ("model", "dataset", "teacher_model", "student_model"):
            if given.get(key) is not None and given[key] != self.settings.get(key):
                raise _refusal(folder, key, self.settings.get(key), given[key])

    def check_settings(self, settings: dict[str, Any], device: str, folder: Path) -> list[dict[str, Any]]:
        """Compare the settings of a resumed run with its earlier ones.

        Args:
            settings: the resolved settings, as plain data.
            device: type of the device.
            folder: run folder, named in errors.

        Returns:
            The permitted changes: `setting`, `before`, `now`, `after`.

        Raises:
            ConfigError: a setting that must not change would change, or a file that a role starts from has other
                content; the message names the setting.
        """
        now = dict(dotted(settings))
        known = {*now, *self.settings}
        before = dict(dotted({k: value for k, value in settings_of_before(self.settings).items() if k in known}))
        changes: list[dict[str, Any]] = [
            {"setting": key, "before": before.get(key), "now": now.get(key), "after": self.reached()}
            for key in dict.fromkeys([*before, *now])
            if before.get(key) != now.get(key)
        ]
        same_files = self._same_files(before, now, folder)
        for change in changes:
            name = change["setting"].rpartition(".")[2]
            if change["setting"] not in same_files and name not in MAY_CHANGE and name not in WITHOUT_EFFECT:
                raise _refusal(folder, change["setting"], change["before"], change["now"])
        if device != self.device:
            raise ConfigError(
                f"{folder} cannot resume with device={device}: it was started on {self.device}, which gives different "
                "numbers"
            )
        return [change for change in changes if change["setting"].rpartition(".")[2] in MAY_CHANGE]

    def check_length(self, settings: Mapping[str, Any], folder: Path) -> None:
        """Refuse another number of epochs for the arms still to come than an arm has had that has ended or begun.

        Args:
            settings: the resolved settings, as plain data.
            folder: run folder, named in errors.

        Raises:
            ConfigError: the arms of the run would differ in length.
        """
        before, now = self.settings.get("distill_epochs"), settings.get("distill_epochs")
        if before == now or not isinstance(now, int):
            return
        ended = [arm for arm in self.arms if arm in ARMS and arm != SEPARATE]
        if ended:
            raise ConfigError(
                f"{folder} cannot resume with distill_epochs={now}: the arm {ended[0]} has ended with {before}, and "
                "arms of different length cannot be compared; start a new run"
            )
        if self.stage in ARMS and self.place and now <= self.place["epoch"] and settings.get("controls"):
            raise ConfigError(
                f"{folder} cannot resume with distill_epochs={now}: the arm {self.stage} is in epoch "
                f"{self.place['epoch']}, and the other arms would be shorter; name at least {self.place['epoch'] + 1}"
            )

    def _same_files(self, before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> set[str]:
        """Find the settings whose files are as they were when the run began, at the same or another place.

        Args:
            before, now: settings by dotted key.
            folder: run folder, named in errors.

        Raises:
            ConfigError: a file has other content.
        """
        same = set()
        for setting, path in now.items():
            role, _, name = setting.rpartition(".")
            if name not in FILES_OF_ROLES or path is None or before.get(setting) is None:
                continue
            is_moved, known = absolute(path) != absolute(before[setting]), self.files.get(setting)
            if known is None and is_moved:  # an earlier version began the run
                by_role = self.record["hashes"].get(role or BASELINE)
                known = by_role if name == "checkpoint" else file_hash(before[setting])
            if known is not None and (is_moved or Path(path).is_file()) and file_hash(path) != known:
                raise _other_content(folder, setting, before[setting], path)
            same.add(setting)
        return same

    def resume_point(self, stage: str) -> dict[str, Any] | None:
        """Return where to resume within a stage; None if the run did not stop in it."""
        return self.place if self.stage == stage else None

    def reached(self) -> str:
        """Describe where the run is, in words."""
        if self.place is not None:
            step = self.place["step"]
            return f"{self.stage}, epoch {self.place['epoch']}" + (f", batch {step}" if step is not None else "")
        done = [f"{arm} {role}" for arm, roles in self.arms.items() for role in roles]
        return done[-1] if done else "the start"


def has_progress(folder: Path) -> bool:
    """Whether a folder holds a run that can be resumed."""
    return (folder / PROGRESS_FILE).is_file()


def no_progress(folder: Path) -> RunFolderError:
    """Make the error for a folder without such a run."""
    way_out = runs_inside(folder) or "; start a new run, without --resume"
    return RunFolderError(f"{folder} cannot be resumed: it has no {PROGRESS_FILE}{way_out}")


def _refusal(folder: Path, setting: str, before: Any, now: Any) -> ConfigError:
    return ConfigError(
        f"{folder} cannot resume with {setting}={now!r}: it was started with {before!r}. Only {', '.join(MAY_CHANGE)} "
        "and settings that change no result may differ; start a new run for anything else"
    )


def _other_content(folder: Path, setting: str, before: str, now: str) -> ConfigError:
    is_file = Path(now).is_file()
    problem = f"its content is not that of {before} when the run began" if is_file else "there is no such file"
    return ConfigError(
        f"{folder} cannot resume with {setting}={now!r}: {problem}; name a copy of the file that the run began with, "
        "or start a new run"
    )


def runs_of(config_hash: str, checkpoint_dir: Path) -> Iterator[tuple[Path, str]]:
    """Find the runs of some settings, the newest first.

    Args:
        config_hash: see `hashes.run_hashes`.
        checkpoint_dir: parent of the run folders; a damaged one is logged and skipped.

    Yields:
        Each run's folder and status.
    """
    files = {path: path.stat().st_mtime_ns for path in checkpoint_dir.glob("*/result.json")}
    for path in sorted(files, key=files.__getitem__, reverse=True):
        try:
            result = read_result(path.parent)
        except RunFolderError as error:
            logger.warning("run folder skipped: %s", error)
            continue
        if result["config_hash"] == config_hash:
            yield path.parent, result["status"]

"""Readers of run folders, and of one file with the records of many runs. Nothing here needs torch or RecBole."""

import base64
import hashlib
import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import ComparisonError, LeaderboardError, RunFolderError, named_damage
from recbole_bd.runs.per_user import per_user
from recbole_bd.runs.records import read_result, read_serving, read_validations, schema_error, serving_schema_error

logger = logging.getLogger(__name__)

# Largest unpacked array in bytes, so that a foreign file cannot fill the memory.
_LARGEST_ARRAY = 2**28
_CODES = "<u4"
_SEED = re.compile(r"(?:^|\s)--seed[= ]")


@dataclass(frozen=True)
class Run:
    """A run folder and the content of its `result.json`."""

    folder: Path
    result: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved settings; nothing where the run failed before it wrote them.

        Raises:
            ConfigError: the file is damaged.
        """
        path = self.folder / "config.yaml"
        return load_yaml(path) if path.is_file() else {}

    @property
    def command(self) -> str:
        """The command line that gives this run again, with its seed even where that is the default."""
        command: str = self.result["command"]
        return command if _SEED.search(command) else f"{command} --seed={self.result['seed']}"

    @property
    def validations(self) -> list[dict[str, Any]]:
        """Rows of `metrics.csv`: role, stage, epoch (from 0), then each metric.

        Raises:
            RunFolderError: the file is damaged.
        """
        return read_validations(self.folder / "metrics.csv")

    @property
    def serving(self) -> dict[str, Any] | None:
        """Record of `serve-bench`; None where it has not measured this run.

        Raises:
            RunFolderError: the file is damaged.
        """
        return read_serving(self.folder)

    def per_user(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Original ids of the test users, [n_users], and float64 [n_users] by `role/arm/metric`.

        Raises:
            ComparisonError: the run left no such values, or they cannot be read.
        """
        return per_user(self.folder)


@dataclass(frozen=True)
class RecordedRun(Run):
    """A run known by its record alone, without its folder.

    Attributes:
        record: its line of a `runs.jsonl`.
        arrays: arrays of the lines before it, by key.
    """

    record: dict[str, Any] = field(repr=False)
    arrays: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved settings."""
        return self.record["settings"]

    @property
    def validations(self) -> list[dict[str, Any]]:
        """Rows of `metrics.csv`."""
        return self.record["validations"]

    @property
    def serving(self) -> dict[str, Any] | None:
        """See `Run.serving`."""
        return self.record.get("serving")

    def per_user(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """See `Run.per_user`."""
        keys = self.record["per_user"]
        if keys is None:
            raise ComparisonError(f"the record of {self.folder} contains no per-user values")
        return self.arrays[self.record["users"]], {name: self.arrays[key] for name, key in keys.items()}


def read_run(folder: Path) -> Run | None:
    """Read a run folder; None, with a warning, if another program or version wrote it, or if it is damaged."""
    try:
        return Run(folder, read_result(folder))
    except RunFolderError as error:
        logger.warning("run folder skipped: %s", error)
        return None


def runs_below(folder: Path) -> list[Run]:
    """Every run whose folder is in `folder`, by name."""
    found = (read_run(path.parent) for path in sorted(folder.glob("*/result.json")))
    return [run for run in found if run is not None]


def one_per_configuration(runs: Iterable[Run]) -> list[Run]:
    """One run for each configuration: the first that finished, else the last that failed; others are ignored."""
    chosen: dict[str, Run] = {}
    for run in runs:
        before = chosen.get(run.result["config_hash"])
        done_before = before is not None and before.result["status"] == "finished"
        if run.result["status"] in ("finished", "failed") and not done_before:
            chosen[run.result["config_hash"]] = run
    return list(chosen.values())


# --- one file of many runs -------------------------------------------------------------------------------------------
def runs_jsonl(runs: Sequence[Run]) -> str:
    """Records of runs as JSON lines: `result.json`, settings, validations, `serving.json` and values of the users.

    Arrays that several runs share, such as those of a separate model, are written once, packed, before the first run
    that has them. Folders are recorded by name, without their path.
    """
    lines: list[str] = []
    written: set[str] = set()

    def key_of(array: np.ndarray) -> str:
        packed = _packed(array)
        if packed["array"] not in written:
            written.add(packed["array"])
            lines.append(json.dumps(packed))
        return packed["array"]

    for run in runs:
        kept: dict[str, Any] = {"users": None, "per_user": None}
        try:
            users, values = run.per_user()
            kept = {"users": key_of(users), "per_user": {name: key_of(array) for name, array in values.items()}}
        except ComparisonError:  # a baseline without top-k metrics, a run that failed: a row without tests
            pass
        result = {**run.result, "run_folder": run.folder.name}
        record = {"result": result, "settings": _without_folders(run.settings), "validations": run.validations, **kept}
        record |= {"serving": serving} if (serving := run.serving) else {}
        lines.append(json.dumps(record, ensure_ascii=False))
    return "\n".join([*lines, ""])


def _without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with absolute paths, which belong to one machine, shortened to their last names."""
    return {
        key: _without_folders(value)
        if isinstance(value, Mapping)
        else Path(value).name
        if key in ("data_path", "checkpoint") and isinstance(value, str) and Path(value).is_absolute()
        else value
        for key, value in settings.items()
    }


def read_runs(path: Path) -> list[Run]:
    """Read a file that `runs_jsonl` made.

    Raises:
        LeaderboardError: it cannot be read or is damaged; names file and line.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LeaderboardError(f"{path} cannot be read: {error.strerror}") from error
    arrays: dict[str, np.ndarray] = {}
    runs: list[Run] = []
    for number, line in enumerate(text.splitlines(), start=1):
        with named_damage(f"{path} line {number}", LeaderboardError):
            record = json.loads(line)
            if "array" in record:
                arrays[record["array"]] = _unpacked(record)
            else:
                runs.append(_recorded(record, arrays))
    return runs


def _recorded(record: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> RecordedRun:
    if problem := schema_error(record["result"]):
        raise LeaderboardError(problem)
    wanted = [] if record["per_user"] is None else [record["users"], *record["per_user"].values()]
    if missing := [key for key in wanted if key not in arrays]:
        raise LeaderboardError(f"the array {missing[0]} is missing in the lines before it")
    if len({len(arrays[key]) for key in wanted}) > 1:
        raise LeaderboardError("its arrays have different numbers of users")
    if not isinstance(record["settings"], dict) or not isinstance(record["validations"], list):
        raise LeaderboardError("settings are not a JSON object, or validations are not a list")
    if "serving" in record and (problem := serving_schema_error(record["serving"])):
        raise LeaderboardError(f"serving is damaged: {problem}")
    return RecordedRun(Path(Path(str(record["result"]["run_folder"])).name), record["result"], record, arrays)


def _packed(array: np.ndarray) -> dict[str, Any]:
    """Dictionary encoding of an array: its distinct values, and the index of the value at each position."""
    values, codes = np.unique(array, return_inverse=True)
    listed, raw = values.tolist(), codes.astype(_CODES).tobytes()
    return {
        "array": _key_of(listed, raw),
        "values": listed,
        "codes": base64.b64encode(zlib.compress(raw, 9)).decode(),
    }


def _key_of(values: list[Any], raw: bytes) -> str:
    """Checksum of an array, which is also its key."""
    return hashlib.sha256(json.dumps(values).encode() + b"\0" + raw).hexdigest()[:24]


def _unpacked(record: Mapping[str, Any]) -> np.ndarray:
    unpacking = zlib.decompressobj()
    raw = unpacking.decompress(base64.b64decode(record["codes"], validate=True), _LARGEST_ARRAY)
    if unpacking.unconsumed_tail:
        raise LeaderboardError(f"an array has more than {_LARGEST_ARRAY} bytes")
    if _key_of(record["values"], raw) != record["array"]:
        raise LeaderboardError("its checksum is wrong")
    return np.array(record["values"])[np.frombuffer(raw, _CODES)]

"""Run folders as readers see them. Nothing here needs torch or RecBole."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_bd.errors import RunFolderError
from recbole_bd.folders import read_result, read_validations
from recbole_bd.options import load_yaml


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
    def validations(self) -> list[dict[str, Any]]:
        """Rows of `metrics.csv`: role, stage, epoch (from 0), then each metric.

        Raises:
            RunFolderError: the file is damaged.
        """
        return read_validations(self.folder / "metrics.csv")


def read_run(folder: Path) -> Run | None:
    """Read a run folder; None where it is none of this package's, is of an earlier version, or is damaged."""
    try:
        return Run(folder, read_result(folder))
    except RunFolderError:
        return None


def runs_below(folder: Path) -> list[Run]:
    """Every run whose folder is in `folder`, by name."""
    found = (read_run(path.parent) for path in sorted(folder.glob("*/result.json")))
    return [run for run in found if run is not None]


def that_count(runs: Iterable[Run]) -> list[Run]:
    """One run for each configuration: the first that finished, else the last that failed; others are passed over."""
    chosen: dict[str, Run] = {}
    for run in runs:
        before = chosen.get(run.result["config_hash"])
        done_before = before is not None and before.result["status"] == "finished"
        if run.result["status"] in ("finished", "failed") and not done_before:
            chosen[run.result["config_hash"]] = run
    return list(chosen.values())

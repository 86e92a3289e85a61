"""Settings in which runs differ that are said to be seeds of one method."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_bd.config.layers import dotted
from recbole_bd.config.option import WITHOUT_EFFECT
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.runs.per_user import run_record

# Settings in which seeds of one method may differ.
_OF_A_SEED = {"seed", *WITHOUT_EFFECT}


def differing_settings(folders: Sequence[str | Path], name: str = "settings") -> list[str]:
    """Find the settings in which runs differ beside their seeds.

    Args:
        folders: run folders.
        name: hash whose equality means equal settings: `settings`, or a role's name for those of its warm-up.

    Returns:
        Their keys, dotted for those of one role; empty if the hashes are equal, or if a run lacks its settings.

    Raises:
        ComparisonError: a folder holds no run.
        ConfigError: a `config.yaml` is damaged.
    """
    hashes = {(run_record(folder).get("hashes") or {}).get(name) for folder in folders}
    files = [Path(folder) / "config.yaml" for folder in folders]
    if len(hashes) == 1 or not all(file.is_file() for file in files):
        return []
    settings: list[dict[str, Any]] = [dict(dotted(load_yaml(file))) for file in files]
    keys = sorted(set().union(*settings))
    return [key for key in keys if key.rpartition(".")[2] not in _OF_A_SEED and _differ(key, settings)]


def _differ(key: str, settings: Sequence[dict[str, Any]]) -> bool:
    return any(one.get(key) != settings[0].get(key) for one in settings)

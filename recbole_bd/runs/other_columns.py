"""Columns of the data beside user and item that a run reads: labels, ratings and features.

The fingerprint of a split covers users and items only, and the order of time through them. So a run records hashes of
the other columns that its roles or its evaluation read. Most runs read none.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.data.interaction import Interaction

from recbole_bd.backbones.registry import is_sequential, own_classes_of
from recbole_bd.backbones.role import Role
from recbole_bd.config.evaluation_settings import modes
from recbole_bd.config.role_config import RoleConfig
from recbole_bd.config.training_settings import needs_labels
from recbole_bd.data.split import Split


def other_columns(config: RoleConfig, split: Split) -> dict[str, str]:
    """Hash the columns beside user and item that a role or its evaluation reads.

    Args:
        config: settings of the role.
        split: the data.

    Returns:
        16 hex digits by column, such as `inter.label` or `item.class`; empty if nothing else is read.
    """
    tables = {
        "inter": [part.inter_feat for part in (split.train, split.valid, split.test)],
        "user": [split.dataset.user_feat],
        "item": [split.dataset.item_feat],
    }
    wanted = _columns_of_own(tables, split) if own_classes_of(config.model_class) else _columns_read(config)
    # A column that is not loaded has been refused where it is needed.
    return {
        f"{source}.{column}": _hash_of(column, tables[source], split)
        for source, column in sorted(wanted)
        if all(table is not None and column in table for table in tables[source])
    }


def differing(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Name the columns whose content differs. A column without a hash on both sides, as in old records, does not.

    Args:
        recorded, now: results of `other_columns`.
    """
    return [column for column in recorded.keys() & now.keys() if recorded[column] != now[column]]


def columns_of_run(roles: Mapping[str, Role], split: Split) -> dict[str, str]:
    """Hash the columns beside user and item that any role of a run reads, see `other_columns`.

    Args:
        roles: the models of the run by role.
        split: its data.
    """
    return {name: value for role in roles.values() for name, value in other_columns(role.config, split).items()}


def columns_entry(columns: dict[str, str]) -> dict[str, dict[str, str]]:
    """Make the entry of such hashes in a record; none where no other column is read."""
    return {"columns": columns} if columns else {}


def data_of_role(config: RoleConfig, split: Split) -> dict[str, Any]:
    """Make the entries of a model's record that name the data it was trained on.

    Args:
        config: settings of the role.
        split: the data.
    """
    return {"fingerprint": split.fingerprint, **columns_entry(other_columns(config, split))}


def fingerprint_of_role(config: RoleConfig, split: Split) -> str:
    """Fingerprint of all of the data that a role reads: that of the split, unless it reads other columns too.

    Args:
        config: settings of the role.
        split: the data.
    """
    others = other_columns(config, split)
    return f"{split.fingerprint} {json.dumps(others)}" if others else split.fingerprint


def _columns_read(config: RoleConfig) -> set[tuple[str, str]]:
    """Table and name of each column beside user and item that a model of RecBole or of this package reads."""
    found = set()
    if "labeled" in modes(config.final_config_dict) or needs_labels(config["model"], config):
        found.add(("inter", config["LABEL_FIELD"]))
    if config["inter_matrix_type"] == "rating":
        found.add(("inter", config["RATING_FIELD"]))
    if is_sequential(config["model"]) and "selected_features" in config:
        found |= {("item", column) for column in config["selected_features"]}
    return found


def _columns_of_own(tables: Mapping[str, list[Interaction | None]], split: Split) -> set[tuple[str, str]]:
    """Table and name of each loaded column: nothing tells which of them a class of the user's own reads."""
    dataset = split.dataset
    ids = {dataset.uid_field, dataset.iid_field, dataset.time_field}
    return {(source, column) for source, (first, *_) in tables.items() for column in first or () if column not in ids}


def _hash_of(column: str, tables: list[Any], split: Split) -> str:
    """Hash a column's values, and the tokens that they stand for."""
    digest = hashlib.sha256()
    tokens = split.dataset.field2id_token.get(column, ())
    digest.update("\n".join(map(str, tokens)).encode())
    for table in tables:
        values = np.ascontiguousarray(table[column].cpu().numpy())
        digest.update(f"{values.dtype}{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()[:16]

"""Values and blocks of RecBole's settings: names of their keys, types and ranges.

RecBole ignores an unknown key inside a block, and ends with a traceback for a value of a wrong type.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from recbole_bd.config.renamed_keys import todays_negatives
from recbole_bd.errors import ConfigError, did_you_mean

# Kinds of atomic files that RecBole reads by itself.
SOURCES = ("inter", "user", "item", "kg", "link", "net")
NEGATIVES = ("distribution", "sample_num", "alpha", "dynamic", "candidate_num")
DISTRIBUTIONS = ("uniform", "popularity")
MOST_NEGATIVES = 100_000
_CLIPPING = ("max_norm", "norm_type")


def unknown_key(where: str, key: Any, known: Iterable[str]) -> ConfigError:
    """The error for an unknown key inside a block, with the most similar known one.

    Args:
        where: the block, as the user wrote it.
        key: the unknown key.
        known: the block's keys.
    """
    known = list(known)
    return ConfigError(f"{where}: unknown key {key!r}.{did_you_mean(str(key), known)} Known keys: {', '.join(known)}")


def check_inside(key: str, value: Any, where: str) -> None:
    """Check what the declaration of a RecBole setting does not say: the inside of blocks and lists, and choices.

    Args:
        key: name of the setting; others than RecBole's blocks are not looked at.
        value: what the user gave; its type is the declared one.
        where: the key as the user wrote it, e.g. `student.train_neg_sample_args`.

    Raises:
        ConfigError: naming the key, the value and what is allowed.
    """
    if key in _CHECKS and value is not None:
        _CHECKS[key](value, where)


def check_clipping(given: Any, where: str) -> None:
    """Check the arguments of torch's gradient clipping.

    Args:
        given: the setting `clip_grad_norm`; None or empty means no clipping.
        where: the key, as the user wrote it.

    Raises:
        ConfigError: an argument that torch does not have, or a norm that is not above 0.
    """
    if not given:
        return
    values = [value for key, value in given.items() if key in _CLIPPING]
    are_norms = all(type(value) in (int, float) and value > 0 for value in values)
    if "max_norm" not in given or len(values) < len(given) or not are_norms:
        raise ConfigError(f"{where}={given!r}: expected {{max_norm: 5.0}}, with norm_type if needed, both above 0")


def _check_negatives(given: Mapping[str, Any], where: str) -> None:
    for key, value in given.items():
        if answer := todays_negatives(key, value):
            raise ConfigError(f"{where}: {key} {answer}")
        if key not in NEGATIVES:
            raise unknown_key(where, key, NEGATIVES)
    distribution = given.get("distribution", "uniform")
    if distribution not in (*DISTRIBUTIONS, None, "None"):
        raise ConfigError(
            f"{where}: distribution={distribution!r}: must be one of {', '.join(DISTRIBUTIONS)}, or ~ for no negatives"
        )
    for key, low in (("sample_num", 1), ("candidate_num", 0)):
        if not _is_count(number := given.get(key, 1), low) or number > MOST_NEGATIVES:
            raise ConfigError(f"{where}: {key}={number!r}: must be a whole number from {low} to {MOST_NEGATIVES:,}")
    if not _is_number(alpha := given.get("alpha", 1.0)) or not -10 <= alpha <= 10:
        raise ConfigError(f"{where}: alpha={alpha!r}: must be a number from -10 to 10")
    if not isinstance(dynamic := given.get("dynamic", False), bool):
        raise ConfigError(f"{where}: dynamic={dynamic!r}: must be True or False")
    if dynamic and distribution in DISTRIBUTIONS and given.get("candidate_num", 0) < 1:
        raise ConfigError(f"{where}: dynamic=True chooses among candidate_num items: set candidate_num, at least 1")


def _check_columns(given: Mapping[Any, Any], where: str) -> None:
    for source, columns in given.items():
        if not isinstance(source, str):
            raise ConfigError(f"{where}: {source!r}: expected a kind of file: {', '.join(SOURCES)}")
        if columns == "*" and where.split(".")[-1] == "load_col":
            continue
        if not (isinstance(columns, list | tuple) and all(isinstance(column, str) for column in columns)):
            raise ConfigError(f"{where}: {source}={columns!r}: expected a list of columns, or '*' for all")


def _check_names(given: Iterable[Any], where: str) -> None:
    for name in given:
        if not (isinstance(name, str) and name):
            raise ConfigError(f"{where}={given!r}: expected a list of names, found {name!r}")


def _check_intervals(given: Mapping[Any, Any], where: str) -> None:
    for column, kept in given.items():
        if not isinstance(column, str):
            raise ConfigError(f"{where}: {column!r}: expected the name of a column")
        if isinstance(kept, list) and not all(isinstance(one, str | int | float) for one in kept):
            raise ConfigError(f"{where}: {column}={kept!r}: expected a list of the ids to keep")


def _check_threshold(given: Mapping[Any, Any], where: str) -> None:
    if len(given) != 1 or not all(isinstance(key, str) and _is_number(value) for key, value in given.items()):
        raise ConfigError(f"{where}={given!r}: expected a column and its lowest positive value, such as {{rating: 4}}")


def _check_lengths(given: Mapping[Any, Any], where: str) -> None:
    for column, length in given.items():
        if not (isinstance(column, str) and _is_count(length, 1)):
            raise ConfigError(f"{where}: {column}={length!r}: expected {{column: length}} with a length of at least 1")


def _check_weights(given: Mapping[Any, Any], where: str) -> None:
    if not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise ConfigError(f"{where}={given!r}: expected {{column of ids: column of vectors}}")


def _check_buckets(given: Mapping[Any, Any], where: str) -> None:
    for column, how in given.items():
        known = isinstance(how, Mapping) and how.get("method") in ("ED", "LD") and not set(how) - {"method", "bucket"}
        if not known or (how["method"] == "ED" and not _is_count(how.get("bucket"), 1)):
            raise ConfigError(f"{where}: {column}={how!r}: expected {{method: ED, bucket: 10}} or {{method: LD}}")


def _one_of(*choices: str) -> Callable[[Any, str], None]:
    def check(given: Any, where: str) -> None:
        if given not in choices:
            raise ConfigError(f"{where}={given!r}: must be one of {', '.join(choices)}, or ~ for none")

    return check


def _check_not_empty(given: Any, where: str) -> None:
    if given == "":
        raise ConfigError(f"{where}='': must not be empty")


def _check_transform(given: Any, where: str) -> None:
    raise ConfigError(
        f"{where}={given!r}: changes sequences; models that need it, such as BERT4Rec, set it; leave it out"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**63


_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "train_neg_sample_args": _check_negatives,
    **dict.fromkeys(("load_col", "unload_col", "unused_col"), _check_columns),
    **dict.fromkeys(
        (
            "alias_of_user_id", "alias_of_item_id", "alias_of_entity_id", "alias_of_relation_id", "normalize_field",
            "numerical_features", "additional_feat_suffix",
        ),
        _check_names,
    ),
    "val_interval": _check_intervals,
    "threshold": _check_threshold,
    "seq_len": _check_lengths,
    "preload_weight": _check_weights,
    "discretization": _check_buckets,
    "rm_dup_inter": _one_of("first", "last"),
    "NEG_PREFIX": _check_not_empty,
    "transform": _check_transform,
}  # fmt: skip

"""The split that a foreign model file records, compared with a run's own, so that no test row is learned elsewhere.

A file of RecBole has no fingerprint of its data. It holds RecBole's whole Config, and RecBole makes its split from the
data files and these settings alone. A setting that is missing reads as null, as in RecBole.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from recbole_bd.backbones.names import BASELINE
from recbole_bd.errors import CheckpointError
from recbole_bd.system.random_state import seed_of_split

CHECKED, TRUSTED = "checked", "trusted"
# Settings that decide which rows are left and which ids they get, for every way of splitting.
_ROWS = (
    "USER_ID_FIELD", "ITEM_ID_FIELD", "alias_of_user_id", "alias_of_item_id", "additional_feat_suffix",
    "benchmark_filename", "rm_dup_inter", "val_interval", "threshold", "filter_inter_by_user_or_item",
    "user_inter_num_interval", "item_inter_num_interval",
)  # fmt: skip
# Settings that change the values or the order of a column of times.
_TIMES = ("TIME_FIELD", "normalize_field", "normalize_all", "discretization")
# Intervals that keep every user or item.
_ALL = ("[0,inf)", "[1,inf)", "(-inf,inf)")
# Differences of a validation metric that rounding and another device can make.
_ABSOLUTE, _RELATIVE = 0.01, 0.05
# Differences that an error names.
_NAMED = 3


def check_recorded_split(where: str, recorded: Mapping[str, Any] | None, own: Mapping[str, Any], role: str) -> None:
    """Refuse a model file whose training part is not known to be the run's.

    Args:
        where: kind and path of the file, for the error.
        recorded: RecBole's settings in the file; None if there are none.
        own: RecBole's settings of the run.
        role: teacher or student; `model` for a baseline.

    Raises:
        CheckpointError: the split differs or is not recorded, and `own` does not trust the file.
    """
    if own.get("checkpoint_split") == TRUSTED:
        return
    if not recorded or "eval_args" not in recorded:
        raise CheckpointError(f"{where} does not record the split it was trained on; use {_way_out(role)}")
    if found := list(differences(recorded, own)):
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise CheckpointError(
            f"{where} was trained on another split, so it may know test rows: {', '.join(found[:_NAMED])}{more}; "
            f"use the same settings{split_seed_option(recorded, own)}, or {_way_out(role)}"
        )


def recorded_validation(about: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, float]:
    """Return the validation that a file of RecBole records, as far as this run measures the same.

    Args:
        about: `recbole` of the file's metadata, see `load_model`.
        own: RecBole's settings of the run.

    Returns:
        The value by metric, e.g. `{"mrr@10": 0.05}`; empty if the file has none, if this run measures another metric
        or in another way, or if it trusts the file.
    """
    settings, score = about["settings"], about["best_valid_score"]
    if score is None or not settings or own.get("checkpoint_split") == TRUSTED:
        return {}
    modes = [_mode_of_validation(side.get("eval_args") or {}) for side in (settings, own)]
    metric = str(own["valid_metric"]).lower()
    is_same = metric == str(settings.get("valid_metric")).lower() and settings.get("repeatable") == own["repeatable"]
    return {metric: score} if is_same and modes == ["full", "full"] else {}


def _mode_of_validation(arguments: Mapping[str, Any]) -> Any:
    mode = arguments.get("mode")
    return mode.get("valid") if isinstance(mode, Mapping) else mode


def check_validation(where: str, recorded: Mapping[str, float], measured: Mapping[str, float], role: str) -> None:
    """Refuse a model that is much better or worse on this run's validation part than on its own.

    The same settings do not give the same split if the data files differ, or if the random generator was not seeded.

    Args:
        where: kind and path of the file, for the error.
        recorded: see `recorded_validation`.
        measured: metrics on this run's validation part.
        role: teacher or student; `model` for a baseline.

    Raises:
        CheckpointError: a value differs by more than 5 % and more than 0.01.
    """
    for metric, value in recorded.items():
        here = measured.get(metric, value)
        if abs(here - value) > max(_ABSOLUTE, _RELATIVE * abs(value)):
            raise CheckpointError(
                f"{where} records {metric} {value:.4f} on its validation part, but has {here:.4f} on this run's, so "
                f"its data or split is another one and it may know test rows; use {_way_out(role)}"
            )


def _way_out(role: str) -> str:
    option = "checkpoint_split" if role == BASELINE else f"{role}.checkpoint_split"
    return f"--{option}={TRUSTED} if you know that it saw no validation or test rows of this run"


def differences(recorded: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    """Name the settings by which two splits of the same files differ.

    Args:
        recorded, own: RecBole's settings of both sides.

    Yields:
        Setting and both values, in words.
    """
    first, second = _description(recorded), _description(own)
    for key in dict.fromkeys([*second, *first]):
        there, here = first.get(key), second.get(key)
        if there != here:
            yield f"{key} is {_shown(there)} there and {_shown(here)} here"


def split_seed_option(recorded: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Write the option that draws the split of a file, in brackets; empty where the splits' seeds are the same.

    Args:
        recorded, own: settings of the file and of the run, each RecBole's or this package's.
    """
    there, here = (_description(settings).get("seed") for settings in (recorded, own))
    return "" if there is None or there == here else f" (--split_seed={there})"


def _description(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that determines a split of given files, in one form for equal meanings."""
    found = {key: _one_form(settings.get(key)) for key in _ROWS}
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        found[key] = None if found[key] in _ALL else found[key]
    found["load_col"] = _tables(settings)
    uses_time = found["rm_dup_inter"] is not None and _is_loaded(settings, settings.get("TIME_FIELD"))
    if not found["benchmark_filename"]:
        found |= _way_of_splitting(settings.get("eval_args") or {}, seed_of_split(settings))
        uses_time |= found["eval_args.order"] == "TO" or "TS" in found["eval_args.split"]
    if uses_time:
        found |= {key: _one_form(settings.get(key)) or None for key in _TIMES}
    return found


def _way_of_splitting(arguments: Mapping[str, Any], seed: Any) -> dict[str, Any]:
    split = {name: _shares(value) for name, value in (arguments.get("split") or {}).items()}
    found = {"eval_args.split": split, "eval_args.order": arguments.get("order")}
    if "RS" in split:
        group_by = arguments.get("group_by")
        found["eval_args.group_by"] = None if str(group_by).lower() == "none" else group_by
    if found["eval_args.order"] != "TO":
        found["seed"] = seed
    return found


def _shares(value: Any) -> Any:
    """Shares of the parts, which RecBole divides by their sum: [8, 1, 1] is [0.8, 0.1, 0.1]."""
    if not isinstance(value, list | tuple) or not all(isinstance(share, int | float) for share in value):
        return _one_form(value)
    total = sum(value) or 1
    return [round(share / total, 9) for share in value]


def _tables(settings: Mapping[str, Any]) -> Any:
    """Kinds of files that are loaded and can add or remove users and items; None if all are."""
    loaded = settings.get("load_col")
    return None if loaded is None else sorted({"user", "item"} & {*loaded})


def _is_loaded(settings: Mapping[str, Any], column: Any) -> bool:
    """Whether a column of the interactions is loaded."""
    wanted, unwanted = ((settings.get(key) or {}).get("inter") for key in ("load_col", "unload_col"))
    if unwanted and column in unwanted:
        return False
    return settings.get("load_col") is None or wanted == "*" or column in (wanted or ())


def _one_form(value: Any) -> Any:
    """A value without differences that mean nothing: blanks in an interval, tuple or list."""
    if isinstance(value, str):
        return "".join(value.split())
    if isinstance(value, Mapping):
        return {str(key): _one_form(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_one_form(item) for item in value]
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Checks of data splits and metrics, for which RecBole itself would end with a traceback."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from recbole.evaluator import metric_types
from recbole.utils import EvaluatorType

from recbole_bd.config.own_metrics import RECBOLE_METRICS, add_own_metrics, result_name
from recbole_bd.config.recbole_blocks import unknown_key
from recbole_bd.data.intervals import check_interval
from recbole_bd.data.times import reads_times
from recbole_bd.errors import ConfigError
from recbole_bd.system.own_classes import short_name

# RecBole's splits: by ratio (RS), by leaving interactions out (LS), by ratio in order of time (TS).
SPLITS = ("RS", "LS", "TS")
LEFT_OUT = ("valid_and_test", "valid_only", "test_only")
EVAL_ARGS = ("split", "group_by", "order", "mode")
_MOST_CANDIDATES = 1_000_000
# RecBole's metrics that have no cut-off.
_WITHOUT_CUTOFF = ("auc", "gauc", "logloss", "mae", "rmse")
_ID_FIELDS = ("USER_ID_FIELD", "ITEM_ID_FIELD")
# Metrics that compare scores with labels, spelled as in RecBole's documentation.
_VALUE_METRICS = "AUC, LogLoss, MAE and RMSE"


def check_protocol(settings: Mapping[str, Any]) -> None:
    """Check metrics, cut-offs, split, columns and intervals before RecBole reads them.

    Args:
        settings: resolved settings by name.

    Raises:
        ConfigError: a setting is wrong or contradicts another; the message names it and what is expected.
    """
    metrics, topk, parts = (settings.get(key) for key in ("metrics", "topk", "benchmark_filename"))
    names = [metrics] if isinstance(metrics, str) else metrics
    if not (isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names)):
        raise ConfigError(f"metrics={metrics!r}: expected a list of names, such as [Recall, NDCG]")
    add_own_metrics(names)
    if settings.get("valid_metric") is None:
        raise ConfigError("valid_metric: expected one of the metrics at one of topk, such as NDCG@10")
    cutoffs = topk if isinstance(topk, list | tuple) else [topk]
    if not cutoffs or not all(type(cutoff) is int and cutoff > 0 for cutoff in cutoffs):
        raise ConfigError(f"topk={topk!r}: expected a list of positive whole numbers, such as [10, 20]")
    if parts is not None and not (
        isinstance(parts, list | tuple) and len(parts) == 3 and all(isinstance(part, str) for part in parts)
    ):
        raise ConfigError(f"benchmark_filename={parts!r}: expected three parts, such as [train, valid, test]")
    _check_eval_args(settings["eval_args"])
    _check_metric_kinds(names, modes(settings))
    _check_columns(settings)
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        if (interval := settings.get(key)) is not None:
            check_interval(key, interval)
    for column, interval in (settings.get("val_interval") or {}).items():
        if not isinstance(interval, list):  # an interval of numbers; a list holds ids
            check_interval(f"val_interval: {column}", interval)


def modes(settings: Mapping[str, Any]) -> tuple[str, str]:
    """The evaluation modes of validation and test: full, uniN, popN or labeled.

    Args:
        settings: resolved settings by name, as given or as RecBole completes them.
    """
    mode = settings["eval_args"].get("mode", "full")
    if isinstance(mode, str):
        return mode, mode
    either = mode.get("valid", mode.get("test", "full"))
    return mode.get("valid", either), mode.get("test", either)


def may_have(column: str | None, settings: Mapping[str, Any]) -> bool:
    """Whether interactions can have a column: it is named in load_col, or load_col does not say which there are.

    Args:
        column: name of the column.
        settings: resolved settings by name.
    """
    load_col = settings.get("load_col")
    columns = "*" if load_col is None else load_col.get("inter", ())
    return columns == "*" or column in columns


def _check_eval_args(given: Mapping[str, Any]) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"eval_args={given!r}: expected a block with {', '.join(EVAL_ARGS)}")
    for key in given:
        if key not in EVAL_ARGS:
            raise unknown_key("eval_args", key, EVAL_ARGS)
    split = given.get("split", {"RS": [8, 1, 1]})
    if not (isinstance(split, Mapping) and len(split) == 1 and next(iter(split)) in SPLITS):
        raise ConfigError(
            f"eval_args: split={split!r}: expected one of {', '.join(SPLITS)} and its value, such as "
            "{RS: [0.8, 0.1, 0.1]}"
        )
    kind, value = next(iter(split.items()))
    if kind == "LS" and value not in LEFT_OUT:
        raise ConfigError(f"eval_args: LS={value!r}: must be one of {', '.join(LEFT_OUT)}")
    if kind != "LS" and not (isinstance(value, list) and len(value) == 3 and _are_shares(value)):
        raise ConfigError(f"eval_args: {kind}={value!r}: expected three shares of the data, such as [0.8, 0.1, 0.1]")
    for key, allowed in (("order", ("RO", "TO")), ("group_by", ("user", "none", "None", None))):
        if key in given and given[key] not in allowed:
            words = ", ".join(dict.fromkeys(map(str, allowed)))
            raise ConfigError(f"eval_args: {key}={given[key]!r}: must be one of {words}")
    if kind == "TS" and given.get("order") != "TO":
        raise ConfigError(
            f"eval_args: TS={value!r}: a split by time needs order: TO; with order: {given.get('order', 'RO')} RecBole "
            "would divide the interactions at random"
        )
    _check_mode(given.get("mode", "full"))


def _check_mode(mode: Any) -> None:
    expected = "expected full, uniN, popN or labeled, or {valid: ..., test: ...}"
    by_part = mode if isinstance(mode, Mapping) else {"valid": mode}
    for part, name in by_part.items():
        if part not in ("valid", "test"):
            raise unknown_key("eval_args: mode", part, ("valid", "test"))
        if not isinstance(name, str):
            raise ConfigError(f"eval_args: mode={mode!r}: {expected}")
        if name in ("full", "labeled"):
            continue
        try:
            count = int(name[3:])
        except ValueError:
            count = 0
        if name[:3] not in ("uni", "pop") or not 0 < count <= _MOST_CANDIDATES:
            raise ConfigError(f"eval_args: mode={mode!r}: {expected}; N is the number of sampled items, such as uni100")


def _are_shares(values: list) -> bool:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < math.inf]
    return len(numbers) == len(values) and 0 < sum(numbers) < math.inf


def _is_value_metric(name: str) -> bool:
    return metric_types[name.lower()] == EvaluatorType.VALUE


def _check_metric_kinds(names: Sequence[str], parts: Sequence[str]) -> None:
    values = [name for name in names if _is_value_metric(name)]
    ranking = [name for name in names if not _is_value_metric(name)]
    if values and ranking:
        raise ConfigError(
            f"metrics: {values[0]} compares scores with labels and {ranking[0]} ranks items, and one run measures only "
            f"one kind: use {_VALUE_METRICS}, or the others"
        )
    if values and "full" in parts:
        raise ConfigError(
            f"metrics: {values[0]} cannot be measured with eval_args: mode: full; {_VALUE_METRICS} need labeled, uniN "
            "or popN"
        )
    if ranking and "labeled" in parts:
        raise ConfigError(
            f"eval_args: mode: labeled measures {_VALUE_METRICS} only; {ranking[0]} needs full, uniN or popN"
        )


def _check_columns(settings: Mapping[str, Any]) -> None:
    """Check that the columns that other settings read are loaded, as far as load_col names them."""
    ids = [settings.get(key) for key in _ID_FIELDS]
    for key in ("ITEM_ID_FIELD", "LABEL_FIELD", "TIME_FIELD"):
        if settings.get(key) and settings[key] in ids[: 1 if key == "ITEM_ID_FIELD" else 2]:
            raise ConfigError(f"{key}={settings[key]!r}: is the column of ids as well; each needs a column of its own")
    load_col, unload_col = settings.get("load_col") or {}, settings.get("unload_col") or {}
    for source in unload_col:
        if load_col.get(source) not in (None, "*", [], ()):
            raise ConfigError(f"unload_col: {source}: load_col lists the columns of this file already; set one of them")
    if settings.get("load_col") is not None and "inter" not in load_col:
        raise ConfigError("load_col: lacks inter, the file of the interactions")
    for source, columns in (settings.get("unused_col") or {}).items():
        if source not in load_col or load_col[source] in ([], ()):
            raise ConfigError(f"unused_col: {source}: load_col names no column of such a file")
        if used := set(ids) & set(columns):
            raise ConfigError(f"unused_col: {source}={columns!r}: {used.pop()} is the column of ids and is used")
    if settings.get("normalize_field") is not None and settings.get("normalize_all"):
        raise ConfigError("normalize_all=True: normalize_field names columns already; set one of them")
    arguments, parts = settings["eval_args"], settings.get("benchmark_filename")
    if reads_times(arguments) and parts is None and not may_have(settings.get("TIME_FIELD"), settings):
        raise ConfigError(
            f"eval_args: needs the time of the interactions, which is not loaded; name its column in TIME_FIELD "
            f"({settings.get('TIME_FIELD')}) and in load_col"
        )
    _check_labels(settings)


def _check_labels(settings: Mapping[str, Any]) -> None:
    threshold, label, parts = settings.get("threshold"), settings.get("LABEL_FIELD"), modes(settings)
    if threshold:
        column, low = next(iter(threshold.items()))
        if parts != ("labeled", "labeled"):
            mode = next(mode for mode in parts if mode != "labeled")
            raise ConfigError(
                f"threshold={threshold!r}: labels are not read in eval_args: mode: {mode}, so that rows below it would "
                f"count as positives. Keep only the positives by val_interval: {{{column}: '[{low},inf)'}}"
            )
        if not may_have(column, settings):
            raise ConfigError(f"threshold: column {column} is not loaded; name it in load_col")
    if not label and (threshold or parts != ("full", "full")):
        raise ConfigError(f"LABEL_FIELD={label!r}: must name the column of labels")
    if "labeled" in parts and not threshold and not may_have(label, settings):
        raise ConfigError(
            f"eval_args: mode: labeled needs labels; name their column in LABEL_FIELD ({label}) and in load_col, or "
            "make them with threshold, such as {rating: 4}"
        )


def metric_notes(settings: Mapping[str, Any], learn_from_pairs: Sequence[str]) -> list[str]:
    """Say where a metric does not mean what its name says.

    Args:
        settings: resolved settings by name.
        learn_from_pairs: names of the models whose scores only order items.
    """
    names = [name for name in settings["metrics"] if _is_value_metric(name) and name.lower() != "auc"]
    if not (names and learn_from_pairs):
        return []
    verb = "compares" if len(names) == 1 else "compare"
    return [
        f"metrics: {', '.join(names)} {verb} labels with scores, and scores of {' and '.join(learn_from_pairs)} only "
        "order items: they are no probabilities"
    ]


def _has_cutoff(metric: str, cutoff: str | None, topk: list[int]) -> bool:
    """Whether a metric is measured at a cut-off, or without one; metrics of the user's own may have either."""
    if metric in RECBOLE_METRICS and (cutoff is None) != (metric in _WITHOUT_CUTOFF):
        return False
    return cutoff is None or int(cutoff) in topk


def check_valid_metric(valid_metric: str, metrics: list[str], topk: list[int]) -> None:
    """Check that the metric which selects the best epoch is among the measured ones.

    Args:
        valid_metric: such as `NDCG@10`, or a metric without cut-off.
        metrics: names of the measured metrics, in upper or lower case.
        topk: cut-offs of the metrics.

    Raises:
        ConfigError: it is not among them.
    """
    found = re.fullmatch(r"(\w+)(?:@([1-9][0-9]{0,17}))?", valid_metric)
    if found:
        metric, cutoff = found.groups()
        if metric.lower() in map(result_name, metrics) and _has_cutoff(metric.lower(), cutoff, topk):
            return
    shown = list(map(short_name, metrics))
    raise ConfigError(f"valid_metric={valid_metric!r}: must be one of the metrics {shown} at one of topk {topk}")

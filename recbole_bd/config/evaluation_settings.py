"""Checks of data splits and metrics, for which RecBole itself would end with a traceback."""

import importlib.util
import math
import re
from collections.abc import Mapping
from typing import Any

from recbole.evaluator import metric_types

from recbole_bd.data.intervals import check_interval
from recbole_bd.errors import ConfigError

# RecBole's splits: by ratio (RS), by leaving interactions out (LS), by ratio in order of time (TS).
_SPLITS = ("RS", "LS", "TS")
_LEFT_OUT = ("valid_and_test", "valid_only", "test_only")
_CLIPPING = ("max_norm", "norm_type")
_EVAL_ARGS = ("split", "group_by", "order", "mode")


def check_protocol(settings: Mapping[str, Any]) -> None:
    """Check metrics, cut-offs, split, given parts and intervals before RecBole reads them.

    Args:
        settings: resolved settings by name.

    Raises:
        ConfigError: a setting is wrong; the message names it and what is expected.
    """
    metrics, topk, parts = (settings.get(key) for key in ("metrics", "topk", "benchmark_filename"))
    names = [metrics] if isinstance(metrics, str) else metrics
    if not (isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names)):
        raise ConfigError(f"metrics={metrics!r}: expected a list of names, such as [Recall, NDCG]")
    if unknown := [name for name in names if name.lower() not in metric_types]:
        raise ConfigError(
            f"metrics: unknown metric {unknown[0]!r}; available metrics: {', '.join(sorted(metric_types))}"
        )
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
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        if (interval := settings.get(key)) is not None:
            check_interval(key, interval)
    for column, interval in (settings.get("val_interval") or {}).items():
        if not isinstance(interval, list):  # an interval of numbers; a list holds ids
            check_interval(f"val_interval: {column}", interval)
    if settings.get("log_wandb") and importlib.util.find_spec("wandb") is None:
        raise ConfigError("log_wandb=True: wandb is not installed. Run: pip install wandb")


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


def _check_eval_args(given: Mapping[str, Any]) -> None:
    if unknown := [key for key in given if key not in _EVAL_ARGS]:
        raise ConfigError(f"eval_args: unknown key {unknown[0]!r}; known keys: {', '.join(_EVAL_ARGS)}")
    split = given.get("split", {"RS": [8, 1, 1]})
    if not (isinstance(split, Mapping) and len(split) == 1 and next(iter(split)) in _SPLITS):
        raise ConfigError(f"eval_args: split={split!r}: expected one of {', '.join(_SPLITS)} and its value")
    kind, value = next(iter(split.items()))
    if kind == "LS" and value not in _LEFT_OUT:
        raise ConfigError(f"eval_args: LS={value!r}: must be one of {', '.join(_LEFT_OUT)}")
    if kind != "LS" and not (isinstance(value, list) and len(value) == 3 and _are_shares(value)):
        raise ConfigError(f"eval_args: {kind}={value!r}: expected three shares of the data, such as [0.8, 0.1, 0.1]")
    for key, allowed in (("order", ("RO", "TO")), ("group_by", ("user", "none", "None", None))):
        if key in given and given[key] not in allowed:
            words = ", ".join(dict.fromkeys(map(str, allowed)))
            raise ConfigError(f"eval_args: {key}={given[key]!r}: must be one of {words}")
    mode = given.get("mode", "full")
    if not all(isinstance(name, str) for name in (mode.values() if isinstance(mode, Mapping) else [mode])):
        raise ConfigError(
            f"eval_args: mode={mode!r}: expected full, uniN, popN or labeled, or {{valid: ..., test: ...}}"
        )


def _are_shares(values: list) -> bool:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < math.inf]
    return len(numbers) == len(values) and 0 < sum(numbers) < math.inf


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
        if metric.lower() in [name.lower() for name in metrics] and (cutoff is None or int(cutoff) in topk):
            return
    raise ConfigError(f"valid_metric={valid_metric!r}: must be one of the metrics {metrics} at one of topk {topk}")

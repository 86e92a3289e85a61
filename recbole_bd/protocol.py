"""Checks of the settings that say how data is split and what is measured, where RecBole would give a traceback."""

import math
import re
from collections.abc import Mapping
from typing import Any

from recbole_bd.errors import ConfigError

# RecBole's splits: by shares, by leaving interactions out, by shares of time.
_SPLITS = ("RS", "LS", "TS")
_LEFT_OUT = ("valid_and_test", "valid_only", "test_only")


def check_protocol(settings: Mapping[str, Any]) -> None:
    """Check metrics, cut-offs, split and fixed parts before RecBole reads them.

    Args:
        settings: resolved, by name.

    Raises:
        ConfigError: naming the setting and what is expected.
    """
    metrics, topk, parts = (settings.get(key) for key in ("metrics", "topk", "benchmark_filename"))
    names = [metrics] if isinstance(metrics, str) else metrics
    if not (isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names)):
        raise ConfigError(f"metrics={metrics!r}: expected a list of names, such as [Recall, NDCG]")
    cutoffs = topk if isinstance(topk, list | tuple) else [topk]
    if not cutoffs or not all(type(cutoff) is int and cutoff > 0 for cutoff in cutoffs):
        raise ConfigError(f"topk={topk!r}: expected a list of positive whole numbers, such as [10, 20]")
    if parts is not None and not (
        isinstance(parts, list | tuple) and len(parts) == 3 and all(isinstance(part, str) for part in parts)
    ):
        raise ConfigError(f"benchmark_filename={parts!r}: expected three parts, such as [train, valid, test]")
    _check_eval_args(settings.get("eval_args"))


def _check_eval_args(given: Any) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"eval_args={given!r}: expected a block, such as {{split: {{RS: [0.8, 0.1, 0.1]}}}}")
    split = given.get("split", {"RS": [8, 1, 1]})
    if not (isinstance(split, Mapping) and len(split) == 1 and next(iter(split)) in _SPLITS):
        raise ConfigError(f"eval_args: split={split!r}: expected one of {', '.join(_SPLITS)} with its value")
    kind, value = next(iter(split.items()))
    if kind == "LS" and value not in _LEFT_OUT:
        raise ConfigError(f"eval_args: LS={value!r}: must be one of {', '.join(_LEFT_OUT)}")
    if kind != "LS" and not (isinstance(value, list) and len(value) == 3 and _are_shares(value)):
        raise ConfigError(f"eval_args: {kind}={value!r}: expected three shares of the data, such as [0.8, 0.1, 0.1]")
    for key, allowed in (("order", ("RO", "TO")), ("group_by", ("user", "none", "None", None))):
        if key in given and given[key] not in allowed:
            words = ", ".join(str(word) for word in allowed)
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
    """Check that what selects the best epoch is measured.

    Args:
        valid_metric: such as `NDCG@10`, or a metric without cut-off.
        metrics: names of the metrics, in any case.
        topk: their cut-offs.

    Raises:
        ConfigError: it is not.
    """
    found = re.fullmatch(r"(\w+)(?:@([1-9][0-9]{0,17}))?", valid_metric)
    if found:
        metric, cutoff = found.groups()
        if metric.lower() in [name.lower() for name in metrics] and (cutoff is None or int(cutoff) in topk):
            return
    raise ConfigError(f"valid_metric={valid_metric!r}: must be one of the metrics {metrics} at one of topk {topk}")

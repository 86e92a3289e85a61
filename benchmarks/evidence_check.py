"""Rows that more trials or epochs may change: best values beyond which none was tried, best epochs at the end."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from recbole_bd.backbones.names import PAIR
from recbole_bd.config.option import Option
from recbole_bd.leaderboard.run_reader import Run
from recbole_bd.tuning.space import CHOICE, is_range

# Least difference, as a share of the range, at which one value counts as beyond another.
FURTHER = 0.03
# Setting that bounds the epochs of a stage, by stage.
BUDGETS = {"separate": "epochs", **dict.fromkeys(("distilled", "continued", "placebo"), "distill_epochs")}


def at_edges(
    space: Mapping[str, Any], best: Mapping[str, Any], tried: Sequence[Mapping[str, Any]], options: Mapping[str, Option]
) -> Iterator[str]:
    """Say beyond which of the best values no trial went, although it could.

    Args:
        space: from `read_space`. It may have grown since the trials.
        best: the best settings.
        tried: settings of all trials.
        options: declared options by key. No value lies beyond the range of its option, nor below 0.

    Yields:
        A line for each.
    """
    for key, span in space.items():
        value = best.get(key)
        if not is_range(span) or not _is_number(value):
            continue
        (kind, numbers), *_ = span.items()
        others = [one[key] for one in tried if _is_number(one.get(key))]
        scale = math.log if kind == "loguniform" else float
        margin = 0.0 if kind == CHOICE else FURTHER * (scale(numbers[1]) - scale(numbers[0]))
        if kind == CHOICE and len({*filter(_is_number, numbers), *others}) < 3:
            continue
        option = options.get(key.rpartition(".")[2])
        _, least, greatest, _ = (option.interval if option else None) or ("", 0.0, math.inf, "")
        steps = [scale(other) - scale(value) for other in others]
        is_least = value > least and not any(step < -margin for step in steps)
        is_greatest = value < greatest and not any(step > margin for step in steps)
        if is_least or is_greatest:
            yield f"{key}={value:g} is the {'least' if is_least else 'greatest'} tried"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def at_the_end(runs: Iterable[Run]) -> Iterator[tuple[str, str]]:
    """Say which stages were best in the last epoch that they were allowed.

    Args:
        runs: finished runs.

    Yields:
        An arm's name and a line for each of its roles and stages, with the seeds.
    """
    seeds: dict[tuple[str, str, str, int, int], list[int]] = defaultdict(list)
    for run in runs:
        settings = run.settings
        for role in (*PAIR, "model"):
            stages = run.result.get(role)
            if not isinstance(stages, dict):
                continue
            for stage, key in BUDGETS.items():
                best, budget = stages.get(stage, {}).get("best_epoch"), _setting(settings, role, key)
                if best is not None and budget and best >= budget - 1:
                    seeds[run.result["label"], role, stage, best, budget].append(run.result["seed"])
    for (label, role, stage, best, budget), of in seeds.items():
        yield label, f"{role} {stage}: best epoch {best + 1} of {budget} (seeds {', '.join(map(str, sorted(of)))})"


def _setting(settings: Mapping[str, Any], role: str, key: str) -> Any:
    own = settings.get(role)
    return own[key] if isinstance(own, dict) and own.get(key) is not None else settings.get(key)

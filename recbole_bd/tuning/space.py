"""Search spaces of settings, and the draws of Optuna from them. Selection is by validation alone."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_bd.config.yaml_text import load_yaml, parse_value
from recbole_bd.errors import ConfigError, did_you_mean, reason_of

if TYPE_CHECKING:
    from optuna.trial import Trial

# Distributions by RecBole's names, and the number of parameters of each.
RANGES = {"uniform": 2, "loguniform": 2, "quniform": 3}
CHOICE = "choice"
_FORMS = {
    CHOICE: "[a, b, ...]",
    "uniform": "[low, high] with low < high",
    "loguniform": "[low, high] with 0 < low < high",
    "quniform": "[low, high, step] with low < high and 0 < step",
}


def read_space(path: Path) -> dict[str, Any]:
    """Read a search space.

    A yaml file has `key: {choice: [...]}`, `{uniform: [low, high]}`, `{loguniform: [low, high]}`,
    `{quniform: [low, high, step]}`, or `key: value` for a fixed setting. A `.test` file is read as RecBole
    reads it: `key choice [...]`, `key uniform low,high`, `key quniform low,high,step`, and `key loguniform low,high`,
    whose numbers are natural logarithms.

    Args:
        path: a yaml file, or a `.test` file.

    Returns:
        Ranges and fixed values by key.

    Raises:
        ConfigError: it cannot be read, holds no setting to search, or a range is none; names file and key.
    """
    space = _read_hyper_test(path) if path.suffix == ".test" else load_yaml(path)
    for key, value in space.items():
        if fault := _fault(value):
            raise ConfigError(f"{path}: {key}: {fault}")
    if not any(map(is_range, space.values())):
        raise ConfigError(
            f"{path} contains nothing to search: write e.g. learning_rate: {{loguniform: [0.0001, 0.01]}}"
        )
    return space


def _read_hyper_test(path: Path) -> dict[str, Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {reason_of(error)}") from error
    space: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split(maxsplit=2)
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 3 or words[1] not in (CHOICE, *RANGES):
            raise ConfigError(
                f"{path}: line {number}: expected KEY KIND VALUES, KIND one of {CHOICE}, {', '.join(RANGES)}"
            )
        key, kind, text = words
        values = parse_value(text if kind == CHOICE else f"[{text}]")
        if kind == CHOICE and isinstance(values, list):
            # RecBole quotes choices that are lists, as in ['[16,8]','[16]'].
            values = [parse_value(value) if isinstance(value, str) else value for value in values]
        if kind == "loguniform" and isinstance(values, list):
            values = [math.exp(value) if isinstance(value, int | float) else value for value in values]
        space[key] = {kind: values}
    return space


def draw_settings(space: Mapping[str, Any], trial: "Trial") -> dict[str, Any]:
    """Settings of one trial; numbers from a range without steps have three digits, as people write them.

    Args:
        space: from `read_space`.
        trial: of Optuna; chooses.

    Returns:
        A value for each key of the space.
    """
    return {key: _draw(key, value, trial) if is_range(value) else value for key, value in space.items()}


def _draw(key: str, value: Mapping[str, Any], trial: "Trial") -> Any:
    (kind, numbers), *_ = value.items()
    if kind == CHOICE:
        return trial.suggest_categorical(key, numbers)
    low, high, *step = numbers
    if kind == "quniform" and all(isinstance(number, int) for number in numbers):
        return trial.suggest_int(key, low, high, step=step[0])
    drawn = trial.suggest_float(key, low, high, log=kind == "loguniform", step=step[0] if step else None)
    return drawn if step else min(max(three_digits(drawn), low), high)


def three_digits(number: float) -> float:
    """Round a number to three significant digits."""
    return float(f"{number:.3g}")


def examples_of(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield settings that together have every choice and both ends of every range."""
    values = {
        key: range_[kind] if (kind := next(iter(range_))) == CHOICE else range_[kind][:2]
        for key, range_ in space.items()
        if is_range(range_)
    }
    for position in range(max(map(len, values.values()))):
        yield {key: some[position % len(some)] for key, some in values.items()}


def is_range(value: Any) -> bool:
    """Whether a value of a space is a range to draw from, not a fixed setting."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in (CHOICE, *RANGES)


def _fault(value: Any) -> str | None:
    """Say why a value is no valid range, and how one is written; None for a valid range or a plain value."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    (kind, numbers), *_ = value.items()
    if kind not in _FORMS:
        meant = did_you_mean(str(kind), _FORMS, cutoff=0.7)
        return f"{kind} is none of {', '.join(_FORMS)}.{meant}" if meant else None
    if not isinstance(numbers, list) or not numbers:
        return f"{kind} needs a list; write {_FORMS[kind]}"
    if kind == CHOICE:
        return None
    if len(numbers) != RANGES[kind] or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        return f"{kind} needs {RANGES[kind]} numbers; write {_FORMS[kind]}"
    if not numbers[0] < numbers[1] or (kind == "loguniform" and numbers[0] <= 0) or min(numbers[2:], default=1) <= 0:
        return f"{kind}: {numbers} is not a range; write {_FORMS[kind]}"
    return None

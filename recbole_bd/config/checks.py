"""Checks of settings against their declarations and against each other."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from recbole_bd.config.layers import _GIVEN
from recbole_bd.config.option import Option
from recbole_bd.errors import ConfigError

# RecBole picks a default silently when the learner is unknown.
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")


def _nearest(key: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]}?" if match else ""


def _check_option(option: Option, value: Any, where: str, source: str) -> None:
    try:
        option.check(value, where)
        numbers = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        for number in numbers:
            if isinstance(number, float) and number != number:
                raise ConfigError(f"{where}={value!r}: must hold finite numbers")
    except ConfigError as error:
        if source in _GIVEN:
            raise
        raise ConfigError(f"{error} ({source})") from error

"""Bidirectional distillation for RecBole: a teacher and a student that teach each other.

The names below are imported when they are first used: RecBole and torch take seconds to import.
"""

import importlib
from typing import TYPE_CHECKING, Any

from recbole_bd.system.processor import avoid_slow_sorts

avoid_slow_sorts()  # before anything imports NumPy

from recbole_bd import compat  # noqa: E402

if TYPE_CHECKING:
    from recbole_bd.errors import BDError
    from recbole_bd.evaluator.crossed import compare_crossed
    from recbole_bd.evaluator.significance import compare, holm
    from recbole_bd.model.base import Distiller
    from recbole_bd.runs.per_user import paired, per_user
    from recbole_bd.runs.pipeline import run_bd
    from recbole_bd.runs.trained_model import load_data_and_model

__version__ = "0.1.0"
__all__ = [
    "BDError",
    "Distiller",
    "__version__",
    "compare",
    "compare_crossed",
    "holm",
    "load_data_and_model",
    "paired",
    "per_user",
    "run_bd",
]

_WITHOUT_RECBOLE = {
    "BDError": "errors",
    "compare": "evaluator.significance",
    "compare_crossed": "evaluator.crossed",
    "holm": "evaluator.significance",
    "paired": "runs.per_user",
    "per_user": "runs.per_user",
}
_WITH_RECBOLE = {"Distiller": "model", "load_data_and_model": "runs.trained_model", "run_bd": "runs.pipeline"}

compat.apply()


if not TYPE_CHECKING:  # a checker of types would take any name for one of the package's

    def __getattr__(name: str) -> Any:
        if name in _WITH_RECBOLE:
            compat.require()
        elif name not in _WITHOUT_RECBOLE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = (_WITH_RECBOLE | _WITHOUT_RECBOLE)[name]
        return getattr(importlib.import_module(f"recbole_bd.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

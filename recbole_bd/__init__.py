"""Bidirectional distillation for RecBole: a teacher and a student that teach each other."""

import importlib
from typing import Any

from recbole_bd import compat

__version__ = "0.1.0"
__all__ = ["__version__", "load_data_and_model", "run_bd"]

compat.apply()


def __getattr__(name: str) -> Any:
    # RecBole and torch take seconds to import: only those who run something wait for them.
    if module := {"run_bd": "runs.pipeline", "load_data_and_model": "runs.trained_model"}.get(name):
        compat.require()
        return getattr(importlib.import_module(f"recbole_bd.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

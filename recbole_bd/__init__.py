"""Bidirectional distillation for RecBole: a teacher and a student that teach each other."""

import importlib
from typing import Any

from recbole_bd import compat
from recbole_bd.version import VERSION as __version__

compat.apply()

__all__ = ["__version__", "load_data_and_model", "run_bd"]


def __getattr__(name: str) -> Any:
    # RecBole and torch take seconds to import: only those who run something wait for them.
    if module := {"run_bd": "run", "load_data_and_model": "trained"}.get(name):
        compat.require()
        return getattr(importlib.import_module(f"recbole_bd.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

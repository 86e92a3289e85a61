"""Bidirectional distillation for RecBole: a teacher and a student that teach each other."""

from recbole_bd import compat
from recbole_bd.version import VERSION as __version__

compat.apply()

__all__ = ["__version__"]

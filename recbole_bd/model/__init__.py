"""The table of distillation methods: a new method is one file, one line here, one yaml in properties/model/."""

from recbole_bd.model.base import Distiller
from recbole_bd.model.bd import BD

METHODS: dict[str, type[Distiller]] = {
    "BD": BD,
}

__all__ = ["BD", "METHODS", "Distiller"]

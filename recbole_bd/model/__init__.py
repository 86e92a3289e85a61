"""The table of distillation methods: a new method is one file, one line here, one yaml in properties/model/.

Methods of other packages join it by their entry points: see `recbole_bd.plugins`.
"""

from recbole_bd.model.base import Distiller
from recbole_bd.model.bd import BD
from recbole_bd.plugins import load_methods

METHODS: dict[str, type[Distiller]] = {
    "BD": BD,
}
METHODS |= load_methods(METHODS)

__all__ = ["BD", "METHODS", "Distiller"]

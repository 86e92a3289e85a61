"""Table of distillation methods: a new method is one file, one line here, one yaml in properties/model/.

Methods of other packages are added by their entry points: see `recbole_bd.system.method_plugins`.
"""

from recbole_bd.model.base import Distiller
from recbole_bd.model.bd import BD
from recbole_bd.model.cd import CD
from recbole_bd.model.de import DE
from recbole_bd.model.rd import RD
from recbole_bd.model.rrd import RRD
from recbole_bd.system.method_plugins import load_methods

METHODS: dict[str, type[Distiller]] = {
    "RD": RD,
    "CD": CD,
    "DE": DE,
    "RRD": RRD,
    "BD": BD,
}
METHODS |= load_methods(METHODS)

__all__ = ["BD", "CD", "DE", "METHODS", "RD", "RRD", "Distiller"]

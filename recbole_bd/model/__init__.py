"""The table of distillation methods: a new method is one file, one line here, one yaml in properties/model/."""

from recbole_bd.model.base import Distiller
from recbole_bd.model.bd import BD
from recbole_bd.model.cd import CD
from recbole_bd.model.de import DE
from recbole_bd.model.rd import RD
from recbole_bd.model.rrd import RRD

METHODS: dict[str, type[Distiller]] = {
    "RD": RD,
    "CD": CD,
    "DE": DE,
    "RRD": RRD,
    "BD": BD,
}

__all__ = ["BD", "CD", "DE", "METHODS", "RD", "RRD", "Distiller"]

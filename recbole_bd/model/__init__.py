"""Table of distillation methods: a new method is one file, one line here, one yaml in properties/model/.

Methods of other packages are added by their entry points: see `recbole_bd.system.method_plugins`. Classes are imported
when they are first used, since they need torch: the help of a command lists methods by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recbole_bd.system.method_plugins import load_methods, offered_methods

if TYPE_CHECKING:
    from recbole_bd.model.base import Distiller
    from recbole_bd.model.bd import BD
    from recbole_bd.model.cd import CD
    from recbole_bd.model.ce import CE
    from recbole_bd.model.dcd import DCD
    from recbole_bd.model.de import DE
    from recbole_bd.model.dml import DML
    from recbole_bd.model.ftd import FTD
    from recbole_bd.model.hetcomp import HetComp
    from recbole_bd.model.htd import HTD
    from recbole_bd.model.kdcl import KDCL
    from recbole_bd.model.rcekd import RCEKD
    from recbole_bd.model.rd import RD
    from recbole_bd.model.rrd import RRD
    from recbole_bd.model.unkd import UnKD

METHODS: "dict[str, type[Distiller]]"  # all methods by name, those of other packages last; made when first used

# The table: the module of each method's class.
MODULES = {
    "RD": "rd",
    "CD": "cd",
    "DE": "de",
    "FTD": "ftd",
    "HTD": "htd",
    "RRD": "rrd",
    "CE": "ce",
    "RCEKD": "rcekd",
    "DCD": "dcd",
    "UnKD": "unkd",
    "HetComp": "hetcomp",
    "DML": "dml",
    "KDCL": "kdcl",
    "BD": "bd",
}

__all__ = [
    "BD",
    "CD",
    "CE",
    "DCD",
    "DE",
    "DML",
    "FTD",
    "HTD",
    "KDCL",
    "METHODS",
    "MODULES",
    "RCEKD",
    "RD",
    "RRD",
    "Distiller",
    "HetComp",
    "UnKD",
    "method_names",
]


def method_names() -> list[str]:
    """Names of all methods, those of other packages last; nothing is imported."""
    return [*MODULES, *(name for name in offered_methods() if name not in MODULES)]


def _member(module: str, name: str) -> Any:
    return getattr(import_module(f"{__name__}.{module}"), name)


def __getattr__(name: str) -> Any:
    if name == "METHODS":
        methods = {method: getattr(import_module(f"{__name__}.{module}"), method) for method, module in MODULES.items()}
        value: Any = methods | load_methods(methods)
    elif name == "Distiller":
        value = _member("base", name)
    elif name in MODULES:
        value = _member(MODULES[name], name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value

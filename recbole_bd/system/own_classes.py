"""Classes of the user's own, as backbones and metrics: found by an entry point, or named `my_package.module:Class`.

A package registers the class `BiasMF` of `my_package/models.py`, with its options in `my_package/BiasMF.yaml`, by

    [project.entry-points."recbole_bd.backbones"]
    BiasMF = "my_package.models:BiasMF"

and a metric likewise under `recbole_bd.metrics`. Importing a module runs its code. So nothing here is called with a
name that a record of a run gives, unless the user gave this name too: see `recbole_bd.config.own_names`.
"""

import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from recbole_bd.errors import ConfigError, InstallationError

BACKBONES = "recbole_bd.backbones"
METRICS = "recbole_bd.metrics"


def is_import_name(value: Any) -> bool:
    """Whether a value names a class by its module, as in `my_package.module:Class`."""
    if not isinstance(value, str) or value.count(":") != 1:
        return False
    return all(part.isidentifier() for half in value.split(":") for part in half.split("."))


def short_name(name: str) -> str:
    """Name of the class in `my_package.module:Class`; any other name as it is."""
    return name.rpartition(":")[2]


def import_name(kind: type) -> str:
    """Name by which another process imports a class.

    Args:
        kind: the class.

    Returns:
        `my_package.module:Class`.

    Raises:
        ConfigError: the class cannot be imported by a name, as it is defined in a script, a notebook or a function.
    """
    name = f"{kind.__module__}:{kind.__qualname__}"
    way_out = "Move it to the top level of a module of its own, such as my_models.py, and import it from there"
    if kind.__module__ == "__main__":
        raise ConfigError(f"{kind.__qualname__} is defined in __main__, where no other process finds it. {way_out}")
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not kind or not is_import_name(name):
        raise ConfigError(f"{kind.__qualname__} of {kind.__module__} cannot be imported by its name. {way_out}")
    return name


def offered_classes(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, sorted; nothing is imported.

    Args:
        group: `BACKBONES` or `METRICS`.
    """
    return dict(_offered(group, entry_points, tuple(sys.path)))


@functools.lru_cache(
    maxsize=16
)  # reading the metadata of all packages takes 20 ms; several look-ups make a configuration
def _offered(group: str, read: Callable, search_path: tuple[str, ...]) -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(read(group=group), key=lambda point: point.name)}


def own_class(name: str, group: str) -> type | None:
    """Import a class of the user's own.

    Args:
        name: `my_package.module:Class`, or the name of an entry point.
        group: `BACKBONES` or `METRICS`.

    Returns:
        The class; None if the name is neither.

    Raises:
        ConfigError: the named module cannot be imported, or has no such class.
        InstallationError: the same of an entry point.
    """
    if is_import_name(name):
        return _imported(name, name, ConfigError)
    point = offered_classes(group).get(name)
    if point is None:
        return None
    return _imported(point.value, f"entry point {group}: {name} = {point.value}", InstallationError)


@contextmanager
def anomaly_detection_kept() -> Iterator[None]:
    """Keep torch's anomaly detection as it is: RecBole's sequential models turn it on when they are imported.

    It makes training several times as slow, and an overflow that a gradient scaler handles an error.
    """
    import torch  # a second, which a command that only lists names does not take

    was_on = torch.is_anomaly_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(was_on)


def _imported(target: str, named: str, kind: type[ConfigError] | type[InstallationError]) -> type:
    module, _, path = target.partition(":")
    try:
        with anomaly_detection_kept():
            found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        hint = "" if (error.name or "").startswith(f"{module}.") else ". Install it, or put its folder on PYTHONPATH"
        raise kind(f"{named} cannot be imported: {error}{hint}") from error
    # Importing runs the user's module, which may raise anything.
    except Exception as error:
        raise kind(f"{named} cannot be imported: {type(error).__name__}: {error}") from error
    if not inspect.isclass(found):
        raise kind(f"{named} is not a class")
    return found


def option_files(kinds: list[type]) -> list[Path]:
    """Find the yaml files of options, each beside the module of its class and named after the class.

    Args:
        kinds: classes.
    """
    modules = [(getattr(sys.modules.get(kind.__module__), "__file__", None), kind.__name__) for kind in kinds]
    paths = [Path(file).with_name(f"{name}.yaml") for file, name in modules if file]
    return [path for path in paths if path.is_file()]


def source_of(kind: type) -> str:
    """Source of the module of a class; empty if there is none, as for a compiled module."""
    try:
        return inspect.getsource(sys.modules[kind.__module__])
    except (OSError, TypeError, KeyError):
        return ""


def identity_of(kinds: list[type]) -> list[str]:
    """Name each class by module and by a hash of the module's source, for hashes of runs.

    Args:
        kinds: classes.
    """
    digests = [hashlib.sha256(source_of(kind).encode()).hexdigest()[:16] for kind in kinds]
    return [f"{kind.__module__}:{kind.__qualname__} {digest}" for kind, digest in zip(kinds, digests, strict=True)]

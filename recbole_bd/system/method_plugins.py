"""Plugins: distillation methods of other packages, found by their entry point.

A package registers the class `Mine` of `my_package/mine.py`, with its options in `my_package/Mine.yaml`, by

    [project.entry-points."recbole_bd.methods"]
    Mine = "my_package.mine:Mine"
"""

import importlib.util
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from recbole_bd.errors import InstallationError

GROUP = "recbole_bd.methods"


def offered_methods() -> dict[str, EntryPoint]:
    """Return the entry points of all installed methods by method name, sorted."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def load_methods(taken: Iterable[str]) -> dict[str, type]:
    """Import the methods of other packages.

    Args:
        taken: names of the methods of this package.

    Returns:
        Classes by method name, sorted.

    Raises:
        InstallationError: a method cannot be imported, or its name is taken.
    """
    taken = set(taken)
    loaded = {}
    for name, point in offered_methods().items():
        if name in taken:
            raise InstallationError(
                f"entry point {GROUP}: {name} = {point.value} has the name of a method of recbole-bd: rename it"
            )
        try:
            loaded[name] = point.load()
        except (ImportError, AttributeError) as error:
            raise InstallationError(
                f"entry point {GROUP}: {name} = {point.value} cannot be imported: {error}"
            ) from error
    return loaded


def options_beside(name: str) -> Path | None:
    """Path of a plugin's yaml of options, in the folder of its module; None if there is no such plugin.

    Args:
        name: name of the method.
    """
    point = offered_methods().get(name)
    module = point and importlib.util.find_spec(point.module)
    return Path(module.origin).with_name(f"{name}.yaml") if module and module.origin else None

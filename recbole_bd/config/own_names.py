"""Names of classes in settings: which of them the user gave, and which only a record of a run gives.

A class named `my_package.module:Class` is imported, which runs its module. Settings that the user writes may name any.
Records that may come from others, such as a run's config.yaml or a model file, may not: an import would make reading
them dangerous. A name in a record counts only if the user gives the same name, or allows the record's code.
"""

import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_bd.backbones.registry import name_of_class
from recbole_bd.config.layers import COMMAND_LINE, CONFIG_DICT, Layer
from recbole_bd.config.yaml_text import write_value
from recbole_bd.errors import ConfigError
from recbole_bd.system.own_classes import import_name, is_import_name

# Settings whose values may name classes.
NAMING = ("model", "teacher_model", "student_model", "beside", "metrics")
# Files of a run folder: a config.yaml beside one of them is a record.
_OF_A_RUN = ("result.json", "last.ckpt")


def with_names(settings: Mapping[str, Any] | None, methods: Mapping[str, type]) -> dict[str, Any]:
    """Replace classes in settings by their names.

    Args:
        settings: as given from Python; the values of `NAMING` may be or contain classes.
        methods: all distillation methods by name.

    Raises:
        ConfigError: a class cannot be imported by its name.
    """
    return {key: _named(key, value, methods) if key in NAMING else value for key, value in (settings or {}).items()}


def _named(key: str, value: Any, methods: Mapping[str, type]) -> Any:
    if isinstance(value, list | tuple):
        return [_named(key, one, methods) for one in value]
    if not isinstance(value, type):
        return value
    for name, method in methods.items():
        if value is method:
            return name
    if key == "metrics":
        return value.__name__ if value.__module__ == "recbole.evaluator.metrics" else import_name(value)
    return name_of_class(value)


def import_names(settings: Mapping[str, Any]) -> dict[str, str]:
    """Find the classes that settings name by their modules.

    Args:
        settings: settings by key.

    Returns:
        The key of each name.
    """
    found: dict[str, str] = {}
    for key in NAMING:
        value = settings.get(key)
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str) and is_import_name(name):
                found.setdefault(name, key)
    return found


def names_given(layers: Iterable[Layer]) -> set[str]:
    """Names of classes in the user's own layers: all of them but the config.yaml of a run.

    Args:
        layers: the layers of the user.
    """
    return {name for layer in layers if not is_record(layer.source) for name in import_names(layer.values)}


def is_record(source: str) -> bool:
    """Whether a file of settings lies in a run folder, which may come from somebody else.

    Args:
        source: source of a layer.
    """
    return source not in (CONFIG_DICT, COMMAND_LINE) and any(
        Path(source).with_name(name).exists() for name in _OF_A_RUN
    )


def refuse_untrusted(settings: Mapping[str, Any], trusted: Collection[str]) -> None:
    """Refuse a class that only a record names, before anything is imported.

    Args:
        settings: settings by key, all layers folded.
        trusted: names that the user gave.

    Raises:
        ConfigError: names the class and how to allow it.
    """
    if unknown := [name for name in import_names(settings) if name not in trusted]:
        raise ConfigError(
            f"the record of a run names {', '.join(unknown)}, and importing this runs its code. If you trust it, name "
            f"it yourself:{words_again(settings)}"
        )


def words_again(settings: Mapping[str, Any]) -> str:
    """Words of a command, quoted for a shell, that name the same classes again; empty if there are none.

    Args:
        settings: settings by key.
    """
    keys = dict.fromkeys(key for key in import_names(settings).values() if key != "beside")
    return "".join(f" {shlex.quote(f'--{key}={write_value(settings[key])}')}" for key in keys)

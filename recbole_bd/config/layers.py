"""Layers of settings, one for each source, and the folding of layers into one."""

import copy
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_bd.backbones.names import DIRECTION_INTO, PAIR
from recbole_bd.config.option import Option
from recbole_bd.config.yaml_text import is_name, write_value
from recbole_bd.errors import ConfigError
from recbole_bd.system.own_classes import is_import_name

# Sources of settings that are no files; a layer of a file has the file's path as its source.
CONFIG_DICT = "config_dict"
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Layer:
    """Settings from one source, as the user wrote them.

    Attributes:
        source: path of the file, or `CONFIG_DICT` or `COMMAND_LINE`.
        values: settings by key; the blocks of roles are nested.
    """

    source: str
    values: dict[str, Any]


def expand_dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"teacher.embedding_size": 64}` into `{"teacher": {"embedding_size": 64}}`, leaving the rest as it is.

    Raises:
        ConfigError: a key is set to a value as well as to a block.
    """
    expanded: dict[str, Any] = {}
    for key, value in settings.items():
        *path, last = [key] if is_import_name(key) else key.split(".")
        block = expanded
        for name in path:
            block = block.setdefault(name, {})
            if not isinstance(block, dict):
                raise ConfigError(f"{key}: {name} is set to a value as well as to a block")
        if isinstance(value, Mapping) and isinstance(block.get(last), dict):
            block[last].update(copy.deepcopy(dict(value)))
        else:
            block[last] = copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
    return expanded


def command_of(files: Iterable[str], settings: Mapping[str, Any]) -> str:
    """Write settings as a shell command line that gives the same settings again.

    Args:
        files: configuration files.
        settings: settings that override the files.
    """
    words = ["recbole-bd", "run"]
    if files:
        words += ["--config_files", *files]
    for key, value in dotted(settings):
        words.append(f"--{key}={write_value(plain_value(value))}")
    return shlex.join(words)


def read_names(layers: Iterable[Layer], keys: Iterable[str]) -> dict[str, Any]:
    """Read the settings that name models or the data set, which decide the options there are.

    Args:
        layers: a later layer overrides an earlier one.
        keys: the settings to read, e.g. `model`.

    Returns:
        Names by key, and for `beside` a list of names.

    Raises:
        ConfigError: a value is not a name.
    """
    found = {key: value for layer in layers for key, value in layer.values.items() if key in keys}
    for key, value in found.items():
        names = value if key == "beside" and isinstance(value, list) else [value]
        for name in names:
            if not is_name(name) and not (key != "dataset" and is_import_name(name)):
                raise ConfigError(f"{key}={value!r}: expected a name{_problem(name)}")
        if key == "beside" and value is not names:
            raise ConfigError(f"beside={value!r}: expected a list of names")
    return found


def _problem(name: Any) -> str:
    """Reason why a text is not a name, for the end of a message; empty for other values."""
    if name is None:
        return ", found no value"
    if not isinstance(name, str):
        return ""
    if not name:
        return ", found an empty text"
    if wrong := re.search(r"[^\w.+-]", name):
        return f" of letters, digits and _ . + -, found the character {wrong[0]!r}"
    return ", which cannot begin with a dot"


def unwrap_model_block(layer: Layer, model: str, blocks: set[str]) -> Layer:
    """Lift the settings in the block of the model that is run to the top level; drop the blocks of other models.

    Args:
        layer: where a block such as `BD: {...}` may stand.
        model: name of the model that is run.
        blocks: names of all methods and models.

    Raises:
        ConfigError: a model's name is set to something other than a block.
    """
    named = {key: value for key, value in layer.values.items() if key in blocks}
    for key, value in named.items():
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}={value!r}: expected a block of settings of the model {key} ({layer.source})")
    rest = {key: value for key, value in layer.values.items() if key not in blocks}
    return Layer(layer.source, _merged([rest, named.get(model, {})]))


def refuse_other_blocks(typed: Layer, blocks: set[str], run: Iterable[str]) -> None:
    """Refuse settings of a model on the command line that is not run, where nothing would read them.

    Args:
        typed: the layer of the command line.
        blocks: names of all methods and models.
        run: names of the models that are run.

    Raises:
        ConfigError: naming the first such setting, the models that are run and the way out.
    """
    run = list(run)
    for name in typed.values.keys() & blocks - set(run):
        key = next(iter(typed.values[name]), "") if isinstance(typed.values[name], Mapping) else ""
        raise ConfigError(
            f"--{name}{'.' * bool(key)}{key}: {name} is not among the models that are run, {', '.join(run)}; leave it "
            "out. Settings of a role are --teacher.KEY and --student.KEY"
        )


def _merged(blocks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for block in blocks:
        for key, value in block.items():
            both = key in PAIR and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = {**merged[key], **value} if both else value
    return merged


def dotted(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Flatten the blocks of roles to dotted keys, which `expand_dotted` reads; other settings stay as they are."""
    for key, value in settings.items():
        if key in PAIR and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", setting) for name, setting in value.items())
        else:
            yield key, value


def with_patience(layer: Layer) -> Layer:
    """Let `stopping_step` and `stopping_epochs` replace each other, so that of two layers the later one holds.

    Args:
        layer: settings that may hold one of them, or both: then `stopping_epochs` holds.

    Returns:
        The layer, with `stopping_epochs: ~` beside a `stopping_step` that holds, in the blocks of roles too.
    """
    return Layer(layer.source, _with_patience(layer.values))


def _with_patience(block: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: _with_patience(value) if isinstance(value, Mapping) else value for key, value in block.items()}
    if "stopping_step" in found:
        found.setdefault("stopping_epochs", None)
    return found


def with_directions(layer: Layer, options: Mapping[str, Option]) -> Layer:
    """Let an option of both directions replace what an earlier layer sets for one of them.

    Args:
        layer: settings that may hold `exchange`, `temperature` or another option of both directions.
        options: those of the run's method.

    Returns:
        The layer, with `exchange_teacher_to_student: ~` and its counterpart beside an `exchange`, unless it sets them.
    """
    found = dict(layer.values)
    for key in layer.values:
        for direction in DIRECTION_INTO.values():
            own = options.get(f"{key}_{direction}")
            if own is not None and "none" in own.types:
                found.setdefault(own.key, None)
    return Layer(layer.source, found)


def with_resolved_patience(settings: Mapping[str, Any], eval_step: int) -> dict[str, Any]:
    """Settings with the `stopping_step` that `stopping_epochs` means, if this is set.

    RecBole stops after more than `stopping_step` validations: at the first one after more than `stopping_epochs`.
    """
    epochs = settings.get("stopping_epochs")
    return {**settings, **({} if epochs is None else {"stopping_step": epochs // eval_step})}


def fold_layers(layers: Iterable[Layer], drop: Iterable[str]) -> dict[str, Any]:
    """Fold layers into one mapping. A block of a later layer replaces the whole block of an earlier one.

    Args:
        layers: a later layer overrides an earlier one.
        drop: keys to leave out.

    Returns:
        A deep copy.
    """
    folded: dict[str, Any] = {}
    for layer in layers:
        folded.update({key: value for key, value in layer.values.items() if key not in set(drop)})
    return copy.deepcopy(folded)


def plain_value(value: Any) -> Any:
    """Convert a value to types that YAML and JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)

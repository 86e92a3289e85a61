"""Settings of the data where a model of the run is sequential: their defaults, and what they must be."""

from collections.abc import Iterable, Mapping
from typing import Any

from recbole_bd.backbones.registry import is_sequential
from recbole_bd.config.evaluation_settings import modes
from recbole_bd.config.layers import Layer, fold_layers
from recbole_bd.errors import ConfigError

# RecBole's own evaluation of sequential models: the last two interactions of each user are validation and test.
_DEFAULTS = {
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    "repeatable": True,
}
_FIELDS = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp"}
_SOURCE = "sequential models"


def sequential_among(names: Mapping[str, Any], methods: Iterable[str]) -> list[str]:
    """List the sequential models of a run, and of the runs that share its data.

    Args:
        names: `model`, `teacher_model`, `student_model` and `beside`.
        methods: names of the distillation methods.
    """
    run = [names["model"], *(names["beside"] or ())]
    if any(name in methods for name in run):
        run += [names["teacher_model"], names["student_model"]]
    return [name for name in dict.fromkeys(run) if is_sequential(name)]


def sequential_only_beside(names: Mapping[str, Any], methods: Iterable[str]) -> bool:
    """Whether no model of the run is sequential, but one of those that share its data is."""
    alone = sequential_among({**names, "beside": []}, methods)
    return not alone and bool(sequential_among(names, methods))


def sequence_layer(layers: Iterable[Layer]) -> Layer:
    """The layer below the user's with the split of sequential models, and the time column if no file names columns.

    Args:
        layers: the files of this package for the run, and the user's layers.
    """
    given = fold_layers(layers, drop=())
    columns = [given.get(key) or name for key, name in _FIELDS.items()]
    read = given.get("load_col", {"inter": columns[:2]})
    loaded = read.get("inter") if isinstance(read, Mapping) else None
    if not isinstance(loaded, list) or columns[2] in loaded:
        return Layer(_SOURCE, _DEFAULTS)
    return Layer(_SOURCE, {**_DEFAULTS, "load_col": {**read, "inter": [*loaded, columns[2]]}})


def needs_sequences(backbones: Iterable[str], settings: Mapping[str, Any]) -> bool:
    """Whether a model of the run is sequential; if so, check the settings by which sequences are made and divided.

    Args:
        backbones: names of the models.
        settings: resolved settings by name.

    Raises:
        ConfigError: a setting that sequential models cannot be trained or ranked by.
    """
    name = next(filter(is_sequential, backbones), None)
    if name is None:
        return False
    arguments = settings["eval_args"]
    split, order = arguments.get("split", {}), arguments.get("order", "RO")
    if settings.get("benchmark_filename"):
        raise ConfigError(
            f"benchmark_filename={settings['benchmark_filename']!r}: {name} is sequential and needs all interactions "
            "of a user in one file, in order of time; leave it out"
        )
    if "labeled" in modes(settings):
        raise ConfigError(
            f"eval_args: mode: labeled: {name} is sequential and ranks next items, which have no labels; use uniN or "
            "popN, or full with metrics of ranked items such as NDCG"
        )
    if order != "TO" or "LS" not in split or arguments.get("group_by", "user") != "user":
        found = "".join(f"split={{{kind}: {value}}}, " for kind, value in split.items())
        found += f"order={order}" if "order" in arguments else "no order"
        mode = arguments.get("mode", "full")
        raise ConfigError(
            f"eval_args: {found}: {name} is sequential and learns from what came before; use {{split: "
            f"{{LS: valid_and_test}}, group_by: user, order: TO, mode: {mode}}}"
        )
    if not settings.get("repeatable"):
        raise ConfigError(
            f"repeatable=False: {name} is sequential, and the next item may be one of the history; use repeatable=True"
        )
    if (length := settings.get("MAX_ITEM_LIST_LENGTH")) is None or length < 2:
        raise ConfigError(f"MAX_ITEM_LIST_LENGTH={length!r}: must be a whole number of at least 2")
    for key in ("LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD"):
        if not settings.get(key):
            raise ConfigError(f"{key}={settings.get(key)!r}: must name the columns of histories, as RecBole does")
    return True

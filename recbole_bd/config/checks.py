"""Checks of settings against the declared options: keys, types and ranges, in every layer."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_bd.backbones.names import BASELINE, DIRECTION_INTO, PAIR
from recbole_bd.backbones.registry import own_backbones, recommender_class, recommenders
from recbole_bd.config.known_options import LISTS, RECBOLE_PROPERTIES, models_with, recbole_options, role_options
from recbole_bd.config.layers import COMMAND_LINE, CONFIG_DICT, Layer
from recbole_bd.config.option import Option
from recbole_bd.config.recbole_blocks import check_inside
from recbole_bd.config.renamed_keys import todays_setting
from recbole_bd.errors import ConfigError, RoleError, did_you_mean

# Names of the width of a model, of which some models have the one and some the other.
_SIZES = {"embedding_size": "hidden_size", "hidden_size": "embedding_size"}


@dataclass(frozen=True)
class LayerChecks:
    """Checks every key of a layer against the options of the chosen models and method.

    Attributes:
        top_level: options that may stand at the top level, by key.
        backbones: name of the RecBole model by role; the one role of a baseline is `model`.
        model_names: names of all methods and models, suggested for an unknown key that holds a block.
        ignored: keys that only other models know, suggested for an unknown key that holds a value.
        of_run: options of the method and of this package, which no role has for itself unless its model declares them.
    """

    top_level: Mapping[str, Option]
    backbones: Mapping[str, str]
    model_names: Iterable[str] = ()
    ignored: Iterable[str] = ()
    of_run: Collection[str] = ()

    def check(self, layer: Layer) -> None:
        """Check the keys of a layer, and their values.

        Raises:
            ConfigError: an unknown key, a wrong type, a value out of range, or a block at the wrong place.
            RoleError: settings of a model that RecBole does not have.
        """
        for key, value in layer.values.items():
            if key in PAIR:
                self._check_role_block(key, value, layer.source)
            elif key == "backbones":
                self._check_backbones(value, layer.source)
            elif key not in self.top_level:
                blocks = (*PAIR, "backbones", *self.model_names)
                similar = blocks if isinstance(value, Mapping) else {*self.top_level, *self.ignored, LISTS}
                raise ConfigError(_unknown_setting(key, key, similar, layer.source))
            else:
                check_option(self.top_level[key], value, key, layer.source)

    def _check_role_block(self, role: str, block: Any, source: str) -> None:
        if not isinstance(block, Mapping):
            raise ConfigError(f"{role}={block!r}: expected a block of settings ({source})")
        if block and role not in self.backbones:
            raise ConfigError(
                f"{role}: {self.backbones[BASELINE]} is trained alone; set its keys at the top level ({source})"
            )
        if block:
            self._check_role_keys(self.backbones[role], block, role, role, source)

    def _check_backbones(self, backbones: Any, source: str) -> None:
        if not isinstance(backbones, Mapping):
            raise ConfigError(f"backbones={backbones!r}: expected {{model: {{teacher: {{...}}, student: {{...}}}}}}")
        for backbone, by_role in backbones.items():
            if not isinstance(by_role, Mapping | None):
                raise ConfigError(f"backbones.{backbone}={by_role!r}: expected blocks teacher and student ({source})")
            for role, block in (by_role or {}).items():
                where = f"backbones.{backbone}.{role}"
                if role not in PAIR or not isinstance(block, Mapping):
                    raise ConfigError(f"{where}: expected a block under teacher or student ({source})")
                self._check_role_keys(backbone, block, role, where, source)

    def _check_role_keys(self, backbone: str, block: Mapping[str, Any], role: str, where: str, source: str) -> None:
        known = role_options(backbone)
        for key, value in block.items():
            if key in known:
                check_option(known[key], value, f"{where}.{key}", source)
                continue
            if key in recbole_options():
                raise ConfigError(f"{where}.{key}: applies to both roles; set it at the top level ({source})")
            if key in self.of_run:
                twin = f"{key}_{DIRECTION_INTO[role]}"
                either = f"{key} or {twin}" if twin in self.of_run else "it"
                raise ConfigError(
                    f"{where}.{key}: is a setting of the run, not of a role; set {either} at the top level ({source})"
                )
            raise ConfigError(_unknown_setting(f"{where}.{key}", key, known, source))


def check_option(option: Option, value: Any, where: str, source: str) -> None:
    """Check a value's type and range, the inside of a block, and that a list or block holds no NaN.

    Args:
        option: the declaration.
        value: what the user gave.
        where: the key as the user wrote it, e.g. `student.learning_rate`.
        source: the layer's source, named in the error if it is a file.

    Raises:
        ConfigError: naming the key, the value and what is allowed.
    """
    try:
        option.check(value, where)
        check_inside(option.key, value, where)
        numbers = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        for number in numbers:
            if isinstance(number, float) and number != number:
                raise ConfigError(f"{where}={value!r}: must contain finite numbers only")
    except ConfigError as error:
        if source in (CONFIG_DICT, COMMAND_LINE):
            raise
        raise ConfigError(f"{error} ({source})") from error


def check_model(name: str, methods: Iterable[str]) -> None:
    """Check that a model which is not a distillation method is one of RecBole's.

    Args:
        name: name of the model, as the user wrote it.
        methods: names of the distillation methods; the most similar one is suggested in the error.

    Raises:
        RoleError: RecBole has no such model.
    """
    try:
        recommender_class(name)
    except RoleError as error:
        if not str(error).startswith("unknown model"):
            raise RoleError(f"model={name}: {error}") from error
        others = [*recommenders(), *own_backbones()]
        spelled = {known.lower(): known for known in (*methods, *others)}
        similar = [spelled[near] for near in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.5)]
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        raise RoleError(
            f"model={name!r} is not a method of this package ({', '.join(methods)}) and no model of RecBole.{hint} "
            f"Available models: {', '.join(sorted(others))}"
        ) from error


def _unknown_setting(where: str, key: str, known: Iterable[str], source: str) -> str:
    if today := todays_setting(key):
        return f"{where} ({source}) {today}"
    hint = did_you_mean(key, known, cutoff=0.6)
    if having := models_with(key):
        hint = f" Of the methods and models, only these have it: {', '.join(having)}."
        if _SIZES.get(key) in set(known):
            hint = f" The name of the size here is {_SIZES[key]}.{hint}"
        if key == LISTS:
            hint += " It makes Lists the teacher of a method, where teacher_model is left out."
    return (
        f"unknown setting {where} ({source}).{hint} Documented keys: `recbole-bd run --help` and, "
        f"for RecBole's own, {RECBOLE_PROPERTIES / 'overall.yaml'} and model/*.yaml beside it"
    )

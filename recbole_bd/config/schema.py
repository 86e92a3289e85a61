"""JSON schema of all settings, by which editors complete and check configuration files.

It is made from the declarations of the options. It checks one file and knows no other: that a setting belongs to the
method and the models of a run, and that settings fit together, is checked by the run.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from recbole_bd.backbones.names import PAIR
from recbole_bd.config.block_schema import block_schema
from recbole_bd.config.known_options import backbone_options, recbole_options, role_options
from recbole_bd.config.option import Option
from recbole_bd.config.property_files import method_options, package_options

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Options by key, with the names of those that declare them.
Declared = dict[str, list[tuple[str, Option]]]

_TYPES = {
    "float": "number", "int": "integer", "bool": "boolean", "str": "string", "list": "array", "dict": "object",
    "none": "null",
}  # fmt: skip
# A class named by its module: `my_package.module:Class`.
_CLASS = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
_MODEL_NAMES = ("model", "teacher_model", "student_model")
_MOST_OWNERS = 6


def value_schema(option: Option) -> dict[str, Any]:
    """Say which values an option takes: type, range, choices, and what may stand inside a block of RecBole's.

    Args:
        option: the declaration.

    Returns:
        Keywords of a JSON schema, without description and default; empty if any value may be.
    """
    schema: dict[str, Any] = {}
    types = sorted(_TYPES[name] for name in option.types if not (name == "int" and "float" in option.types))
    if option.types != _TYPES.keys():
        schema["type"] = types[0] if len(types) == 1 else types
    if option.choices and "list" in option.types:
        schema["items"] = {"enum": option.choices}
    elif option.choices:
        schema["enum"] = [*option.choices, *([None] if "none" in option.types else [])]
    if option.interval:
        left, low, high, right = option.interval
        bounds = {("exclusiveMinimum" if left == "(" else "minimum"): low}
        bounds |= {("exclusiveMaximum" if right == ")" else "maximum"): high}
        schema |= {name: _plain(bound) for name, bound in bounds.items() if abs(bound) != float("inf")}
    return schema | block_schema(option.key)


def settings_schema(methods: Iterable[str], models: Iterable[str]) -> dict[str, Any]:
    """Describe every setting of a configuration file.

    Args:
        methods: names of the distillation methods.
        models: names of the models, as `registry.recommender_class` takes them; the user's own are imported.

    Returns:
        A JSON schema of draft 2020-12. Blocks of methods and models, such as `BD: {...}`, are described too, and keys
        with a dot, such as `student.learning_rate`.

    Raises:
        BDError: a model does not exist, or cannot be imported.
    """
    of_methods = {name: method_options(name) for name in methods}
    of_models = {name: backbone_options(name) for name in models}
    every = {"RecBole": dict(recbole_options()), "recbole_bd": package_options()}
    top = _declared(every, {**of_methods, **of_models})
    of_roles = set().union(*(role_options(name) for name in of_models))
    choices = {key: _model_names(key, of_methods, of_models) for key in _MODEL_NAMES}
    blocks = {role: {"description": top.pop(role)[0][1].meaning, "$ref": "#/$defs/role"} for role in PAIR}
    blocks["backbones"] = {"description": top.pop("backbones")[0][1].meaning, "$ref": "#/$defs/backbones"}
    definitions = {key: _described(declared, choices.get(key, {})) for key, declared in sorted(top.items())}
    run = {key: {"$ref": f"#/$defs/setting/properties/{key}"} for key in definitions} | blocks
    of_role = {key: run[key] for key in definitions if key in of_roles}
    named = {**of_methods, **of_models}
    dotted = {f"{role}.{key}": schema for role in PAIR for key, schema in of_role.items()}
    former = {"type": "boolean", "deprecated": True, "description": "Former name of controls: [continued] or []."}
    return {
        "$schema": DIALECT,
        "title": "Settings of recbole-bd",
        "description": "Settings of `recbole-bd run`. Each setting is explained where it is declared.",
        "type": "object",
        "properties": {**run, **dotted, "control": former, **{name: _block_of(name, of_methods) for name in named}},
        "patternProperties": {
            _CLASS: {"type": "object", "description": "Settings of a model of your own."},
            _dotted_pattern(named, definitions): {"description": "One setting inside a block."},
        },
        "additionalProperties": False,
        "$defs": {
            "run": {"type": "object", "properties": run, "additionalProperties": False},
            "role": {"type": "object", "properties": of_role, "additionalProperties": False},
            "backbones": _backbones(of_models),
            "setting": {"properties": definitions},
            **{name: {"properties": _own(name, options)} for name, options in named.items()},
        },
    }


def _declared(every: Mapping[str, Mapping[str, Option]], some: Mapping[str, Mapping[str, Option]]) -> Declared:
    """All declarations by key. Those for every run go before those of methods and models."""
    found: Declared = {}
    for name, options in some.items():
        for key, option in options.items():
            found.setdefault(key, []).append((name, option))
    for options in every.values():
        found |= {key: [("", option)] for key, option in options.items()}
    return found


def _described(declared: list[tuple[str, Option]], choices: dict[str, Any]) -> dict[str, Any]:
    """One schema of all declarations of a key: one for each kind of values."""
    kinds: dict[str, list[tuple[str, Option]]] = {}
    for name, option in declared:
        kinds.setdefault(repr(value_schema(option)), []).append((name, option))
    schemas = [_one_kind(members, choices) for members in kinds.values()]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _one_kind(members: list[tuple[str, Option]], choices: dict[str, Any]) -> dict[str, Any]:
    owners: dict[str, list[str]] = {}
    for name, option in members:
        owners.setdefault(option.meaning, []).append(name)
    lines = [f"{_listed(names)}: {meaning}".removeprefix(": ") for meaning, names in owners.items()]
    schema = {**value_schema(members[0][1]), **choices, "description": "\n".join(lines).removesuffix(": ")}
    defaults = [option.default for _, option in members]
    is_same = all(repr(default) == repr(defaults[0]) for default in defaults)
    return schema | ({"default": defaults[0]} if is_same and _has_default(members[0][1]) else {})


def _has_default(option: Option) -> bool:
    """Whether the declaration names a default; None without a type stands for a setting that only code reads."""
    return option.default is not None or bool(option.type)


def _own(name: str, options: Mapping[str, Option]) -> dict[str, Any]:
    return {key: _one_kind([(name, option)], {}) for key, option in options.items()}


def _block_of(name: str, methods: Iterable[str]) -> dict[str, Any]:
    about = f"Settings for --model={name} only." if name in methods else f"Settings of {name} trained alone."
    return {"description": about, "allOf": [{"$ref": "#/$defs/run"}, {"$ref": f"#/$defs/{name}"}]}


def _backbones(models: Iterable[str]) -> dict[str, Any]:
    def by_role(*schemas: dict[str, Any]) -> dict[str, Any]:
        block = dict(schemas[0]) if len(schemas) == 1 else {"allOf": list(schemas)}
        return {"type": ["object", "null"], "properties": dict.fromkeys(PAIR, block), "additionalProperties": False}

    role = {"$ref": "#/$defs/role"}
    return {
        "type": "object",
        "properties": {name: by_role(role, {"$ref": f"#/$defs/{name}"}) for name in models},
        "patternProperties": {_CLASS: by_role({"type": "object"})},
        "additionalProperties": False,
    }


def _model_names(key: str, methods: Iterable[str], models: Iterable[str]) -> dict[str, Any]:
    names = [*(methods if key == "model" else ()), *models]
    return {"anyOf": [{"enum": names}, {"pattern": _CLASS}]}


def _dotted_pattern(named: Iterable[str], keys: Iterable[str]) -> str:
    """Keys of a dotted path into a block: of a method or model, of `backbones`, or of a block of RecBole's."""
    any_of = partial("|".join)
    roles, names, last = any_of(PAIR), any_of(map(re.escape, named)), any_of(map(re.escape, keys))
    into_blocks = rf"(?:{names})\.(?:(?:{roles})\.)?(?:{last})|backbones\.(?:{names})\.(?:{roles})\.(?:{last})"
    into_recbole = r"(?:(?:{roles})\.)?(?:{blocks})\.[\w.]+".format(
        roles=roles, blocks=any_of(key for key, option in recbole_options().items() if "dict" in option.types)
    )
    return f"^(?:{into_blocks}|{into_recbole})$"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_OWNERS
    return ", ".join(names[:_MOST_OWNERS]) + (f" and {more} more" if more > 0 else "")


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else number

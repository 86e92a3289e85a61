"""JSON schema of search spaces, by which editors complete and check them. It holds that of all settings."""

from collections.abc import Mapping
from typing import Any

from recbole_bd.config.schema import DIALECT
from recbole_bd.tuning.space import CHOICE, RANGES


def space_schema(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a search space: each setting has one value for every trial, or a range to draw from.

    Args:
        settings: from `settings_schema`.

    Returns:
        A JSON schema of draft 2020-12.
    """
    drawn = {"$ref": "#/$defs/drawn"}
    return {
        "$schema": DIALECT,
        "title": "Search space of recbole-bd tune",
        "description": "Settings to search, and settings that are the same in every trial.",
        "type": "object",
        "properties": {key: {"anyOf": [drawn, fixed]} for key, fixed in settings["properties"].items()},
        "patternProperties": settings["patternProperties"],
        "additionalProperties": False,
        "$defs": {
            "drawn": {"anyOf": [_one(CHOICE, {"type": "array", "minItems": 1}), *map(_range, RANGES)]},
            **settings["$defs"],
        },
    }


def _one(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {kind: values}, "required": [kind], "additionalProperties": False}


def _range(kind: str) -> dict[str, Any]:
    words = {
        "uniform": "A number between two, evenly.",
        "loguniform": "A number between two above 0, evenly by its logarithm.",
        "quniform": "A number between two in steps of the third.",
    }
    count = RANGES[kind]
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": count, "maxItems": count}
    return _one(kind, {"description": words[kind], **numbers})

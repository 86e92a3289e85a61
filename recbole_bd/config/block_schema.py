"""JSON schemas of RecBole's blocks: the keys inside `eval_args`, `train_neg_sample_args` and others.

They state what `recbole_blocks` and `evaluation_settings` check. What a key means is read from RecBole's own comments.
"""

import re
from typing import Any

from recbole_bd.config.evaluation_settings import EVAL_ARGS, LEFT_OUT, SPLITS
from recbole_bd.config.known_options import RECBOLE_PROPERTIES
from recbole_bd.config.recbole_blocks import DISTRIBUTIONS, MOST_NEGATIVES, NEGATIVES, SOURCES

_INNER = re.compile(r"^ +(?P<key>[\w-]+):.*?\s#\s*\([^)]*\)\s*(?P<meaning>.*?)\s*$")
_COUNT = {"type": "integer", "minimum": 1}
_NAMES = {"items": {"type": "string", "minLength": 1}}
_MODE = {"type": "string", "pattern": "^(full|labeled|(uni|pop)0*[1-9][0-9]*)$"}
_SHARES = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 3, "maxItems": 3}


def block_schema(key: str) -> dict[str, Any]:
    """Say what may stand inside a block or a list of RecBole's.

    Args:
        key: name of a setting of RecBole.

    Returns:
        Keywords of a JSON schema, which hold beside the type of the setting; empty if anything may.
    """
    return _BLOCKS.get(key, {})


def _described(key: str, inside: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A closed block with the meaning of each key, from the lines below the block's line in RecBole's file."""
    meanings: dict[str, str] = {}
    block = ""
    for line in (RECBOLE_PROPERTIES / "overall.yaml").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            block = line.partition(":")[0]
        elif block == key and (found := _INNER.match(line)):
            meanings[found["key"]] = found["meaning"]
    properties = {name: {**schema, "description": meanings[name]} for name, schema in inside.items()}
    return {"properties": properties, "additionalProperties": False}


def _by_name(*names: str, of: dict[str, Any]) -> dict[str, Any]:
    return {"properties": dict.fromkeys(names, of), "additionalProperties": False}


def _by_column(of: dict[str, Any]) -> dict[str, Any]:
    return {"additionalProperties": of}


def _split() -> dict[str, Any]:
    values = {kind: {"enum": list(LEFT_OUT)} if kind == "LS" else _SHARES for kind in SPLITS}
    closed = {"properties": values, "additionalProperties": False}
    return {"type": "object", "minProperties": 1, "maxProperties": 1, **closed}


def _columns(with_all: bool) -> dict[str, Any]:
    """Columns by kind of file, in which RecBole suggests kinds and a user may name others."""
    names: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    columns = {"anyOf": [names, {"const": "*"}]} if with_all else names
    return {"properties": dict.fromkeys(SOURCES, columns), "additionalProperties": columns}


_NUMBER = {"type": "number", "minimum": -10, "maximum": 10}
_BUCKETS: dict[str, Any] = {
    "type": "object",
    "properties": {"method": {"enum": ["ED", "LD"]}, "bucket": {}},
    "required": ["method"],
    "additionalProperties": False,
    "if": {"properties": {"method": {"const": "ED"}}},
    "then": {"properties": {"bucket": _COUNT}, "required": ["bucket"]},
}
_INTERVAL = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "number"]}}]}

_NEGATIVE_KEYS: dict[str, dict[str, Any]] = {
    "distribution": {"enum": [*DISTRIBUTIONS, "None", None]},
    "sample_num": {**_COUNT, "maximum": MOST_NEGATIVES},
    "alpha": _NUMBER,
    "dynamic": {"type": "boolean"},
    "candidate_num": {"type": "integer", "minimum": 0, "maximum": MOST_NEGATIVES},
}
_EVAL_KEYS: dict[str, dict[str, Any]] = {
    "split": _split(),
    "group_by": {"enum": ["user", "none", "None", None]},
    "order": {"enum": ["RO", "TO"]},
    "mode": {"anyOf": [_MODE, {"type": "object", **_by_name("valid", "test", of=_MODE)}]},
}
assert set(_NEGATIVE_KEYS) == set(NEGATIVES)
assert set(_EVAL_KEYS) == set(EVAL_ARGS)
_BLOCKS: dict[str, dict[str, Any]] = {
    "eval_args": _described("eval_args", _EVAL_KEYS),
    "train_neg_sample_args": _described("train_neg_sample_args", _NEGATIVE_KEYS),
    "clip_grad_norm": {
        **_by_name("max_norm", "norm_type", of={"type": "number", "exclusiveMinimum": 0}),
        "dependentRequired": {"norm_type": ["max_norm"]},
    },
    "load_col": _columns(with_all=True),
    **dict.fromkeys(("unload_col", "unused_col"), _columns(with_all=False)),
    **dict.fromkeys(
        (
            "alias_of_user_id", "alias_of_item_id", "alias_of_entity_id", "alias_of_relation_id", "normalize_field",
            "numerical_features", "additional_feat_suffix",
        ),
        _NAMES,
    ),
    "benchmark_filename": {"items": {"type": "string"}, "minItems": 3, "maxItems": 3},
    "metrics": {"items": {"type": "string"}, "minItems": 1},
    "topk": {"type": ["array", "integer"], "minimum": 1, "items": _COUNT, "minItems": 1},
    "val_interval": _by_column(_INTERVAL),
    "threshold": {**_by_column({"type": "number"}), "minProperties": 1, "maxProperties": 1},
    "seq_len": _by_column(_COUNT),
    "preload_weight": _by_column({"type": "string"}),
    "discretization": _by_column(_BUCKETS),
    "rm_dup_inter": {"enum": ["first", "last", None]},
    "NEG_PREFIX": {"minLength": 1},
    "transform": {"type": "null"},
}  # fmt: skip

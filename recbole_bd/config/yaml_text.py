"""YAML for settings: read without running any code, and written so that it is read back unchanged."""

import copy
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from recbole_bd.errors import ConfigError

# Limit of values in one YAML document, with all aliases expanded.
_MOST_VALUES = 100_000


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that also reads 1e-3 as a number, as YAML 1.2 does."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper that quotes text such as 1e-3, so that the loader reads it back as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _LineDumper(_Dumper):
    """The dumper for one line: text with a line break is quoted such that the break is escaped."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Represent a text. The other quotes keep a line break as it is."""
        style = None if data.splitlines() in ([], [data]) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_LineDumper.add_representer(str, _LineDumper.represent_str)

for _either in (_Loader, _Dumper):
    _either.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def to_yaml(settings: Mapping[str, Any]) -> str:
    """Write settings as YAML that `load_yaml` reads back unchanged."""
    return yaml.dump(dict(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def write_value(value: Any) -> str:
    """Write a value of YAML's types as one line that `parse_value` reads back unchanged."""
    # JSON is YAML, except for a few characters, infinity and NaN.
    for text in (value if isinstance(value, str) else "", json.dumps(value)):
        if parse_value(text) == value:
            return text
    text = yaml.dump(
        value,
        Dumper=_LineDumper,
        default_flow_style=True,
        default_style='"' if isinstance(value, str) else None,
        width=math.inf,
        sort_keys=False,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def is_name(value: Any) -> bool:
    """Whether a value may be the name of a model or a data set: text without path separators or a leading dot."""
    return isinstance(value, str) and re.fullmatch(r"[\w+-][\w.+-]*", value) is not None


def parse_yaml(text: str) -> Any:
    """Read a YAML document without running any code.

    Raises:
        yaml.YAMLError: the text is not YAML, has tags other than those of plain values, or holds an impossible date or
            number.
        ConfigError: with its aliases expanded, the document has more than 100,000 values.
    """
    return copy.deepcopy(_parsed(text))


@lru_cache(maxsize=128)
def _parsed(text: str) -> Any:
    """Content of `parse_yaml`, kept because the shipped files are read for every configuration."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from error
    left, waiting = _MOST_VALUES, [content]
    while waiting:
        left -= 1
        if left < 0:
            raise ConfigError(f"aliases make this YAML larger than {_MOST_VALUES:,} values")
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return content


def parse_value(text: str) -> Any:
    """Read one command-line value as YAML; text that is not YAML (`[5,inf)`) stays text.

    `None` is read as null too, as users of RecBole write it.

    Raises:
        ConfigError: with its aliases expanded, the value has more than 100,000 values.
    """
    if text == "None":
        return None
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        return text


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a yaml file of settings.

    Raises:
        ConfigError: the file is missing, unreadable, not YAML, or not a mapping of keys.
    """
    try:
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"configuration file {path} is not UTF-8 text") from error
    except ConfigError as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        if symbol := re.search(r"python/[\w/]*:?([\w.]*)", problem):
            asked = f"asks for {symbol[1] or symbol[0]}, which could run code, and is refused"
            raise ConfigError(f"configuration file {path}{place} {asked}") from error
        raise ConfigError(f"configuration file {path}{place} is not YAML: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"configuration file {path} must contain `key: value` lines")
    return content

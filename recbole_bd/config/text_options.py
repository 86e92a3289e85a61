"""Words of the command line, read as the options declare them: text as typed, lists by commas, the rest as YAML."""

from functools import cache
from typing import Any

from recbole_bd.backbones.names import PAIR
from recbole_bd.backbones.registry import recommenders
from recbole_bd.config.known_options import recbole_options, yaml_of_model
from recbole_bd.config.option import Option, declared_options
from recbole_bd.config.property_files import package_options, properties_path
from recbole_bd.config.yaml_text import parse_value

_NULLS = ("", "~", "None", "null", "Null", "NULL")
_TEXT = {"str", "none"}


def read_word(key: str, text: str) -> Any:
    """Read the value of one setting of the command line.

    Args:
        key: the setting, e.g. `student.learner`.
        text: its value as typed.

    Returns:
        The text itself where the option is declared as text; what is in quotation marks is read by YAML's rules, and a
        null, such as `~`, where the option allows none. A list where it is declared as one and the text is words with
        commas, or a single word that is nothing else it may be. Any other value is read as YAML, see `parse_value`.
    """
    value = parse_value(text)
    found = _declarations(key)
    if not found or (isinstance(value, str) and text[:1] in ("'", '"')):
        return value
    option = found[0]
    if all("str" in one.types <= _TEXT for one in found):
        is_null = text in _NULLS and not (text == "~" and option.key.endswith("_separator"))
        return None if is_null and "none" in option.types else text
    if all("list" in one.type.lower() for one in found):
        return _listed(value, option)
    return value


def _listed(value: Any, option: Option) -> Any:
    """The list that words with commas mean, or a single word; a value that is a list or a block already is kept."""
    if isinstance(value, str) and "," in value:
        return [parse_value(word.strip()) for word in value.split(",") if word.strip()]
    is_single = isinstance(value, str | int | float) and not isinstance(value, bool)
    return [value] if is_single and type(value).__name__ not in option.types else value


def _declarations(key: str) -> list[Option]:
    """The option of a key as each yaml file that has it declares it; none for a key inside a block of RecBole."""
    first, *_, last = key.split(".") if "." in key else (key, key)
    if first != last and first not in (*PAIR, "backbones") and first in {**recbole_options(), **package_options()}:
        return []
    return [options[last] for options in _declared() if last in options] or _of_models().get(last, [])


def _declared() -> list[dict[str, Option]]:
    methods = sorted(properties_path("model").glob("*.yaml"))
    return [dict(recbole_options()), package_options(), *map(declared_options, methods)]


@cache
def _of_models() -> dict[str, list[Option]]:
    """Options that are declared for the models of RecBole and of this package, by key."""
    found: dict[str, list[Option]] = {}
    for name in recommenders():
        path = yaml_of_model(name)
        for key, option in declared_options(path).items() if path.is_file() else ():
            found.setdefault(key, []).append(option)
    return found

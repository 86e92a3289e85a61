"""Options as their files declare them, and the checks of their values."""

import math
import os
from datetime import date

import pytest

from recbole_bd.config.option import Option, declared_options
from recbole_bd.config.property_files import properties_path
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import ConfigError

# Search spaces and published values declare nothing: their keys are those of methods.
SHIPPED = sorted(
    path
    for path in properties_path().rglob("*.yaml")
    if path.parent.name not in ("tuning", "reproduce", "pairs") and path.name != "BD-paper.yaml"
)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_key_declares_type_and_meaning(path):
    for option in declared_options(path).values():
        assert option.type, f"{path}: {option.key} has no (type)"
        assert len(option.meaning) > 10, f"{path}: {option.key} has no meaning"


def test_the_papers_file_leaves_nothing_to_the_defaults():
    options = declared_options(properties_path("model", "BD.yaml"))
    paper = load_yaml(properties_path("model", "BD-paper.yaml"))
    assert list(paper) == list(options)
    for key, value in paper.items():
        options[key].check(value, key)


@pytest.mark.parametrize(
    "path", [p for p in SHIPPED if p.parent.name == "model" or p.name == "overall.yaml"], ids=lambda p: p.name
)
def test_every_default_is_inside_its_own_declaration(path):
    for option in declared_options(path).values():
        option.check(option.default, option.key)
        if option.type.startswith(("float", "int")):
            assert option.range, f"{path}: {option.key} declares no range"


@pytest.mark.parametrize(
    ("type_", "meaning", "good", "bad"),
    [("float", "x. Range: (0, 1].", [0.5, 1, 1.0], [0, 0.0, 1.1, "a", None, True, math.nan, math.inf]),
     ("int", "x. Range: [1, inf).", [1, 7], [0, 1.5, "1", None, False]),
     ("int or ~", "x. Range: [1, inf).", [1, None], [0]),
     ("str", "x. One of: a, b.", ["a", "b"], ["c", 1, None]),
     ("bool", "x.", [True, False], [0, "True", None])],
)  # fmt: skip
def test_checks_of_type_and_range(type_, meaning, good, bad):
    option = Option("key", good[0], type_, meaning, "")
    for value in good:
        option.check(value, "key")
    for value in bad:
        with pytest.raises(ConfigError, match=r"^key(=| is empty: expected )"):
            option.check(value, "key")


@pytest.mark.parametrize(
    ("meaning", "shown"),
    [("x. Range: [1, inf).", "Range: [1, inf)."), ("x. One of: a, b.", "One of: a, b."), ("Only a meaning.", "")],
)
def test_the_range_is_shown_where_one_is_declared(meaning, shown):
    assert Option("key", None, "", meaning, "").range == shown


@pytest.mark.parametrize(
    ("value", "message"),
    [(2**70, "key: a number of 71 bits is too large"), ("a\0b", "key='a\\x00b': must be text without zero bytes")],
)
def test_what_no_file_and_no_array_holds_is_refused(value, message):
    with pytest.raises(ConfigError) as error:
        Option("key", None, "int or str", "x.", "").check(value, "key")
    assert str(error.value) == message


@pytest.mark.parametrize("default", [None, date(2020, 1, 1)])
def test_an_option_of_unknown_type_takes_anything(default):
    for value in (1, 0.5, True, "a", [1], {"a": 1}, None):
        Option("key", default, "", "", "").check(value, "key")


def test_a_file_that_is_gone_declares_nothing(tmp_path):
    with pytest.raises(ConfigError) as error:
        declared_options(tmp_path / "gone.yaml")
    assert str(error.value) == f"configuration file {tmp_path / 'gone.yaml'} cannot be read: No such file or directory"


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("one: 1  # (int) The first.\n")
    assert [option.meaning for option in declared_options(path).values()] == ["The first."]
    path.write_text("one: 1  # (int) The first.\ntwo: 2  # (int) The second.\n")
    os.utime(path, ns=(1, 1))
    assert [option.meaning for option in declared_options(path).values()] == ["The first.", "The second."]

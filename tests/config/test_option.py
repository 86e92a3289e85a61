import math

import pytest

from recbole_bd.config.known_options import properties_path
from recbole_bd.config.option import Option, declared_options
from recbole_bd.config.yaml_text import load_yaml, parse_value
from recbole_bd.errors import ConfigError

# A search space and the paper's values declare nothing: their keys are those of methods.
SHIPPED = sorted(
    path for path in properties_path().rglob("*.yaml") if path.parent.name != "tuning" and path.name != "BD-paper.yaml"
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
    ("text", "value"),
    [("1e-3", 0.001), ("1E5", 1e5), (".5", 0.5), ("3", 3), ("True", True), ("None", None), ("~", None),
     ("[5,10]", [5, 10]),
     ("{'RS': [0.8, 0.1, 0.1]}", {"RS": [0.8, 0.1, 0.1]}), ("[5,inf)", "[5,inf)"), ("a b", "a b"), ("", None),
     ("__import__('os').getcwd()", "__import__('os').getcwd()"), ("1e", "1e"), ("-0.5", -0.5)],
)  # fmt: skip
def test_values_are_yaml_and_never_run(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_python_tags_in_yaml_are_refused(tmp_path):
    file = tmp_path / "evil.yaml"
    marker = tmp_path / "ran"
    file.write_text(
        f"seed: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{marker}']]\n"
    )
    with pytest.raises(ConfigError, match=r"line 1 asks for pathlib\.Path\.touch, which could run code"):
        load_yaml(file)
    assert not marker.exists()


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
        with pytest.raises(ConfigError, match="key="):
            option.check(value, "key")

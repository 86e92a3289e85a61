"""YAML as it is read and written."""

import pytest

from recbole_bd.config.yaml_text import load_yaml, parse_value
from recbole_bd.errors import ConfigError


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


def test_anchors_of_a_file_still_serve():
    assert parse_value("{a: &x {b: 1}, c: {<<: *x, d: 2}}") == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}

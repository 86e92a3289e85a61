"""The JSON schema of search spaces: that it is current, and what it takes."""

import json

import pytest

from recbole_bd.config.property_files import SETTINGS_SCHEMA, SPACE_SCHEMA, properties_path
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.tuning.space_schema import space_schema

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schemas():
    return [json.loads(properties_path(name).read_text()) for name in (SETTINGS_SCHEMA, SPACE_SCHEMA)]


@pytest.fixture(scope="module")
def validator(schemas):
    return jsonschema.Draft202012Validator(schemas[1])


def test_the_shipped_schema_is_current(schemas):
    settings, spaces = schemas
    assert space_schema(settings) == spaces, "run: recbole-bd schema --out=properties"


def test_every_shipped_space_is_valid(validator):
    paths = sorted(properties_path("tuning").glob("*.yaml"))
    assert len(paths) > 20
    for path in paths:
        assert [error.message for error in validator.iter_errors(load_yaml(path))] == [], path


@pytest.mark.parametrize(
    "space",
    [
        {"embeding_size": {"choice": [8, 16]}},
        {"student.embeding_size": {"choice": [8, 16]}},
        {"embedding_size": "8"},
        {"embedding_size": {"choice": []}},
        {"embedding_size": {"choise": [8]}},
        {"learning_rate": {"loguniform": [0.1]}},
        {"learning_rate": {"quniform": [0.1, 0.2]}},
        {"learning_rate": {"uniform": [0.1, "a"]}},
    ],
)
def test_what_is_no_space_is_refused(space, validator):
    assert not validator.is_valid(space)

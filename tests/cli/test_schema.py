"""`recbole-bd schema` as a user meets it."""

import json
from pathlib import Path

import pytest

from recbole_bd.config.property_files import SETTINGS_SCHEMA, SPACE_SCHEMA, properties_path


def test_the_schema_is_printed_or_written_as_it_is_shipped(cli):
    shipped = properties_path(SETTINGS_SCHEMA).read_text()
    assert cli("schema") == (0, shipped, "")
    assert cli("schema", "--out=made") == (0, f"made/{SETTINGS_SCHEMA}\nmade/{SPACE_SCHEMA}\n", "")
    assert Path("made", SETTINGS_SCHEMA).read_text() == shipped
    assert Path("made", SPACE_SCHEMA).read_text() == properties_path(SPACE_SCHEMA).read_text()


def test_the_path_is_that_of_the_shipped_schema(cli):
    code, out, err = cli("schema", "--path")
    assert (code, err) == (0, "")
    assert Path(out.strip()).samefile(properties_path(SETTINGS_SCHEMA))


def test_models_of_the_users_own_are_described_too(cli):
    name = "tests.helpers.own_classes:BiasMF"
    code, out, _ = cli("schema", f"--also={name},BPR")
    schema = json.loads(out)
    assert code == 0
    assert name in schema["properties"]
    assert {"width", "spread", "teacher.width"} <= schema["properties"].keys()
    assert "width" in schema["$defs"]["role"]["properties"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["walk"], "schema: unrecognized arguments: walk. See recbole-bd schema --help"),
        (["--path", "--out=x"], "schema: --path names a shipped file, so it cannot be combined with --also and --out"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, message, cli):
    assert cli("schema", *words) == (2, "", f"recbole-bd: error: {message}\n")


def test_a_model_that_does_not_exist_is_named(cli):
    code, out, err = cli("schema", "--also=BRP")
    assert (code, out) == (2, "")
    assert err.startswith("recbole-bd: error: unknown model 'BRP'. Did you mean BPR?")

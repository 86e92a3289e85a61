"""`recbole-bd configs` as a user meets it."""

from pathlib import Path

import pytest

from recbole_bd.cli.configs import shipped_files
from recbole_bd.config.property_files import SETTINGS_SCHEMA, SPACE_SCHEMA, properties_path
from recbole_bd.config.yaml_text import load_yaml


def test_the_list_has_every_file_with_its_purpose(cli):
    code, out, err = cli("configs", "ls")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_files())
    assert len(lines) == len(list(properties_path().rglob("*.yaml")))
    assert all(len(line.split(maxsplit=1)[1]) > 8 and len(line) < 135 for line in lines)
    assert "MovieLens-100K, which comes with RecBole" in out
    assert "$schema" not in out


@pytest.mark.parametrize(
    ("name", "copied", "schema"),
    [
        ("model/BD.yaml", "BD.yaml", SETTINGS_SCHEMA),
        ("properties/model/BD-paper", "BD-paper.yaml", SETTINGS_SCHEMA),
        ("ml-1m", "ml-1m.yaml", SETTINGS_SCHEMA),
        ("tuning/BD.yaml", "BD.yaml", SPACE_SCHEMA),
    ],
)
def test_a_copy_says_the_same_and_names_the_schema_wherever_it_lies(name, copied, schema, cli):
    code, out, err = cli("configs", "cp", name)
    assert (code, err) == (0, "")
    command = "tune --space" if schema == SPACE_SCHEMA else "run --config_files"
    assert out.endswith(f"recbole-bd {command}={copied}\n")
    line, *rest = Path(copied).read_text().splitlines()
    original = next(path for file, path in shipped_files().items() if out.split(" a copy of ")[1].startswith(file))
    assert rest == original.read_text().splitlines()[1:]
    assert load_yaml(copied) == load_yaml(original)
    named = Path(line.removeprefix("# yaml-language-server: $schema="))
    assert named.is_absolute()
    assert named.samefile(properties_path(schema))


def test_nothing_is_overwritten_unless_asked(cli):
    Path("mine.yaml").write_text("epochs: 7\n")
    Path("folder").mkdir()
    expected = "recbole-bd: error: configs cp: mine.yaml exists: name another file, or overwrite it with --force\n"
    assert cli("configs", "cp", "bd.yaml", "mine.yaml") == (2, "", expected)
    assert load_yaml("mine.yaml") == {"epochs": 7}
    assert cli("configs", "cp", "bd.yaml", "mine.yaml", "--force")[0] == 0
    assert load_yaml("mine.yaml") == load_yaml(properties_path("bd.yaml"))
    for _ in range(2):
        code, _, err = cli("configs", "cp", "bd.yaml", "folder")
    assert (code, load_yaml("folder/bd.yaml")) == (2, load_yaml("mine.yaml"))
    assert "folder/bd.yaml exists" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "configs: ls or cp is missing. See recbole-bd configs --help"),
        (["rm"], "configs: 'rm' is neither ls nor cp. See recbole-bd configs --help"),
        (["ls", "bd.yaml"], "configs ls takes no names: recbole-bd configs ls"),
        (["cp"], "configs cp: NAME is missing; recbole-bd configs ls shows the names"),
        (["cp", "BD"], "configs cp: several files are called BD: write model/BD.yaml or tuning/BD.yaml"),
        (["cp", "ml1m.yml"], "configs cp: no file 'ml1m.yml' is shipped. Did you mean dataset/ml-1m.yaml? "
                             "recbole-bd configs ls shows the names"),
        (["cp", "xyzzy"], "configs cp: no file 'xyzzy' is shipped. recbole-bd configs ls shows the names"),
        (["cp", "bd.yaml", "none/"], "configs cp: the folder none does not exist: make it, or name another"),
        (["cp", "bd.yaml", "a", "b"], "configs: unrecognized arguments: b. See recbole-bd configs --help"),
        (
            ["cp", "bd.yaml", "--forse"],
            "configs: unrecognized arguments: --forse. Did you mean --force? See recbole-bd configs --help",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(words, message, cli):
    assert cli("configs", *words) == (2, "", f"recbole-bd: error: {message}\n")
    assert not list(Path().iterdir())

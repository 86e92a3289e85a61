"""Free settings on the command line: what is read, and what is refused."""

import pytest

from recbole_bd.cli.settings_words import parse_arguments, parse_without_dry_run
from recbole_bd.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "settings", "files"),
    [
        (["--seed=5", "--lambda_schedule", "linear"], {"seed": 5, "lambda_schedule": "linear"}, []),
        (["--teacher.learning_rate=1e-2"], {"teacher.learning_rate": 0.01}, []),
        (["--config_files=a.yaml", "b.yaml", "--seed=1"], {"seed": 1}, ["a.yaml", "b.yaml"]),
        (["--config_files", "a.yaml", "b.yaml"], {}, ["a.yaml", "b.yaml"]),
        (["--config_files=a.yaml b.yaml"], {}, ["a.yaml", "b.yaml"]),
        (["--topk=[5,10]", "--teacher.weight_decay", "0"], {"topk": [5, 10], "teacher.weight_decay": 0}, []),
        (["--user_inter_num_interval=[5,inf)"], {"user_inter_num_interval": "[5,inf)"}, []),
        (["--data_path=a=b"], {"data_path": "a=b"}, []),
        (["--seed=1", "--seed=1"], {"seed": 1}, []),
    ],
)
def test_recboles_style_is_read(line, settings, files):
    assert parse_arguments(line) == (settings, files, False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["seed=1"], "'seed=1' is not a setting: write --key=value$"),
        (["--models", "BD", "Pop"], "'Pop' is not a setting: write .* several values .* as --models=BD,Pop$"),
        (["--controls=[a,", "b]"], "several values with commas and without spaces, such as --controls=a,b$"),
        (["--seed"], "--seed has no value: write --seed=value$"),
        (["--helpp"], r"--helpp has no value: write --helpp=value\. Did you mean --help\?"),
        (["--seed", "--model=BD"], "--seed has no value"),
        (["--seed=1", "--seed=2"], "given twice"),
        (["--config_files"], "--config_files needs a file"),
        (["--dryrun"], "--dryrun: write --dry-run, without a value"),
        (["--dry-run=True"], "--dry-run: write --dry-run, without a value"),
    ],
)
def test_what_is_no_setting_is_named(line, message):
    with pytest.raises(ConfigError, match=message):
        parse_arguments(line)


def test_a_command_of_several_runs_has_no_dry_run():
    assert parse_without_dry_run(["--seed=1", "--config_files=a.yaml"]) == ({"seed": 1}, ["a.yaml"])
    with pytest.raises(ConfigError) as error:
        parse_without_dry_run(["--seed=1", "--dry-run"])
    assert str(error.value) == "--dry-run applies to a single run: recbole-bd run --dry-run"


def test_a_file_whose_name_has_a_space_is_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my settings.yaml").touch()
    assert parse_arguments(["--config_files", "my settings.yaml", "a.yaml b.yaml"])[1] == [
        "my settings.yaml",
        "a.yaml",
        "b.yaml",
    ]

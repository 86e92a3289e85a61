"""Free settings on the command line: what is read, and what is refused."""

import pytest

from recbole_bd.cli.settings_words import parse_arguments
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
        (["seed=1"], "'seed=1' is not a setting"),
        (["--seed"], "--seed has no value"),
        (["--seed", "--model=BD"], "--seed has no value"),
        (["--seed=1", "--seed=2"], "given twice"),
        (["--config_files"], "--config_files needs a file"),
    ],
)
def test_what_is_no_setting_is_named(line, message):
    with pytest.raises(ConfigError, match=message):
        parse_arguments(line)

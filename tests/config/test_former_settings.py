"""Settings of earlier versions."""

import pytest

from recbole_bd.config.former_settings import with_todays
from recbole_bd.errors import ConfigError
from tests.helpers.settings import make_config


@pytest.mark.parametrize(("former", "todays"), [(True, ["continued"]), (False, [])])
def test_control_is_read_as_controls(former, todays, quick, tmp_path):
    assert with_todays({"seed": 1, "control": former}, "a file") == {"seed": 1, "controls": todays}
    assert make_config({**quick, "control": former})["controls"] == todays
    assert make_config({**quick, "BD": {"control": former}})["controls"] == todays


def test_settings_without_it_stay():
    assert with_todays({"controls": ["placebo"]}, "a file") == {"controls": ["placebo"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control": "yes"}, r"control='yes': expected bool; write controls: \[continued\] or \[\] \(a file\)"),
        ({"control": True, "controls": []}, "control: controls, which is set too, has replaced it"),
    ],
)
def test_what_says_two_things_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        with_todays(settings, "a file")


@pytest.mark.parametrize("wrong", [["nothing"], ["continued", 1]])
def test_a_control_that_there_is_not_is_refused(wrong, quick):
    with pytest.raises(ConfigError, match=r"must be a list of continued, placebo, or \[\]"):
        make_config({**quick, "controls": wrong})

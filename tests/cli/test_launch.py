"""RecBole's flags for several processes, and the launcher that starts them."""

import pytest

from recbole_bd.cli.launch import Processes, wanted, without_flags
from recbole_bd.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"nproc": 1, "world_size": -1}, None),
        ({"nproc": 2}, Processes(2, 1, 0, "localhost", 5678)),
        (
            {"nproc": 2, "world_size": 6, "group_offset": 4, "ip": "10.0.0.1", "port": "99"},
            Processes(2, 3, 2, "10.0.0.1", 99),
        ),
    ],
)
def test_the_flags_of_recbole_say_how_many(given, expected):
    settings = {**given, "dataset": "d"}
    assert wanted(settings) == expected
    assert settings == {"dataset": "d"}


@pytest.mark.parametrize("given", [{"nproc": 2, "world_size": 5}, {"nproc": 2, "world_size": 4, "group_offset": 1}])
def test_flags_that_do_not_fit_are_refused(given):
    with pytest.raises(ConfigError, match="every machine has nproc processes"):
        wanted(given)
    with pytest.raises(ConfigError, match=r"nproc=0: must be"):
        wanted({"nproc": 0})


def test_flags_are_not_handed_on():
    words = ["run", "--nproc", "2", "--dataset=d", "--ip=x", "--topk", "[5]", "--port", "3"]
    assert without_flags(words) == ["run", "--dataset=d", "--topk", "[5]"]

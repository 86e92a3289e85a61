"""Environment variables by which a launcher describes a process."""

import pytest

from recbole_bd.system.torchrun import local_rank, processes_here, started_rank

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (None, 0, 1)),
        ({"RANK": "3"}, (None, 0, 1)),
        ({"WORLD_SIZE": "4"}, (None, 0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, (3, 1, 2)),
    ],
)
def test_places_are_read_from_the_environment(environment, expected, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (started_rank(), local_rank(), processes_here()) == expected

"""RecBole's flags for several processes, and the launcher that starts them."""

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from recbole_bd.cli import launch as launch_module
from recbole_bd.cli.launch import Processes, launch, wanted, without_flags
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


class Main:
    """The place of torch's launcher: keeps its words, and ends in some way."""

    def __init__(self, ends=None):
        self.words, self.ends = None, ends

    def __call__(self, words):
        self.words = words
        if self.ends is not None:
            raise self.ends


def failed(code: int) -> ChildFailedError:
    failure = ProcessFailure(local_rank=1, pid=7, exitcode=code, error_file="none")
    return ChildFailedError("recbole_bd", {1: failure})


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (None, 0),
        (SystemExit(0), 0),
        (SystemExit(None), 0),
        (SystemExit(3), 3),
        (SystemExit("no such option"), 1),
        (failed(2), 2),
        (failed(-9), 137),
    ],
)
def test_the_exit_code_is_that_of_the_first_process_that_failed(ends, code, monkeypatch):
    monkeypatch.setattr("torch.distributed.run.main", Main(ends))
    assert launch(Processes(2, 1, 0, "localhost", 5678), ["run"]) == code


@pytest.mark.parametrize(
    ("processes", "where"),
    [
        (Processes(2, 1, 0, "localhost", 5678), ["--standalone", "--nproc_per_node=2"]),
        (
            Processes(4, 3, 2, "10.0.0.1", 99),
            ["--nnodes=3", "--node_rank=2", "--master_addr=10.0.0.1", "--master_port=99", "--nproc_per_node=4"],
        ),
    ],
)
def test_the_launcher_is_told_where_and_gets_the_words_without_its_flags(processes, where, monkeypatch):
    main = Main()
    monkeypatch.setattr("torch.distributed.run.main", main)
    launch(processes, ["run", "--nproc=2", "--dataset=d"])
    assert main.words == [*where, "-m", "recbole_bd", "run", "--dataset=d"]


def test_a_process_that_was_started_by_a_launcher_starts_no_other(monkeypatch):
    monkeypatch.setattr(launch_module, "started_rank", lambda: 1)
    settings = {"nproc": 4, "dataset": "d"}
    assert wanted(settings) is None
    assert settings == {"dataset": "d"}

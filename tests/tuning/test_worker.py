"""The process of one trial: what it reads, what it writes, and its exit code."""

import io
import json
import sys

import pytest

from recbole_bd.errors import ConfigError, Interrupted, TrainingError
from recbole_bd.tuning import worker


@pytest.fixture
def work(monkeypatch, capsys):
    """Let a function stand for the run: (exit code, events, standard error, arguments of the run)."""

    def run(end) -> tuple[int, list[dict], str, dict]:
        given = {}

        def run_bd(watch, **arguments):
            given.update(arguments)
            print("a print of RecBole")
            watch({"stage": "distilled", "role": "student", "epoch": 0, "ndcg@5": 0.5})
            return end()

        monkeypatch.setattr(worker, "run_bd", run_bd)
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"seed": 7, "student": {"embedding_size": 2}})))
        monkeypatch.setattr(sys, "stdout", sys.stdout)  # the worker replaces it
        code = worker.main()
        shown = capsys.readouterr()
        return code, [json.loads(line) for line in shown.out.splitlines()], shown.err, given

    return run


VALIDATION = {"validation": {"stage": "distilled", "role": "student", "epoch": 0, "ndcg@5": 0.5}}


def test_validations_and_the_folder_are_events_and_nothing_else_is(work):
    code, events, err, given = work(lambda: {"run_folder": "saved/run"})
    assert (code, events, err) == (0, [VALIDATION, {"folder": "saved/run"}], "a print of RecBole\n")
    assert given == {"command_line": {"seed": 7, "student": {"embedding_size": 2}}, "resume": "auto"}


@pytest.mark.parametrize(
    ("error", "code", "events"),
    [
        (ConfigError("seed=7: is taken"), 2, [{"error": "seed=7: is taken"}]),
        (TrainingError("the loss is not finite"), 1, [{"error": "the loss is not finite"}]),
        (Interrupted(15, "stopped by SIGTERM"), 143, []),
    ],
)
def test_an_error_is_an_event_and_a_stop_is_none(error, code, events, work):
    def end():
        raise error

    assert work(end)[:2] == (code, [VALIDATION, *events])

"""What Weights & Biases is given, with a stand-in for its package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_bd.runs.sent_numbers import OnlyNew, SentNumbers
from recbole_bd.runs.wandb_logger import WandbLogger
from tests.helpers.settings import make_config
from tests.helpers.tools import WandbRun, fake_wandb

LOSS, VALID = {"loss/separate/teacher/cf": 0.5}, {"valid/separate/teacher/ndcg@5": 0.25}
VARIABLES = ("PROJECT", "DIR", "NAME", "RUN_ID", "RESUME")


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


@pytest.fixture
def wandb(monkeypatch):
    def installed(mode="online"):
        module = fake_wandb(mode)
        monkeypatch.setitem(sys.modules, "wandb", module)
        return module

    return installed


def opened(folder: Path, **settings) -> tuple[WandbLogger, OnlyNew]:
    sent = SentNumbers(folder / "sent-wandb.jsonl")
    tool = WandbLogger(make_config(settings), folder, sent)
    return tool, OnlyNew(tool, sent)


def test_settings_are_the_configuration_and_the_epoch_is_the_axis(wandb, tmp_path):
    module = wandb()
    tool, one = opened(tmp_path, **{"teacher.embedding_size": 8})
    one.log_metrics(-1, VALID)
    one.close("finished")
    (run,) = module.runs.values()
    assert run.config["teacher"]["embedding_size"] == 8
    assert run.axes == {"epoch": None, **dict.fromkeys(("loss/*", "train/*", "valid/*", "test/*"), "epoch")}
    assert run.rows == [(0, {"epoch": -1, **VALID})]
    assert run.ends == [0]
    assert tool.where == f"run {run.id}, https://host/{run.id}"


def test_a_run_of_its_own_is_named_after_the_folder(wandb, tmp_path):
    module = wandb()
    opened(tmp_path, wandb_project="mine")
    (given,) = module.given
    assert (given["project"], given["dir"], given["name"]) == ("mine", str(tmp_path), tmp_path.name)
    assert given["resume"] == "allow"
    assert given["settings"].x_transaction_log_flush_interval == 1.0


@pytest.mark.parametrize(
    ("settings", "project"), [({}, None), ({"wandb_project": "recbole"}, None), ({"wandb_project": "mine"}, "mine")]
)
def test_the_users_variables_hold(settings, project, wandb, tmp_path, monkeypatch):
    module = wandb()
    for name in VARIABLES:
        monkeypatch.setenv(f"WANDB_{name}", f"users-{name}")
    opened(tmp_path, **settings)
    (given,) = module.given
    assert given["project"] == project
    assert (given["dir"], given["name"], given["resume"], given["id"]) == (None, None, None, "users-RUN_ID")


def test_an_older_package_has_no_setting_to_flush(wandb, tmp_path):
    module = wandb()
    del module.Settings.model_fields
    opened(tmp_path)
    assert vars(module.given[0]["settings"]) == {}


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_resumed_run_is_continued_and_nothing_is_logged_twice(mode, wandb, tmp_path):
    module = wandb(mode)
    one = opened(tmp_path)[1]
    one.log_metrics(0, LOSS)
    one.log_metrics(0, VALID)
    one.close("interrupted")
    tool, one = opened(tmp_path, distill_epochs=7)
    for values in (LOSS, VALID):
        for step in (0, 1):
            one.log_metrics(step, values)
    one.close("finished")
    (run,) = module.runs.values()
    wanted = [(0, 0, LOSS), (1, 0, VALID), (2, 1, LOSS), (3, 1, VALID)]
    assert run.rows == [(count, {"epoch": step, **values}) for count, step, values in wanted]
    assert (run.ends, run.config["distill_epochs"]) == ([1, 0], 7)
    assert ("in /files" in tool.where) == (mode == "offline")


def test_what_the_server_never_received_is_sent_again(wandb, tmp_path):
    module = wandb()
    one = opened(tmp_path)[1]
    for step in range(3):
        one.log_metrics(step, LOSS)
    (run,) = module.runs.values()
    del run.rows[1:]  # lost by a kill of all processes
    one = opened(tmp_path)[1]
    for step in range(4):
        one.log_metrics(step, LOSS)
    assert run.rows == [(step, {"epoch": step, **LOSS}) for step in range(4)]


@pytest.fixture
def killed(wandb, tmp_path):
    """The one offline run of a process that was killed after three calls, and the folder of its files."""
    module = wandb("offline")
    one = opened(tmp_path)[1]
    for step in range(3):
        one.log_metrics(step, LOSS)
    (run,) = module.runs.values()
    run.dir = str(tmp_path / "wandb" / f"offline-run-2-{run.id}" / "files")
    return run


def reader_says(monkeypatch, lines: list[str], code: int = 0) -> list:
    """Let wandb's reader print lines; returns the commands that are run."""
    commands = []

    def run(command, **_):
        commands.append(command)
        if code:
            raise subprocess.CalledProcessError(code, command)
        return subprocess.CompletedProcess(command, 0, "\n".join(lines).encode())

    monkeypatch.setattr("subprocess.run", run)
    return commands


def test_what_the_files_of_a_killed_process_lack_is_sent_again(killed, tmp_path, monkeypatch):
    parts = [tmp_path / "wandb" / f"{name}-{killed.id}" for name in ("run-0", "offline-run-1", "offline-run-2")]
    for part in parts:
        part.mkdir(parents=True)
    other = tmp_path / "wandb" / "offline-run-1-another"
    other.mkdir()
    lines = ['{"type": "header"}', *(json.dumps({"type": "history", "history": {"item": {"_step": 0}}}) for _ in "a")]
    commands = reader_says(monkeypatch, lines)
    one = opened(tmp_path)[1]
    assert sorted(command[-1] for command in commands) == sorted(map(str, parts[:2]))
    del killed.rows[:]
    for step in range(4):
        one.log_metrics(step, LOSS)
    assert [step for step, _ in killed.rows] == [1, 2, 3]


@pytest.mark.parametrize("lines", [["no JSON"], ["{}"], None])
def test_of_files_that_cannot_be_read_the_last_seconds_are_sent_again(lines, killed, tmp_path, monkeypatch):
    (tmp_path / "wandb" / f"offline-run-1-{killed.id}").mkdir(parents=True)
    reader_says(monkeypatch, lines or [], code=int(lines is None))
    assert opened(tmp_path)[1]._sent.calls == {}


def test_without_files_the_last_seconds_are_sent_again(killed, tmp_path, monkeypatch):
    path = tmp_path / "sent-wandb.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], json.dumps({**json.loads(lines[3]), "time": 4e9}), ""]))
    assert [step for _, step in opened(tmp_path)[1]._sent.calls] == [0, 1]


def test_what_was_logged_while_wandb_was_disabled_is_sent_later(wandb, tmp_path):
    wandb("disabled")
    opened(tmp_path)[1].log_metrics(0, LOSS)
    module = wandb("offline")
    opened(tmp_path)[1].log_metrics(0, LOSS)
    (run,) = module.runs.values()
    assert run.rows == [(0, {"epoch": 0, **LOSS})]


def test_the_run_of_the_users_program_is_used_and_stays_open(wandb, tmp_path):
    module = wandb()
    module.run = WandbRun("theirs", "their project", "online")
    module.run.rows = [(None, {"their": 1})] * 5
    one = opened(tmp_path)[1]
    one.log_metrics(0, LOSS)
    one.close("finished")
    assert (module.given, module.run.ends) == ([], [])
    assert module.run.rows[5:] == [(None, {"epoch": 0, **LOSS})]

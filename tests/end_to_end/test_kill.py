"""Real processes, really killed: kill -9 at random times, signals, and what the program says then.

Four kills; 42 in the long mode, RECBOLE_BD_LONG=1. Processes that are killed are copies of the test's process, which
saves their imports; those that get a signal are programs of their own.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recbole_bd.cli.main import main
from recbole_bd.errors import BDError
from recbole_bd.runs.progress import PROGRESS_FILE, Progress
from recbole_bd.runs.records import read_result
from tests.helpers.bounds import LONG
from tests.helpers.counts import tally
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.forked import forked_children
from tests.helpers.paths import ROOT
from tests.helpers.resuming import run_differences
from tests.helpers.shared import made_once

KILLS = 42 if LONG else 4
PAIRS = [("BPR", "BPR"), ("CDAE", "BPR"), ("SASRec", "GRU4Rec")]
# Settings of the sequential pair: small models, and a split in order of time.
SEQUENTIAL = {
    "TIME_FIELD": "timestamp", "load_col": "{inter: [user_id, item_id, timestamp]}", "MAX_ITEM_LIST_LENGTH": 5,
    "eval_args": "{split: {LS: valid_and_test}, group_by: user, order: TO, mode: full}", "student.hidden_size": 8,
    "student.embedding_size": 8, "teacher.hidden_size": 16, "teacher.inner_size": 16, "teacher.n_layers": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pairs = block_pairs(n_users=300, n_items=160, blocks=4, per_user=20)
    timed = [(*pair, number) for number, pair in enumerate(pairs)]
    write_inter(folder, "blocks", timed, header="user_id:token\titem_id:token\ttimestamp:float")
    return folder


def start(folder: Path, data: Path, pair: tuple[str, str]) -> subprocess.Popen:
    """The program in an empty folder; its words are read from `said`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "said").open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "run_bd.py"), *settings_words(data, pair)], cwd=folder, stdout=stream,
            stderr=stream, env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)],
        )  # fmt: skip


def settings_words(data: Path, pair: tuple[str, str]) -> list[str]:
    settings = {
        "dataset": "blocks", "data_path": data, "teacher_model": pair[0], "student_model": pair[1], "metrics": "[NDCG]",
        "topk": "[5]", "valid_metric": "NDCG@5", "epochs": 5, "distill_epochs": 4, "refresh_period": 3,
        "train_batch_size": 256, "threads": 1, "device": "cpu", **(SEQUENTIAL if pair[0] == "SASRec" else {}),
    }  # fmt: skip
    return [f"--{key}={value}" for key, value in settings.items()]


def run_folder(folder: Path) -> Path | None:
    found = sorted(path.parent for path in (folder / "saved").glob(f"*/{PROGRESS_FILE}"))
    return found[0] if found else None


def lines_logged(folder: Path) -> int:
    """How many lines the log of the run in a folder has so far; nearly every epoch and validation adds one."""
    return sum(log.read_bytes().count(b"\n") for log in (folder / "saved").glob("*/run.log"))


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        assert process.poll() is None, "the process ended"
        time.sleep(0.005)


def absolute(folder: Path, result: dict) -> dict:
    return {**result, "run_folder": str(folder / result["run_folder"])}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """Result of an uninterrupted run of each pair, its log lines, and the mean seconds between two lines."""

    def make(folder: Path, pair: tuple[str, str]):
        with forked_children():
            process = start(folder, data, pair)
        wait_for(lambda: run_folder(folder) is not None, process)
        began = time.monotonic()
        assert process.wait(300) == 0, (folder / "said").read_text()
        lines = lines_logged(folder)
        return absolute(folder, read_result(run_folder(folder))), lines, (time.monotonic() - began) / lines

    return {
        pair: made_once(tmp_path_factory, f"whole-{'-'.join(pair)}", lambda folder, pair=pair: make(folder, pair))
        for pair in PAIRS
    }


@pytest.mark.parametrize("number", range(KILLS))
def test_kill_9_at_a_random_time(number, whole, data, tmp_path, request, monkeypatch):
    pair = PAIRS[number % len(PAIRS)]
    result, lines, seconds = whole[pair]
    # One place in each of as many equal parts of the log as there are kills of this pair, and a moment after it. At a
    # set time a run would be over on a machine that is less busy than it was.
    draw = random.Random(number)
    parts = -(-KILLS // len(PAIRS))
    line = int(
        (number // len(PAIRS) + draw.random()) / parts * (lines - 1)
    )  # after the last line a run soon ends by itself
    with forked_children():
        process = start(tmp_path, data, pair)
    wait_for(lambda: run_folder(tmp_path) is not None and lines_logged(tmp_path) >= line, process)
    time.sleep(draw.random() * seconds)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    stage = Progress.load(run_folder(tmp_path)).reached()
    monkeypatch.chdir(tmp_path)
    assert main(["run", *settings_words(data, pair), "--resume=auto"]) == 0
    (folder,) = (path.parent for path in (tmp_path / "saved").glob("*/result.json"))
    assert run_differences(result, absolute(tmp_path, read_result(folder))) == [], f"killed in {stage}"
    where = re.match(r"(the start|[a-z]+ teacher|[a-z]+ student|[a-z]+)", stage)[0]
    tally(request.config, f"kill -9, {'/'.join(pair)}: bitwise equal after resume")
    tally(request.config, f"kill -9, by what was kept last: {where}")


def resumed(folder: Path | str, where: Path) -> subprocess.CompletedProcess:
    """The program told to go on with a run."""
    command = [sys.executable, str(ROOT / "run_bd.py"), f"--resume={folder}"]
    with forked_children():
        return subprocess.run(command, cwd=where, capture_output=True, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(number, code, whole, data, tmp_path):
    pair = PAIRS[number % 2]
    process = start(tmp_path, data, pair)
    wait_for(lambda: run_folder(tmp_path) is not None, process)
    time.sleep(0.3)
    process.send_signal(number)
    ended_with = process.wait(60)
    said = (tmp_path / "said").read_text().splitlines()
    assert ended_with == code, said[-5:]
    line = r"recbole-bd: stopped by (\w+); progress is saved up to .*\. To resume: recbole-bd run --resume=(.*)"
    told = re.fullmatch(line, said[-1])
    assert told[1] == signal.Signals(number).name
    assert "Traceback" not in "\n".join(said)
    assert read_result(tmp_path / told[2])["status"] == "interrupted"
    again = resumed(told[2], tmp_path)
    assert again.returncode == 0, again.stderr
    assert run_differences(whole[pair][0], absolute(tmp_path, read_result(tmp_path / told[2]))) == []


def test_a_second_process_refuses_and_a_second_signal_stops_at_once(data, tmp_path):
    with forked_children():
        process = start(tmp_path, data, PAIRS[0])
    wait_for(lambda: run_folder(tmp_path) is not None, process)
    second = resumed(run_folder(tmp_path), tmp_path)
    if process.poll() is None:
        assert second.returncode == BDError.exit_code
        assert f"is in use by process {process.pid}" in second.stderr
    process.kill()
    process.wait()

    # The first signal waits for the end of a batch that never comes.
    program = (
        "import signal, time\n"
        "from recbole_bd.system.signals import stoppable\n"
        "with stoppable() as stop, stop.deferred():\n"
        "    print('ready', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
    )
    hanging = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert hanging.stdout.readline() == "ready\n"
    hanging.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert hanging.poll() is None
    hanging.send_signal(signal.SIGTERM)
    assert hanging.wait(10) == -signal.SIGTERM

"""Several processes train one run: the same steps, the same numbers, and an end together.

Where coverage is measured, the processes of `by_several` are programs of their own, started by `torchrun`. All
others, and their launchers, are copies of the test's process, which saves imports.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from recbole_bd import run_bd
from recbole_bd.runs.progress import Progress
from recbole_bd.runs.trained_model import model_files
from tests.helpers import together
from tests.helpers.bounds import LONG
from tests.helpers.forked import forked_children
from tests.helpers.histories import SHORT, write_chains
from tests.helpers.measured import MEASURED
from tests.helpers.paths import ROOT
from tests.helpers.settings import QUICK, alone, for_method, roughly
from tests.helpers.shared import made_once

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
    ENVIRONMENT.pop(name, None)
PAIRS = {
    "BPR": {},
    "NeuMF and CDAE": {
        "teacher_model": "NeuMF",
        "student_model": "CDAE",
        "teacher.dropout_prob": 0.0,
        "student.corruption_ratio": 0.0,
    },
    "LightGCN and BPR": {"teacher_model": "LightGCN", "refresh_users": "rolling"},
    "RD": {"model": "RD"},
    "DML": {"model": "DML"},
    "sampled candidates": {"eval_args": {"mode": "uni5"}},
    "a baseline": {"model": "MultiVAE"},
    "SASRec and GRU4Rec": {
        "teacher_model": "SASRec",
        "student_model": "GRU4Rec",
        "teacher.hidden_dropout_prob": 0.0,
        "teacher.attn_dropout_prob": 0.0,
        "student.dropout_prob": 0.0,
    },
}

# Data and sizes of the pair of sequential models, in the place of the others'.
IN_TIME = {key: SHORT[key] for key in ("dataset", "MAX_ITEM_LIST_LENGTH", "backbones")}


def settings_of(pair: str, block_data, folder: Path) -> dict:
    settings = {
        **QUICK,
        "data_path": str(block_data),
        "checkpoint_dir": str(folder),
        "epochs": 2,
        "distill_epochs": 2,
        "refresh_period": 1,
        "eval_step": 1,
        "warmup_cache": False,
    }
    settings |= PAIRS[pair]
    if "GRU4Rec" in pair:
        sizes = ("teacher.embedding_size", "student.embedding_size")
        settings = {key: value for key, value in settings.items() if key not in sizes}
        return {**settings, **IN_TIME, "data_path": str(write_chains(folder))}
    if "NeuMF" in pair:
        del settings["teacher.embedding_size"]
    if pair == "a baseline":
        return alone(settings)
    return for_method(settings, settings.get("model", "BD"))


def torchrun(count: int, *words: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *words]


@pytest.fixture(scope="module")
def by_one(block_data, tmp_path_factory):
    """Settings of the jobs, and their results with one process."""

    def make(folder: Path):
        settings = {"runs": {pair: settings_of(pair, block_data, folder) for pair in PAIRS}, "models": {}}
        first = run_bd(config_dict=settings["runs"]["BPR"])
        settings["models"] = {role: str(path) for role, path in model_files(first["run_folder"]).items()}
        return settings, together.jobs(settings)

    return made_once(tmp_path_factory, "by-one", make)


@pytest.fixture(scope="module", params=[3] if LONG else [2])
def by_several(request, by_one, block_data, tmp_path_factory):
    """The same by two processes, or by three, whose shares are unequal."""
    count = request.param
    return count, made_once(
        tmp_path_factory, f"by-{count}", lambda folder: jobs_of(count, folder, by_one[0], block_data)
    )


def jobs_of(count: int, folder: Path, settings: dict, block_data: Path) -> dict:
    """The results of the jobs with so many processes."""
    runs = {pair: settings_of(pair, block_data, folder) for pair in PAIRS}
    (folder / "settings.json").write_text(json.dumps({**settings, "runs": runs}))
    command = torchrun(
        count,
        str(ROOT / "tests" / "helpers" / "together.py"),
        *(str(folder / f) for f in ("settings.json", "out")),
    )
    environment = ENVIRONMENT | (MEASURED)
    with forked_children():
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=300
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out").read_text())


@pytest.mark.parametrize("ranks", ["binned", "sampled"])
def test_draws_are_those_of_one_process(ranks, by_one, by_several):
    assert by_several[1]["draw"][ranks] == by_one[1]["draw"][ranks]


def test_gradients_are_summed(by_several):
    count, found = by_several[0], by_several[1]["gradients"]
    assert found["used"] == [sum(range(1, count + 1))] * 3
    assert found["unused"] is None
    assert found["some"] == [1.0] * 3  # only the second process's rows reach it, and all know
    assert found["told"] == [{"rank": 0}] * count
    assert found["greatest"] == 7 * (count - 1)
    assert found["parts"][0][0] == 0
    assert found["parts"][-1][1] == 10


@pytest.mark.parametrize("pair", PAIRS)
def test_losses_are_those_of_one_process(pair, by_one, by_several):
    """With equal global batches; but for LightGCN's regulariser, which divides by the rows, and MultiVAE's noise."""
    one, several = by_one[1][pair]["losses"], by_several[1][pair]["losses"]
    assert [row.keys() for row in one] == [row.keys() for row in several]
    # Many of NeuMF's first gradients are almost 0, and Adam makes full steps of their rounding errors.
    tolerance = {"LightGCN and BPR": 1e-3, "NeuMF and CDAE": 3e-2, "a baseline": 5e-2}.get(pair, 1e-4)
    for before, after in zip(one, several, strict=True):
        assert after == roughly(before, tolerance)


def test_an_evaluation_is_that_of_one_process(by_one, by_several):
    for role, found in by_one[1]["evaluate"].items():
        several = by_several[1]["evaluate"][role]
        assert several["users"] == found["users"]
        assert several["values"] == found["values"]
        for part, metrics in found["metrics"].items():
            assert several["metrics"][part] == pytest.approx(metrics, abs=1e-6)


def test_sampled_candidates_are_those_of_one_process(by_one, by_several):
    one, several = (
        json.loads((Path(jobs[1]["sampled candidates"]["run_folder"]) / "result.json").read_text())
        for jobs in (by_one, by_several)
    )
    assert several["data"] == one["data"]
    assert several["data"]["candidates"].keys() == {"valid", "test"}
    for role in ("teacher", "student"):
        for part in ("valid", "test"):
            assert several[role]["separate"][part] == pytest.approx(one[role]["separate"][part], abs=1e-3)


def test_the_first_process_leaves_what_a_run_leaves(by_several):
    folder = Path(by_several[1]["BPR"]["run_folder"])
    names = {path.name for path in folder.iterdir()}
    assert {"result.json", "teacher.pth", "student.pth", "metrics.csv", "per_user.npz", "test_ranks.npz"} <= names
    assert len(list(folder.parent.glob("BD-blocks-*"))) == 4  # a folder a run
    users = np.load(folder / "per_user.npz")["users"]
    assert len(set(users.tolist())) == len(users) == 60


def test_no_thread_of_the_group_outlives_it(by_several):
    """One that lives until the process exits may abort it there."""
    assert not [name for name in by_several[1]["threads after"] if "gloo" in name]


# --- stopping, going on, failing -------------------------------------------------------------------------------------
def words_of(settings: dict) -> list[str]:
    return [f"--{key}={json.dumps(value)}" for key, value in settings.items()]


def wait_for(condition, seconds=90):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing came of it"
        time.sleep(0.1)


@pytest.mark.usefixtures("forked")
def test_stopped_with_two_it_goes_on_with_three_and_with_one(block_data, tmp_path):
    settings = {**settings_of("BPR", block_data, tmp_path / "saved"), "distill_epochs": 400, "stopping_step": 1000}
    settings |= {"control": False, "warmup_cache": False, "rest_at_best": False}
    command = torchrun(2, str(ROOT / "run_bd.py"), *words_of(settings))
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stdout=log, stderr=log)
        wait_for(lambda: "distilled: epoch 3 " in (tmp_path / "log").read_text())
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) != 0
    text = (tmp_path / "log").read_text()
    assert "stopped by SIG" in text
    (folder,) = (tmp_path / "saved").glob("BD-*")
    reached = Progress.load(folder)
    assert reached.stage == "distilled"
    epochs = reached.place["epoch"] + 3
    changed = {"distill_epochs": epochs}
    whole = {**settings, "checkpoint_dir": str(tmp_path / "whole"), **changed}
    expected = Progress.load(Path(run_bd(config_dict=whole)["run_folder"])).journal["losses"]
    words = ["--resume", str(folder), *words_of(changed)]
    command = torchrun(3, str(ROOT / "run_bd.py"), *words)
    with (tmp_path / "again").open("w") as log:
        run = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stdout=log, stderr=log)
        mark = f"distilled: epoch {reached.place['epoch'] + 1} "
        wait_for(lambda: mark in (tmp_path / "again").read_text() or run.poll() is not None)
        run.send_signal(signal.SIGTERM)
        run.wait(60)
    assert mark in (tmp_path / "again").read_text()
    command = [sys.executable, str(ROOT / "run_bd.py"), *words]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = Progress.load(folder).journal["losses"]
    assert len(found) == len(expected)
    for before, after in zip(expected, found, strict=True):
        assert after == roughly(before, 1e-3)


def two_that_train(block_data, tmp_path):
    """A launcher whose two processes train without end, and these two."""
    settings = {**settings_of("BPR", block_data, tmp_path / "saved"), "distill_epochs": 5000, "stopping_step": 5000}
    command = torchrun(2, str(ROOT / "run_bd.py"), *words_of({**settings, "rest_at_best": False}))
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stdout=log, stderr=log)
    wait_for(lambda: "distilled: epoch 1 " in (tmp_path / "log").read_text())
    own = psutil.Process(run.pid).children()
    assert len(own) == 2
    return run, own


def are_running(processes) -> bool:
    return any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


@pytest.mark.usefixtures("forked")
def test_a_process_that_is_killed_ends_all(block_data, tmp_path):
    run, own = two_that_train(block_data, tmp_path)
    own[1].kill()
    assert run.wait(60) != 0
    assert not are_running(own)
    assert "exitcode  : -9" in (tmp_path / "log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
@pytest.mark.usefixtures("forked")
def test_none_is_left_behind_by_a_launcher_that_is_killed(block_data, tmp_path):
    run, own = two_that_train(block_data, tmp_path)
    run.kill()
    wait_for(lambda: not are_running(own), 60)
    (folder,) = (tmp_path / "saved").glob("BD-*")
    assert Progress.load(folder).stage == "distilled"  # they kept their place


@pytest.mark.usefixtures("forked")
def test_an_error_of_the_user_is_said_and_ends_all(block_data, tmp_path):
    settings = {**settings_of("BPR", block_data, tmp_path / "saved"), "student.learning_rate": 1e20}
    words = ["run", "--nproc=2", *words_of(settings)]
    done = subprocess.run(
        [sys.executable, "-m", "recbole_bd", *words],
        env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "process 0: error: the student's loss is not finite" in done.stderr or "broken" in done.stderr
    assert "Traceback" not in done.stderr

"""`recbole-bd leaderboard` with real runs: what is reused, what is refused, and what is shown again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.errors import BDError, LeaderboardError
from recbole_bd.leaderboard.command import run_leaderboard
from recbole_bd.leaderboard.run_reader import runs_below
from tests.helpers.boards import two_roles, write_board, write_run
from tests.helpers.forked import forked_children
from tests.helpers.paths import ROOT
from tests.helpers.resuming import Killed, writes_counted
from tests.helpers.settings import QUICK, alone

KINDS = ("md", "csv", "tex", "html", "png", "parameters.png")


def bytes_of(folder: Path) -> dict:
    return {kind: (folder / f"leaderboard.{kind}").read_bytes() for kind in KINDS}


@pytest.fixture(scope="module")
def ran(block_data, tmp_path_factory):
    """A leaderboard of Pop and BD with two seeds; the runs of Pop were there before."""
    folder = tmp_path_factory.mktemp("saved")
    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(folder)}
    earlier = [run_bd("Pop", config_dict={**alone(settings), "seed": seed})["run_folder"] for seed in (1, 2)]
    given = {**settings, "models": "Pop,BD", "seeds": "1,2", "jobs": 2, "threads": 1}
    with forked_children():
        return folder, given, earlier, run_leaderboard(given)


@pytest.mark.slow
def test_runs_what_is_missing_and_reuses_what_is_there(ran):
    folder, given, earlier, shown = ran
    runs = runs_below(folder)
    assert sorted((run.result["method"], run.result["seed"]) for run in runs) == [
        ("BD", 1),
        ("BD", 2),
        ("Pop", 1),
        ("Pop", 2),
    ]
    assert all(run.result["status"] == "finished" for run in runs)
    assert set(earlier) < {str(run.folder) for run in runs}
    for name in ("Pop", "teacher, separate", "teacher, continued", "teacher, BD", "student, continued", "student, BD"):
        assert name in shown
    before = bytes_of(folder / "leaderboard-blocks")
    assert run_leaderboard(given) == shown
    assert len(runs_below(folder)) == 4
    assert bytes_of(folder / "leaderboard-blocks") == before


def test_everything_comes_again_from_run_folders_byte_by_byte(ran, tmp_path):
    folder, _, _, shown = ran
    before = bytes_of(folder / "leaderboard-blocks")
    again = run_leaderboard({"from": str(folder), "out": str(tmp_path / "a")})
    assert again.splitlines()[:-1] == shown.splitlines()[:-1]
    assert bytes_of(tmp_path / "a") == before
    shutil.copytree(folder, tmp_path / "moved")
    run_leaderboard({"from": str(tmp_path / "moved" / "leaderboard-blocks")})
    assert bytes_of(tmp_path / "moved" / "leaderboard-blocks") == before


def test_everything_comes_again_from_one_file_byte_by_byte(ran, tmp_path):
    folder, _, _, shown = ran
    before = bytes_of(folder / "leaderboard-blocks")
    (tmp_path / "runs.jsonl").write_bytes((folder / "leaderboard-blocks" / "leaderboard.jsonl").read_bytes())
    again = run_leaderboard({"from": str(tmp_path / "runs.jsonl"), "out": str(tmp_path / "a")})
    assert again.splitlines()[:-1] == shown.splitlines()[:-1]
    assert bytes_of(tmp_path / "a") == before
    run_leaderboard({"from": str(tmp_path / "runs.jsonl")})
    assert bytes_of(tmp_path / "leaderboard-blocks") == before


def test_a_label_names_the_rows_of_a_run(tmp_path):
    scores = {"teacher/separate": 0.3, "teacher/distilled": 0.4, "student/separate": 0.1, "student/distilled": 0.2}
    write_run(tmp_path, "BD", 1, scores, ("teacher", "student"))
    write_run(tmp_path, "BD", 2, scores, ("teacher", "student"), label="BD, uniform", settings={"temperature": 2.0})
    shown = run_leaderboard({"from": str(tmp_path)})
    for row in ("teacher, separate", "teacher, BD ", "teacher, BD, uniform", "student, BD ", "student, BD, uniform"):
        assert row in shown


def test_a_chosen_reference_is_remembered(tmp_path):
    runs = write_board(tmp_path / "runs")
    out = tmp_path / "out"
    out.mkdir()
    paths = [os.path.relpath(path, out) for path in runs]
    (out / "leaderboard.json").write_text(json.dumps({"reference": "Pop", "runs": paths}))
    assert "differs from the row “Pop”" in run_leaderboard({"from": str(out)})
    assert "differs from the row “BPR”" in run_leaderboard({"from": str(out), "reference": "BPR"})
    assert "differs from “teacher, continued”" in run_leaderboard({"from": str(tmp_path / "runs")})
    only = run_leaderboard({"from": str(tmp_path / "runs"), "models": "Pop,BPR", "seeds": 2})
    assert "BD" not in only
    assert "±" not in only.splitlines()[3]


WRONG = {
    "no models": ({"seeds": "1"}, "--models is missing"),
    "no seeds": ({"models": "Pop"}, "--seeds is missing"),
    "empty seeds": ({"models": "Pop", "seeds": ","}, "--seeds is missing"),
    "seeds of another kind": ({"models": "Pop", "seeds": {"a": 1}}, "expected names or numbers separated by commas"),
    "models of another kind": ({"models": [["Pop"]], "seeds": "1"}, "expected names or numbers separated by commas"),
    "a seed that is none": ({"models": "Pop", "seeds": "1,x"}, "'x' is not a seed"),
    "unknown model": ({"models": "Pop,BRP", "seeds": "1"}, "Did you mean BPR?"),
    "unknown key": ({"models": "Pop,BD", "seeds": "1", "temprature": 2}, "Did you mean temperature?"),
    "one run's key": ({"models": "Pop", "seeds": "1", "model": "BD"}, "a leaderboard takes --models"),
    "one run's key alone": ({"seed": 1}, "--seed applies to a single run; a leaderboard takes --seeds"),
    "jobs": ({"models": "Pop", "seeds": "1", "jobs": 0}, "jobs=0"),
    "unteachable": ({"models": "Pop,BD", "seeds": "1", "teacher_model": "EASE"}, "EASE has no parameters"),
    "unknown data": ({"models": "Pop", "seeds": "1", "dataset": "nowhere"}, "nowhere does not exist"),
    "no folder": ({"from": "none"}, "--from=none: no such file or folder; name a folder of run folders, such as saved"),
    "nothing named": ({"from": ""}, "--from is empty: name a folder"),
    "another file": (
        {"from": str(ROOT / "pyproject.toml")},
        "pyproject.toml is no leaderboard.jsonl: name such a file",
    ),
    "empty folder": ({"from": "."}, "no run found"),
    "from and more": ({"from": ".", "epochs": 3}, "cannot be combined with --epochs"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_nothing_is_run(case, cli, quick, tmp_path):
    given, message = WRONG[case]
    settings = given if "from" in given else {**alone(quick), **given}
    code, out, err = cli("leaderboard", *(f"--{key}={json.dumps(value)}" for key, value in settings.items()))
    assert code == 2
    assert out == ""
    (line,) = err.strip().splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": "BPR,CD"}, "no run found with method BPR, CD; its runs have method BD, Pop"),
        ({"seeds": "7"}, "no run found with seed 7; its runs have seed 1, 2"),
        ({"seeds": "2", "dataset": "ml-1m"}, "with dataset ml-1m, seed 2; its runs have dataset toys; seed 1, 2"),
    ],
)
def test_what_is_missing_is_told_with_what_is_there(given, message, tmp_path):
    write_run(tmp_path, "Pop", 1, {"model/separate": 0.1})
    write_run(tmp_path, "BD", 2, two_roles(0.3, 0.2), ("student",))
    with pytest.raises(BDError) as error:
        run_leaderboard({"from": str(tmp_path), **given})
    assert message in str(error.value)


def test_a_run_folder_in_the_place_of_its_parent_is_told(tmp_path):
    folder = write_run(tmp_path, "Pop", 1, {"model/separate": 0.1})
    with pytest.raises(BDError) as error:
        run_leaderboard({"from": str(folder)})
    assert str(error.value).endswith(f"it is a run folder itself: name the folder that holds it, --from={tmp_path}")
    with pytest.raises(BDError) as error:
        run_leaderboard({"from": str(tmp_path), "out": str(folder / "result.json")})
    assert str(error.value).endswith(f"{folder / 'result.json'} is a file, not a folder")


def test_runs_of_several_data_sets_ask_for_one(tmp_path):
    write_run(tmp_path, "Pop", 1, {"model/separate": 0.1})
    write_run(tmp_path, "EASE", 1, {"model/separate": 0.1}, dataset="games")
    with pytest.raises(BDError, match="runs on games, toys; choose one with --dataset"):
        run_leaderboard({"from": str(tmp_path)})
    assert "EASE" in run_leaderboard({"from": str(tmp_path), "dataset": "games"})


TOY = '''
from recbole_bd.model.base import Distiller

class Toy(Distiller):
    """The student's scores are drawn towards the teacher's on the positives."""

    learners = ("student",)

    def distillation_loss(self, role, batch):
        learner, guide = self.roles[role], self.other(role)
        items = batch.positives[:, None]
        target = guide.target_logits(batch.users, items, learning=False)
        gap = learner.pair_logits(batch.users, items) - target
        toy = self.in_loss_units(role, self.config["toy_weight"], gap.square().mean(), batch.users)
        return {"cf": learner.loss(batch.interaction), "toy": toy}
'''
TOY_YAML = "toy_weight: 0.25  # (float) Weight of the distance. Range: [0, inf).\n"
# In one process, since every start imports torch.
USE = """
import json, sys
from recbole_bd.__main__ import main
settings = [f"--{key}={json.dumps(value)}" for key, value in json.loads(sys.argv[1]).items()]
main(["run", "--help"])
if sys.argv[2] == "run" and main(["run", "--model=Toy", "--seed=1", "--toy_weight=0.5", *settings]):
    sys.exit("run failed")
sys.exit(main(["leaderboard", "--models=Toy", "--seeds=1", "--toy_weight=0.5", *settings]))
"""


def use_toy(quick, path: Path, tmp_path: Path, first: str) -> None:
    """Help, and a leaderboard that finds the run there (`run`) or makes it in a process of its own (`leaderboard`)."""
    settings = {key: value for key, value in quick.items() if key != "refresh_period"}
    command = [sys.executable, "-c", USE, json.dumps({**settings, "threads": 1}), first]
    env = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "--toy_weight (float, default 0.25)\n        Weight of the distance." in done.stdout
    assert "student, Toy" in done.stdout
    (run,) = runs_below(Path(quick["checkpoint_dir"]))
    assert run.result["status"] == "finished"
    assert run.settings["toy_weight"] == 0.5
    assert "distilled" not in run.result["teacher"]


@pytest.mark.slow
def test_a_class_a_line_and_a_yaml_make_a_method(quick, tmp_path):
    copy = tmp_path / "copy"
    for name in ("recbole_bd", "properties"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "recbole_bd" / "model" / "toy.py").write_text(TOY)
    (copy / "properties" / "model" / "Toy.yaml").write_text(TOY_YAML)
    table = copy / "recbole_bd" / "model" / "__init__.py"
    text = table.read_text()
    assert "MODULES = {\n" in text
    table.write_text(text.replace("MODULES = {\n", 'MODULES = {\n    "Toy": "toy",\n'))
    use_toy(quick, copy, tmp_path, "leaderboard")


@pytest.mark.slow
def test_another_package_brings_a_method_by_its_entry_point(quick, tmp_path):
    package = tmp_path / "site"
    (package / "toys-1.0.dist-info").mkdir(parents=True)
    (package / "toys-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    points = package / "toys-1.0.dist-info" / "entry_points.txt"
    points.write_text("[recbole_bd.methods]\nToy = toys:Toy\n")
    (package / "toys.py").write_text(TOY)
    (package / "Toy.yaml").write_text(TOY_YAML)
    use_toy(quick, package, tmp_path, "run")


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_an_unfinished_run_goes_on(tmp_path, quick):
    """A run that a killed leaderboard started is finished in the same folder."""
    from recbole_bd.leaderboard.command import _resolved, entry_of

    settings = {key: value for key, value in quick.items() if key != "show_progress"} | {"threads": 1}
    (config,) = _resolved(["BD"], [2020], settings, ())
    command = entry_of(config).command
    assert command[-1] == "--resume=auto"
    with writes_counted(4, Killed()), pytest.raises(Killed):
        run_bd(config_dict={**settings, "model": "BD", "seed": 2020, "show_progress": False})
    (folder,) = {path.parent for path in Path(quick["checkpoint_dir"]).glob("*/last.ckpt")}
    run_leaderboard({**settings, "models": "BD", "seeds": 2020, "out": str(tmp_path / "out")})
    runs = [path for path in Path(quick["checkpoint_dir"]).glob("*/result.json")]
    assert [path.parent for path in runs] == [folder]
    assert json.loads(runs[0].read_text())["status"] == "finished"


@pytest.mark.parametrize("manifest", [{"runs": "a"}, {"runs": [1]}, {"reference": 5, "runs": []}, {}])
def test_a_damaged_list_of_runs_says_what_to_do(manifest, tmp_path):
    path = tmp_path / "leaderboard.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(BDError) as error:
        run_leaderboard({"from": str(tmp_path)})
    assert str(error.value) == f"{path} is damaged: run the leaderboard again, or use --from=CHECKPOINT_DIR"


def test_a_run_that_is_gone_is_named(tmp_path):
    folder = write_run(tmp_path, "Pop", 1, {"model/separate": 0.1})
    (tmp_path / "leaderboard.json").write_text(json.dumps({"reference": None, "runs": [folder.name, "gone"]}))
    with pytest.raises(BDError) as error:
        run_leaderboard({"from": str(tmp_path)})
    assert str(error.value) == f"--from={tmp_path}: the run folder gone is missing or damaged"


def test_a_leaderboard_of_failed_runs_alone_fails(block_data, tmp_path):
    given = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(tmp_path), "threads": 1}
    given |= {"models": "BD", "seeds": "1", "samples_per_positive": 999}
    with forked_children(), pytest.raises(LeaderboardError, match=r"^no run has finished; the first failed: .+; see "):
        run_leaderboard(given)
    assert "failed" in (tmp_path / "leaderboard-blocks" / "leaderboard.md").read_text()

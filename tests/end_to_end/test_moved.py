"""Runs and data that were moved, and commands from another folder."""

import json
import shutil
from pathlib import Path

import pytest

from recbole_bd import load_data_and_model
from recbole_bd.cli.main import main
from recbole_bd.errors import CheckpointError, Interrupted
from recbole_bd.runs import stages
from recbole_bd.runs.pipeline import run_bd
from recbole_bd.runs.progress import PROGRESS_FILE, Progress
from recbole_bd.runs.trained_model import load_trained
from recbole_bd.system.sealed_archive import load_archive, save_archive
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.serving import read_rows
from tests.helpers.settings import QUICK


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project folder with its data in `d` and a run in `saved`, begun with relative paths."""
    folder = tmp_path_factory.mktemp("project")
    write_inter(folder / "d", "blocks", block_pairs())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_bd(config_dict={**QUICK, "epochs": 1, "distill_epochs": 1, "data_path": "d", "warmup_cache": False})
    return folder


def run_of(project: Path) -> Path:
    (folder,) = project.glob("saved/BD-*")
    return folder


def older(folder: Path) -> None:
    """Make the files of a run as those of earlier versions: paths as they were typed."""
    for path in folder.glob("*.pth"):
        content = load_archive(path)
        about = json.loads(content["about"])
        about["settings"]["data_path"] = "d"
        save_archive(path, {**content, "about": json.dumps(about)})
    path = folder / "config.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join("data_path: d" if line.startswith("data_path:") else line for line in lines) + "\n")


def moved(project: Path, tmp_path: Path, what: str) -> tuple[Path, Path | None]:
    """Move a run, its data, both, or nothing: the run, and the data's new folder where it must be named."""
    new = tmp_path / "new"
    shutil.copytree(project, new)
    if what == "both apart":
        shutil.move(new / "d", tmp_path / "elsewhere")
        return run_of(new), tmp_path / "elsewhere"
    if what == "run":
        return Path(shutil.move(run_of(new), tmp_path / "RUN")), new / "d"
    return run_of(new), None


@pytest.mark.parametrize("version", ["now", "older"])
@pytest.mark.parametrize("what", ["both together", "both apart", "run"])
def test_a_moved_run_recommends_from_anywhere(what, version, project, tmp_path, monkeypatch):
    run, data = moved(project, tmp_path, what)
    if version == "older":
        older(run)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    aside = project.rename(project.with_name("aside"))  # nothing may be found at the old place
    try:
        given = [] if data is None else [f"--data_path={data}"]
        assert main(["recommend", str(run), "--out=r.csv", "-k", "2", *given]) == 0
        assert len(read_rows(Path("r.csv"))) == 120
        assert load_data_and_model(run / "teacher.pth", data_path=data)[2].user_num == 61
    finally:
        aside.rename(project)


@pytest.mark.parametrize("version", ["now", "older"])
def test_a_run_is_used_from_another_folder(version, project, tmp_path, monkeypatch):
    run = run_of(Path(shutil.copytree(project, tmp_path / "project")))
    if version == "older":
        older(run)
    monkeypatch.chdir(tmp_path)
    assert load_trained(run / "student.pth").split.n_users == 61
    # Data of the same name in the current folder, which an older run's path leads to, is not mistaken for its data.
    write_inter(tmp_path / "d", "blocks", block_pairs(seed=1))
    assert load_trained(run / "student.pth").split.n_users == 61


@pytest.mark.parametrize(
    "command", [["recommend", "--out=r.csv"], ["export", "--format=npz,recbole", "--out=x"], ["serve-bench"]]
)
def test_every_command_takes_the_folder_of_the_data(command, project, tmp_path, cli):
    run, data = moved(project, tmp_path, "both apart")
    about = json.loads(load_archive(run / "student.pth")["about"])
    assert about["settings"]["data_path"] == str(project / "d")
    name, *words = command
    code, _, err = cli(name, str(run), *words, f"--data_path={data}")
    assert (code, err) == (0, "")
    code, _, err = cli(name, str(run), *words, "--data_path=gone")
    assert code == 2
    assert "its data set blocks is not in gone/blocks; name the folder that holds blocks/ with --data_path=DIR" in err


def test_other_data_is_refused_wherever_it_is(project, tmp_path):
    write_inter(tmp_path / "d", "blocks", block_pairs(seed=1))
    with pytest.raises(CheckpointError, match=r"the data set blocks in .* or its split is not the one this model was"):
        load_data_and_model(run_of(project) / "student.pth", data_path=tmp_path / "d")


def stopped(folder: Path, monkeypatch, **settings) -> Path:
    """A run of this folder, stopped after the warm-up of the teacher."""
    monkeypatch.chdir(folder)

    def stop(self, *_):
        raise Interrupted(2, "stopped")

    with monkeypatch.context() as patch:
        patch.setattr(stages.Run, "_over", lambda self: (self._keep(None, None), stop(self)))
        with pytest.raises(Interrupted):
            run_bd(config_dict={**QUICK, "epochs": 1, "distill_epochs": 1, "data_path": "d", **settings})
    return max(folder.glob("saved/BD-*"), key=lambda path: path.stat().st_mtime)


def as_older(folder: Path) -> None:
    """Let the settings in `last.ckpt` and `config.yaml` name paths as they were typed."""
    progress = Progress.load(folder)
    progress.settings["data_path"] = "d"
    progress.save(folder)
    older(folder)


@pytest.mark.parametrize("version", ["now", "older"])
def test_a_stopped_run_resumes_at_its_new_place(version, project, tmp_path, monkeypatch):
    shutil.copytree(project / "d", tmp_path / "old" / "d")
    run = stopped(tmp_path / "old", monkeypatch)
    if version == "older":
        as_older(run)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "old").rename(tmp_path / "new")
    result = run_bd(resume=tmp_path / "new" / "saved" / run.name)
    assert result["status"] == "finished"
    assert not list((tmp_path / "here").iterdir()), "something was written where the command was typed"
    assert not (tmp_path / "old").exists()
    assert len(list((tmp_path / "new" / "saved" / "warmup").glob("*.pth"))) == 2


@pytest.mark.slow
def test_a_stopped_run_finds_its_checkpoint_at_its_new_place(project, tmp_path, monkeypatch):
    shutil.copytree(project / "d", tmp_path / "old" / "d")
    for role in ("teacher", "student"):
        (tmp_path / "old" / "ex").mkdir(exist_ok=True)
        shutil.copy(run_of(project) / f"{role}.pth", tmp_path / "old" / "ex" / f"{role}.pth")
    given = {"teacher.checkpoint": "ex/teacher.pth", "student.checkpoint": "ex/student.pth"}
    run = stopped(tmp_path / "old", monkeypatch, **given)
    before = Progress.load(run).record["hashes"]
    monkeypatch.chdir("/")
    new = (tmp_path / "old").rename(tmp_path / "new")
    shutil.copytree(new / "saved" / run.name, tmp_path / "named" / "RUN")
    assert run_bd(resume=new / "saved" / run.name)["hashes"] == before
    # apart from the run, the files and the data can be named
    here = {key: str(new / path) for key, path in given.items()} | {"data_path": str(new / "d")}
    assert run_bd(resume=tmp_path / "named" / "RUN", config_dict=here)["status"] == "finished"
    shutil.copy(new / "ex" / "teacher.pth", new / "ex" / "student.pth")
    assert (new / "saved" / run.name / PROGRESS_FILE).exists()

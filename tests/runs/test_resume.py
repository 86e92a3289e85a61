"""Resumption of a stopped run: what is refused, and who claims its folder."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_bd import run_bd
from recbole_bd.errors import RunFolderError
from recbole_bd.runs import resume
from recbole_bd.runs.progress import PROGRESS_FILE, Progress


def test_a_folder_without_progress_is_refused(tmp_path, cli):
    code, _, said = cli("run", "--resume=nowhere")
    assert (code, said.count("\n")) == (2, 1)
    assert "nowhere is not a run folder" in said
    (tmp_path / "empty").mkdir()
    code, _, said = cli("run", f"--resume={tmp_path / 'empty'}")
    assert (code, said.count("\n")) == (2, 1)
    assert f"it has no {PROGRESS_FILE}" in said
    assert not list((tmp_path / "empty").iterdir())


def test_a_file_in_the_place_of_a_run_folder_names_its_folder(tmp_path, cli):
    (tmp_path / "result.json").touch()
    code, _, error = cli("run", f"--resume={tmp_path / 'result.json'}")
    assert code == 2
    assert error.endswith(f"is not a run folder but a file; name its folder, {tmp_path}\n")


@pytest.mark.parametrize("is_first", [True, False])
def test_of_several_processes_the_first_claims_the_folder(is_first, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "group", lambda: SimpleNamespace(is_first=is_first))
    with resume.claimed_by_first(tmp_path):
        assert (tmp_path / ".lock").exists() == is_first


def test_runs_that_kept_nothing_are_not_resumed(tmp_path, monkeypatch):
    found = [(tmp_path / name, status) for name, status in (("a", "interrupted"), ("b", "failed"), ("c", "finished"))]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / PROGRESS_FILE).write_bytes(b"")
    monkeypatch.setattr(resume, "run_hashes", lambda config: {"config": "mine"})
    monkeypatch.setattr(resume, "runs_of", lambda wanted, folder: found if wanted == "mine" else [])
    assert resume.unfinished_runs({"checkpoint_dir": str(tmp_path)}) == [tmp_path / "a", tmp_path / "c"]


def test_an_unfinished_run_of_an_earlier_schema_is_refused(finished, tmp_path):
    """Its start was no candidate; a new run has the warm-ups from the cache."""
    result, _ = finished
    folder = Path(shutil.copytree(result["run_folder"], tmp_path / "old"))
    progress = Progress.load(folder)
    progress.record = {**progress.record, "schema": 1}
    progress.save(folder)
    (folder / "result.json").unlink()
    with pytest.raises(
        RunFolderError, match="in which the start of a stage was no candidate for its best state; start"
    ):
        run_bd(resume=folder)


def test_a_moved_run_that_has_finished_is_told_by_its_new_folder(finished, tmp_path):
    result, _ = finished
    moved = Path(shutil.copytree(result["run_folder"], tmp_path / "moved"))
    assert run_bd(resume=moved) == {**result, "run_folder": str(moved)}

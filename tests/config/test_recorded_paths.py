"""Paths in settings, recorded absolute and found again."""

from pathlib import Path

import pytest
import yaml

from recbole_bd.config.recorded_paths import absolute, data_folders, file_of, places_of
from recbole_bd.config.yaml_text import to_yaml
from tests.helpers.data import write_inter
from tests.helpers.settings import make_config


def test_paths_that_are_read_are_recorded_absolute(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config({**quick, "data_path": "../data/", "student.checkpoint": "x/s.pth"})
    recorded = yaml.safe_load(to_yaml(config.as_dict()))
    assert recorded["data_path"] == str(tmp_path.parent / "data")
    assert recorded["student"]["checkpoint"] == str(tmp_path / "x" / "s.pth")
    assert recorded["teacher"]["checkpoint"] is None
    assert recorded["checkpoint_dir"] == quick["checkpoint_dir"]
    monkeypatch.chdir("/")
    assert make_config(recorded).as_dict() == recorded


@pytest.mark.parametrize("value", [None, ""])
def test_no_path_stays_none(value):
    assert absolute(value) == value


def test_a_path_is_looked_for_below_all_folders_above_the_run():
    found = list(places_of("/old/project/data", "/new/saved/RUN"))
    assert found[0] == Path("/old/project/data")
    assert found[1:4] == [Path("/new/saved/RUN/old/project/data"), Path("/new/saved/RUN/project/data"),
                          Path("/new/saved/RUN/data")]  # fmt: skip
    assert found.index(Path("/new/data")) < found.index(Path("/data"))
    assert len(found) == len(set(found)) == 4 * 3, "the last of them is the path itself"


def test_a_relative_path_is_first_looked_for_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_inter(tmp_path / "project" / "d", "base", [(1, 2)])
    assert data_folders("d", "base", "project/saved/RUN") == [tmp_path / "project" / "d"]
    write_inter(tmp_path / "d", "base", [(1, 2)], "train")
    assert data_folders("d", "base", "project/saved/RUN")[0] == Path("d")
    assert data_folders("d", "other", "project/saved/RUN") == []


def test_a_file_is_found_beside_a_moved_run(tmp_path):
    (tmp_path / "ex").mkdir()
    (tmp_path / "ex" / "t.pth").write_text("")
    run = tmp_path / "saved" / "RUN"
    assert file_of("/old/ex/t.pth", run) == str(tmp_path / "ex" / "t.pth")
    assert file_of("/old/ex/s.pth", run) == "/old/ex/s.pth"
    assert file_of("a" * 300, run) == "a" * 300

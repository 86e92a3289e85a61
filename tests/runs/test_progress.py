"""The progress of a run: what is kept, which settings may change, and how runs are found."""

import json
import os

import pytest

from recbole_bd.backbones.snapshot import Snapshot
from recbole_bd.errors import CheckpointError, ConfigError, RunFolderError
from recbole_bd.runs import progress
from recbole_bd.runs.hashes import changed_hashes, file_hash
from recbole_bd.runs.progress import Progress, no_progress, runs_of
from tests.helpers.boards import write_run

RECORD = {"config_hash": "c", "hashes": {"config": "c", "settings": "s"}}
SETTINGS = {"model": "BD", "dataset": "toys", "epochs": 3, "seed": 1, "threads": 1, "student": {"learning_rate": 0.1}}


@pytest.fixture
def kept() -> Progress:
    return Progress(dict(RECORD), dict(SETTINGS), "cpu", "f")


def test_what_was_kept_is_read_again(kept, tmp_path):
    kept.arms = {"separate": {"teacher": Snapshot({}, None, epoch=2, valid={"ndcg@5": 0.5})}}
    kept.stage, kept.place, kept.seconds = "distilled", {"epoch": 1, "step": None}, 2.5
    kept.save(tmp_path)
    assert vars(Progress.load(tmp_path)) == vars(kept)


def test_progress_of_another_version_is_refused(kept, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(progress, "PROGRESS_VERSION", 2)
        kept.save(tmp_path)
    with pytest.raises(CheckpointError) as error:
        Progress.load(tmp_path)
    assert str(error.value) == (f"{tmp_path / 'last.ckpt'} has format version 2, but this recbole-bd reads version 1")


def test_an_archive_of_another_kind_is_refused(kept, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(progress, "PROGRESS_FORMAT", "recbole-bd model")
        kept.save(tmp_path)
    with pytest.raises(CheckpointError) as error:
        Progress.load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'last.ckpt'} is not the progress of a run: expected last.ckpt of a run folder"
    )


def test_a_folder_without_progress_is_refused(tmp_path):
    with pytest.raises(RunFolderError) as error:
        Progress.load(tmp_path)
    assert str(error.value) == f"{tmp_path} cannot be resumed: it has no last.ckpt; start a new run, without --resume"
    run = tmp_path / "saved" / "RUN"
    run.mkdir(parents=True)
    (run / "result.json").touch()
    assert str(no_progress(run.parent)).endswith(f"it has no last.ckpt; run folders in it: {run}")


def test_changes_of_length_are_told_and_those_without_effect_are_not(kept, tmp_path):
    now = {**SETTINGS, "epochs": 9, "threads": 2}
    changes = kept.check_settings(now, "cpu", tmp_path)
    assert changes == [{"setting": "epochs", "before": 3, "now": 9, "after": "the start"}]
    kept.change_settings(now, changes)
    assert kept.settings == now
    assert kept.changes == changes
    assert kept.record["hashes"] == changed_hashes(RECORD["hashes"], changes)
    assert kept.record["config_hash"] == kept.record["hashes"]["config"] != "c"


def test_what_an_earlier_version_did_not_record_is_what_it_did(kept, tmp_path):
    """Options that came later, at the value that means the same, are no change; `control` is read as `controls`."""
    kept.settings["control"] = True
    kept.save(tmp_path)
    kept = Progress.load(tmp_path)
    now = {**SETTINGS, "controls": ["continued"], "placebo": "auto", "guide": "other", "guide_constant": 0.5}
    assert kept.check_settings(now, "cpu", tmp_path) == []
    with pytest.raises(ConfigError, match="cannot resume with guide='self': it was started with 'other'"):
        kept.check_settings({**now, "guide": "self"}, "cpu", tmp_path)


REFUSED = (
    "it was started with {}. Only epochs, distill_epochs, stopping_epochs, stopping_step, early_stopping, stop_on, "
    "eval_step and settings that change no result may differ; start a new run for anything else"
)


@pytest.mark.parametrize(
    ("change", "named", "before"),
    [
        ({"seed": 2}, "seed=2", "1"),
        ({"student": {"learning_rate": 0.5}}, "student.learning_rate=0.5", "0.1"),
        ({"student": {}}, "student.learning_rate=None", "0.1"),
        ({"temperature": 2.0}, "temperature=2.0", "None"),
    ],
)
def test_other_changes_are_refused_by_name(change, named, before, kept, tmp_path):
    with pytest.raises(ConfigError) as error:
        kept.check_settings({**SETTINGS, **change}, "cpu", tmp_path)
    assert str(error.value) == f"{tmp_path} cannot resume with {named}: {REFUSED.format(before)}"


@pytest.fixture
def with_files(kept, tmp_path):
    """A run of lists and of a student's checkpoint; its progress, and the two files by setting."""
    files = {"teacher.teacher_lists": tmp_path / "lists.tsv", "student.checkpoint": tmp_path / "student.pth"}
    for setting, path in files.items():
        path.write_text(f"content of {setting}")
    blocks = {setting.split(".")[0]: {setting.split(".")[1]: str(path)} for setting, path in files.items()}
    begun = Progress.begun(dict(RECORD), {**SETTINGS, **blocks}, "cpu", "f")
    begun.arms = {"separate": {"teacher": Snapshot({}, None, epoch=2, valid={}), "student": Snapshot({}, None, 2)}}
    begun.save(tmp_path)
    return Progress.load(tmp_path), files


def named(settings, setting, path):
    role, _, name = setting.partition(".")
    return {**settings, role: {**settings[role], name: str(path)}}


@pytest.mark.parametrize("setting", ["teacher.teacher_lists", "student.checkpoint"])
@pytest.mark.parametrize("is_over", [True, False])
def test_a_file_of_other_content_is_refused_and_one_that_only_moved_is_not(setting, is_over, with_files, tmp_path):
    run, files = with_files
    run.arms = run.arms if is_over else {}
    run.change_settings({**run.settings, "epochs": 9}, [{"setting": "epochs", "before": 3, "now": 9, "after": ""}])
    before, moved, other = files[setting], tmp_path / "moved", tmp_path / "other"
    moved.write_bytes(before.read_bytes())
    other.write_text("other content")
    assert run.check_settings(named(run.settings, setting, moved), "cpu", tmp_path) == []
    way_out = "name a copy of the file that the run began with, or start a new run"
    with pytest.raises(ConfigError) as error:
        run.check_settings(named(run.settings, setting, other), "cpu", tmp_path)
    assert str(error.value) == (
        f"{tmp_path} cannot resume with {setting}={str(other)!r}: its content is not that of {before} when the run "
        f"began; {way_out}"
    )
    with pytest.raises(ConfigError, match=f"none': there is no such file; {way_out}$"):
        run.check_settings(named(run.settings, setting, tmp_path / "none"), "cpu", tmp_path)
    before.write_text("changed in its place")
    with pytest.raises(ConfigError, match=f"its content is not that of {before} when the run began"):
        run.check_settings(run.settings, "cpu", tmp_path)
    before.unlink()
    assert run.check_settings(run.settings, "cpu", tmp_path) == []  # the run holds the states


def test_files_of_a_run_that_an_earlier_version_began_are_compared_too(with_files, tmp_path):
    run, files = with_files
    run.files = {}
    run.record = {**run.record, "hashes": {"student": file_hash(str(files["student.checkpoint"]))}}
    for setting, before in files.items():
        other = tmp_path / "other"
        other.write_bytes(before.read_bytes())
        assert run.check_settings(named(run.settings, setting, other), "cpu", tmp_path) == []
        other.write_text("other content")
        with pytest.raises(ConfigError, match="its content is not that of"):
            run.check_settings(named(run.settings, setting, other), "cpu", tmp_path)


def test_another_model_is_refused_before_its_settings_are_read(kept, tmp_path):
    kept.check_models({"model": "BD", "dataset": None, "nonsense": 1}, tmp_path)
    with pytest.raises(ConfigError) as error:
        kept.check_models({"model": "RD"}, tmp_path)
    assert str(error.value) == f"{tmp_path} cannot resume with model='RD': {REFUSED.format(repr('BD'))}"


def test_another_kind_of_device_is_refused(kept, tmp_path):
    with pytest.raises(ConfigError) as error:
        kept.check_settings(SETTINGS, "cuda", tmp_path)
    assert str(error.value) == (
        f"{tmp_path} cannot resume with device=cuda: it was started on cpu, which gives different numbers"
    )


@pytest.mark.parametrize("now", [1, 3])
def test_the_length_of_arms_stays_once_one_has_ended(now, kept, tmp_path):
    kept.settings["distill_epochs"] = 2
    kept.arms = {"separate": {}, "distilled": {}}
    with pytest.raises(ConfigError) as error:
        kept.check_length({**SETTINGS, "distill_epochs": now}, tmp_path)
    assert str(error.value) == (
        f"{tmp_path} cannot resume with distill_epochs={now}: the arm distilled has ended with 2, and arms of "
        "different length cannot be compared; start a new run"
    )


@pytest.mark.parametrize(("controls", "now", "is_refused"), [(["continued"], 4, 1), (["continued"], 5, 0), ([], 1, 0)])
def test_an_arm_is_no_longer_than_its_controls(controls, now, is_refused, kept, tmp_path):
    kept.settings |= {"distill_epochs": 9, "controls": controls}
    kept.stage, kept.place = "distilled", {"epoch": 4, "step": 3}
    settings = {**SETTINGS, "controls": controls, "distill_epochs": now}
    if is_refused:
        with pytest.raises(ConfigError, match=r"the arm distilled is in epoch 4, .*; name at least 5$"):
            kept.check_length(settings, tmp_path)
    else:
        kept.check_length(settings, tmp_path)
        assert [change["setting"] for change in kept.check_settings(settings, "cpu", tmp_path)] == ["distill_epochs"]


@pytest.mark.parametrize(
    ("arms", "stage", "place", "words"),
    [
        ({}, None, None, "the start"),
        ({"separate": {"teacher": None, "student": None}}, None, None, "separate student"),
        ({"separate": {"teacher": None}}, "separate student", {"epoch": 2, "step": None}, "separate student, epoch 2"),
        ({}, "distilled", {"epoch": 0, "step": 5}, "distilled, epoch 0, batch 5"),
    ],
)
def test_where_a_run_is_is_said_in_words(arms, stage, place, words, kept):
    kept.arms, kept.stage, kept.place = arms, stage, place
    assert kept.reached() == words
    assert kept.resume_point("distilled") == (place if stage == "distilled" else None)


def test_runs_are_found_the_newest_first_and_damaged_ones_are_passed_over(tmp_path, caplog):
    folders = {}
    for age, name in enumerate(("old", "new", "other", "damaged")):
        changes = {"config_hash": "mine" if name != "other" else "another"}
        folders[name] = write_run(tmp_path, "Pop", 1, {"model/separate": 0.1}, name=name, **changes)
        if name == "damaged":
            (folders[name] / "result.json").write_text(json.dumps({"schema": 1}))
        os.utime(folders[name] / "result.json", ns=(age, age))
    assert list(runs_of("mine", tmp_path)) == [(folders["new"], "finished"), (folders["old"], "finished")]
    lacking = "status, method, dataset, seed, valid_metric, learners, config_hash, hashes, command"
    path = folders["damaged"] / "result.json"
    assert caplog.messages == [f"run folder skipped: {path} is damaged: it lacks {lacking}"]

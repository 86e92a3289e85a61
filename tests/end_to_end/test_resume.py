"""A run that was stopped and went on equals one that was never stopped, in every bit."""

import json
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.errors import CheckpointError, ConfigError, Interrupted, InUseError, RunFolderError
from recbole_bd.model import METHODS
from recbole_bd.runs import warmups
from recbole_bd.runs.progress import PROGRESS_FILE, Progress
from recbole_bd.trainer.resumable import Keeper
from tests.helpers.bounds import LONG
from tests.helpers.resuming import Killed, run_differences, writes_counted
from tests.helpers.settings import alone, for_method


def killed_at_write(number: int, settings: dict) -> Path:
    """Run until `last.ckpt` was written `number` times, and die."""
    with writes_counted(number, Killed()), pytest.raises(Killed):
        run_bd(config_dict=settings)
    return folder_of(settings)


def interrupted_at_batch(monkeypatch, number: int, settings: dict, resume=None) -> Path:
    """Run until the user stops it in batch `number`."""
    count = 0
    batch_done = Keeper.batch_done

    def counting(self, place):
        nonlocal count
        count += 1
        if count == number:
            signal.raise_signal(signal.SIGTERM)
        batch_done(self, place)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "batch_done", counting)
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            run_bd(config_dict=settings, resume=resume)
    return folder_of(settings)


def folder_of(settings: dict) -> Path:
    (folder,) = {path.parent for path in Path(settings["checkpoint_dir"]).glob(f"*/{PROGRESS_FILE}")}
    return folder


def in_folder(settings: dict, folder: Path, **more) -> dict:
    return {**settings, "checkpoint_dir": str(folder), **more}


def short(quick: dict, **more) -> dict:
    """A run of a second: 2 + 2 + 2 + 2 epochs of 4 batches."""
    return {**quick, "epochs": 2, "distill_epochs": 2, "refresh_period": 2, "warmup_cache": False, **more}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "seconds"), [(1, 10), (2, 10), (2, 0)])
def test_a_run_that_dies_after_a_warm_up_was_kept_and_before_its_progress_was(
    number, seconds, quick, tmp_path, monkeypatch
):
    """The warm-up comes from the cache with all that was recorded of it; or, by `last.ckpt`, it ends a second time."""
    settings = short(quick, warmup_cache=True, checkpoint_seconds=seconds, metrics=["NDCG", "Hit"])
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    count, save = 0, warmups.save_model

    def counting(*args):
        nonlocal count
        count += 1
        save(*args)
        if count == number:
            raise Killed

    died = in_folder(settings, tmp_path / "died")
    with monkeypatch.context() as patch:
        patch.setattr(warmups, "save_model", counting)
        with pytest.raises(Killed):
            run_bd(config_dict=died)
    resumed = run_bd(resume=folder_of(died))
    assert run_differences(whole, resumed) == []


@pytest.mark.slow
def test_killed_between_epochs_of_a_sampled_loss(quick, tmp_path):
    """Negatives of a CDAE and items by its users' own positives."""
    sampled = {"loss_items": "sampled", "exchange": "pointwise", "samples_of_user": "own", "distill_batch_size": 30}
    pair = {"teacher_model": "CDAE", "student_model": "CDAE", "student.embedding_size": 2}
    settings = short(alone(quick), **pair, **sampled, negatives_leak_held_out=True, train_batch_size=16)
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    for number in (3, 8):  # in the teacher's warm-up, and in the distillation
        mine = in_folder(settings, tmp_path / str(number))
        result = run_bd(resume=killed_at_write(number, mine))
        assert run_differences(whole, result) == []


PAIRS = [("BPR", "BPR"), ("CDAE", "BPR")]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_killed_after_any_checkpoint(pair, quick, tmp_path, monkeypatch):
    teacher, student = pair
    settings = short(alone(quick), teacher_model=teacher, student_model=student, **{"student.embedding_size": 2})
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    with writes_counted() as seen:
        run_bd(config_dict=in_folder(settings, tmp_path / "count"))
    total = seen.count
    assert total == 1 + 2 * (2 + 1) + 2 * (2 + 1)  # the beginning; each warm-up and each stage: two epochs and its end
    for number in range(1, total + 1) if LONG else range(PAIRS.index(pair) + 1, total + 1, 3):
        mine = in_folder(settings, tmp_path / str(number))
        folder = killed_at_write(number, mine)
        assert json.loads((folder / "result.json").read_text())["status"] == "running" if number > 1 else True
        result = run_bd(resume=folder)
        assert run_differences(whole, result) == [], f"killed after checkpoint {number}"


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("BD", {}),
        ("BD", {"own_loss": "softmax", "weights_average": 0.9}),
        ("BD", {"learning_rate_decay": 0.5, "distill_learning_rate_decay": 0.25}),
        ("BD", {"directions": "teacher_first", "distill_epochs": 4}),
        ("BD", {"directions": "student_first", "distill_epochs": 4}),
        ("BD", {"pause": "switokd"}),
        ("BD", {"refresh_users": "rolling", "refresh_period": 2}),
        ("DE", {"student_start": "new"}),
        *((name, {}) for name in METHODS if name != "BD"),
    ],
)
def test_stopped_within_an_epoch_of_any_method(method, more, quick, tmp_path, monkeypatch):
    settings = for_method(short(quick, model=method, **more), method)
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    batches = 0
    stops = (2, 11, 18, 21, 29)  # of the warm-ups, the distillation, the control
    for number in stops if LONG else stops[::2]:
        mine = in_folder(settings, tmp_path / str(number))
        folder = interrupted_at_batch(monkeypatch, number, mine)
        assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
        assert Progress.load(folder).place["step"] is not None
        result = run_bd(resume=folder)
        assert run_differences(whole, result) == [], f"stopped in batch {number}"
        batches += 1
    assert batches == len(stops if LONG else stops[::2])


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("MultiVAE", "SGL"),  # a step counter; graphs drawn anew every epoch
        ("LINE", "DMF"),  # a shuffled list; a pointwise loss
        ("BPR", "DiffRec"),  # a history of losses
        ("NeuMF", "LightGCN"),
    ],
)
def test_models_that_keep_something_of_their_own(teacher, student, quick, tmp_path, monkeypatch):
    settings = short(alone(quick), teacher_model=teacher, student_model=student)
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    for number in (2, 3, 5, 8, 9, 11) if LONG else (2, 5, 11):  # of each warm-up, the distillation, the control
        mine = in_folder(settings, tmp_path / f"k{number}")
        result = run_bd(resume=killed_at_write(number, mine))
        assert run_differences(whole, result) == [], f"killed after checkpoint {number}"


def test_stopped_again_and_again(quick, tmp_path, monkeypatch):
    settings = short(quick, teacher_model="MultiVAE", student_model="SGL")
    settings = {key: value for key, value in settings.items() if "embedding" not in key}
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    mine = in_folder(settings, tmp_path / "often")
    folder, stops = interrupted_at_batch(monkeypatch, 1, mine), 1
    while json.loads((folder / "result.json").read_text())["status"] != "finished":
        with suppress(pytest.fail.Exception):  # it ran to its end
            interrupted_at_batch(monkeypatch, 3, {"checkpoint_dir": mine["checkpoint_dir"]}, resume=folder)
        stops += 1
    result = json.loads((folder / "result.json").read_text())
    assert stops > 5
    assert run_differences(whole, result) == []


@pytest.mark.parametrize("every", [1, 3])
def test_stopped_in_a_validation(every, quick, tmp_path, monkeypatch):
    settings = short(quick, checkpoint_every=every, eval_batch_size=49 * 10)
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    for number in (1, 4, 9, 15) if LONG else (4, 15):
        mine, count = in_folder(settings, tmp_path / str(number)), 0
        validating = Keeper.validating

        def counting(self, number=number, validating=validating):
            nonlocal count
            count += 1
            if count == number:
                signal.raise_signal(signal.SIGINT)
            validating(self)

        with monkeypatch.context() as patch:
            patch.setattr(Keeper, "validating", counting)
            with pytest.raises(Interrupted, match="stopped by SIGINT"):
                run_bd(config_dict=mine)
        assert run_differences(whole, run_bd(resume=folder_of(mine))) == [], f"stopped in validation batch {number}"


def test_early_stopping_and_bests_go_on(quick, tmp_path, monkeypatch):
    more = {"epochs": 12, "distill_epochs": 9, "stopping_step": 2, "learning_rate": 0.3}
    settings = short(quick, **more)
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    epochs = {arm: len(whole["timing"][f"{arm}_epoch_s"]) for arm in ("distill", "control")}
    assert min(epochs.values()) < 9, "stopped early, or the test shows nothing"
    for number in (4, 9, 14, 20):
        mine = in_folder(settings, tmp_path / str(number))
        result = run_bd(resume=killed_at_write(number, mine))
        assert run_differences(whole, result) == []
        assert {arm: len(result["timing"][f"{arm}_epoch_s"]) for arm in epochs} == epochs


@pytest.mark.parametrize("model", ["BPR", "RecVAE"])  # the latter with two optimizers and several passes an epoch
def test_a_baseline_goes_on(model, quick, tmp_path, monkeypatch):
    settings = {**alone(quick), "model": model}
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    for number in (2, 3, 5):
        result = run_bd(resume=killed_at_write(number, in_folder(settings, tmp_path / str(number))))
        assert run_differences(whole, result) == []
    if model == "RecVAE":
        folder = interrupted_at_batch_of_its_own_kind(monkeypatch, in_folder(settings, tmp_path / "stopped"))
        assert run_differences(whole, run_bd(resume=folder)) == []


def interrupted_at_batch_of_its_own_kind(monkeypatch, settings: dict) -> Path:
    """Stop a trainer that cannot be left between batches: it goes on to the end of the epoch."""
    from recbole.trainer import RecVAETrainer

    train_epoch = RecVAETrainer._train_epoch

    def signalled(self, *arguments, **named):
        signal.raise_signal(signal.SIGINT)
        return train_epoch(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(RecVAETrainer, "_train_epoch", signalled)
        with pytest.raises(Interrupted, match="stopped by SIGINT"):
            run_bd(config_dict=settings)
    return folder_of(settings)


def test_a_resumed_run_states_the_objective_of_every_arm(quick, tmp_path):
    folder = killed_at_write(9, in_folder(short(quick), tmp_path / "o"))
    result = run_bd(resume=folder)
    assert result["objective"].keys() == {"separate", "distilled", "continued"}


def test_the_time_of_all_parts_counts(quick, tmp_path, monkeypatch):
    mine = in_folder(short(quick), tmp_path / "t")
    folder = killed_at_write(9, mine)
    so_far = Progress.load(folder)
    result = run_bd(resume=folder)
    assert result["timing"]["total_s"] > so_far.seconds > 0
    assert result["timing"]["warmup_teacher_s"] == sum(so_far.journal["seconds"]["warmup_teacher"])


# --- settings that change ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"student.embedding_size": 3}, "student.embedding_size=3: it was started with 2"),
        ({"seed": 1}, "seed=1: it was started with 2020"),
        ({"eval_args": {"split": {"LS": "valid_and_test"}}}, "eval_args"),
        ({"lambda_teacher_to_student": 0.1}, "lambda_teacher_to_student=0.1"),
        ({"student_model": "LINE"}, "student_model='LINE'"),
        ({"model": "RD"}, "model='RD': it was started with 'BD'"),
        ({"train_batch_size": 64}, "train_batch_size=64"),
    ],
)
def test_what_must_not_change_is_refused_by_name(change, named, quick, tmp_path, monkeypatch):
    folder = killed_at_write(8, short(quick))
    before = (folder / PROGRESS_FILE).read_bytes()
    with pytest.raises(ConfigError, match=named):
        run_bd(config_dict=change, resume=folder)
    assert (folder / PROGRESS_FILE).read_bytes() == before


def test_other_data_is_refused(quick, tmp_path, monkeypatch, block_data):
    from tests.helpers.data import block_pairs, write_inter

    write_inter(tmp_path / "data", "blocks", block_pairs())
    folder = killed_at_write(8, {**short(quick), "data_path": str(tmp_path / "data")})
    write_inter(tmp_path / "data", "blocks", block_pairs(seed=1))
    with pytest.raises(Exception, match=r"the data set blocks or its split has changed"):
        run_bd(resume=folder)
    # the same data elsewhere is the same
    assert run_bd(resume=folder, config_dict={"data_path": str(block_data)})["status"] == "finished"


def test_longer_training_is_accepted_logged_and_noted(quick, tmp_path, monkeypatch):
    whole = run_bd(config_dict=in_folder(short(quick, distill_epochs=5), tmp_path / "whole"))
    folder = killed_at_write(8, in_folder(short(quick), tmp_path / "killed"))
    result = run_bd(resume=folder, command_line={"distill_epochs": 5, "threads": 1})
    assert len(result["timing"]["distill_epoch_s"]) == 5
    (change,) = result["changes"]
    assert change == {"setting": "distill_epochs", "before": 2, "now": 5, "after": "distilled, epoch 0"}
    assert "setting changed: distill_epochs is 5 from here on, was 2" in (folder / "run.log").read_text()
    assert result["config_hash"] not in (
        whole["config_hash"],
        Progress.load(Path(whole["run_folder"])).record["config_hash"],
    )
    assert result["teacher"]["separate"] == whole["teacher"]["separate"]


def test_arms_of_different_length_are_refused(quick, tmp_path):
    folder = killed_at_write(11, in_folder(short(quick, distill_epochs=6), tmp_path / "k"))
    reached = Progress.load(folder)
    assert (reached.stage, reached.place["epoch"]) == ("distilled", 3)
    with pytest.raises(ConfigError) as error:
        run_bd(resume=folder, config_dict={"distill_epochs": 3})
    assert str(error.value) == (
        f"{folder} cannot resume with distill_epochs=3: the arm distilled is in epoch 3, and the other arms would be "
        "shorter; name at least 4"
    )
    result = run_bd(resume=folder, config_dict={"distill_epochs": 4})
    assert len(result["timing"]["distill_epoch_s"]) == len(result["timing"]["control_epoch_s"]) == 4


# --- which run --------------------------------------------------------------------------------------------------------
def test_auto_goes_on_with_the_same_settings_only(quick, monkeypatch):
    settings = short(quick)
    folder = killed_at_write(5, settings)
    other = run_bd(config_dict={**settings, "seed": 1}, resume="auto")
    assert other["run_folder"] != str(folder)
    result = run_bd(config_dict=settings, resume="auto")
    assert result["run_folder"] == str(folder)
    again = run_bd(config_dict=settings, resume="auto")
    assert again == json.loads(json.dumps(result))
    assert len(list(folder.parent.glob("*/result.json"))) == 2


def test_a_finished_run_is_left_alone(quick, monkeypatch):
    result = run_bd(config_dict=short(quick))
    folder = Path(result["run_folder"])
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"}
    assert run_bd(resume=folder) == json.loads(json.dumps(result))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"distill_epochs": 9},
            "has finished with distill_epochs=3 and cannot be trained further with 9; start a new",
        ),
        ({"temperature": 3.0}, "cannot resume with temperature=3.0: it was started with 1.0"),
        ({"tempreture": 3.0}, r"unknown setting tempreture.*Did you mean temperature\?"),
        ({"dataset": "ml-1m"}, "cannot resume with dataset='ml-1m'"),
    ],
)
def test_a_finished_run_takes_no_other_settings(quick, settings, message):
    given = short(quick, distill_epochs=3)
    folder = run_bd(config_dict=given)["run_folder"]
    with pytest.raises(ConfigError, match=message):
        run_bd(config_dict=settings, resume=folder)
    assert run_bd(config_dict={"threads": 1, **given}, resume=folder)["status"] == "finished"


def test_a_second_process_is_refused_and_a_lock_left_behind_is_not(quick, monkeypatch):
    from recbole_bd.system.locks import claimed

    folder = killed_at_write(5, short(quick))
    with claimed(folder), pytest.raises(InUseError, match=r"is in use by process \d+"):
        run_bd(resume=folder)
    (folder / ".lock").write_text("999999999")
    (folder / f".{PROGRESS_FILE}.torn").write_text("what a killed process was writing")
    assert run_bd(resume=folder)["status"] == "finished"
    assert [path.name for path in folder.glob(".*")] == [".lock"]


def test_a_failed_run_goes_on_after_the_cause_is_gone(quick, tmp_path, monkeypatch):
    settings = short(quick)
    whole = run_bd(config_dict=in_folder(settings, tmp_path / "whole"))
    mine = in_folder(settings, tmp_path / "failed")
    full = CheckpointError("no space")
    with writes_counted(9, full, instead=True), pytest.raises(CheckpointError, match="no space"):
        run_bd(config_dict=mine)
    folder = folder_of(mine)
    assert json.loads((folder / "result.json").read_text())["status"] == "failed"
    result = run_bd(resume=folder)
    assert "error" not in result
    assert run_differences(whole, result) == []


def test_signals_are_as_before_after_a_run(quick):
    before = signal.getsignal(signal.SIGINT)
    run_bd(config_dict=short(quick))
    assert signal.getsignal(signal.SIGINT) is before


def test_resume_needs_no_error_class_of_its_own():
    assert issubclass(InUseError, RunFolderError)

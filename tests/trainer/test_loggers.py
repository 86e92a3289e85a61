"""Several loggers as one, and TensorBoard."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_bd.errors import CheckpointError, Interrupted
from recbole_bd.trainer.loggers import LoggerGroup, TensorBoardLogger


class Kept:
    """A logger that keeps what it is given; `error` is raised by the methods of the given names."""

    def __init__(self, error: BaseException | None = None, where: tuple[str, ...] = ()):
        self.calls, self.error, self.where = [], error, where

    def _take(self, name, *given):
        self.calls.append(given)
        if name in self.where:
            raise self.error

    def log_metrics(self, step, values):
        self._take("log_metrics", step, values)

    def close(self, status):
        self._take("close", status)


def test_every_logger_receives_every_number_and_is_closed_once():
    loggers = {"one": Kept(), "other": Kept()}
    group = LoggerGroup(loggers)
    group.log_metrics(3, {"loss/separate/teacher/cf": 0.5})
    group.close("finished")
    group.close("failed")
    for one in loggers.values():
        assert one.calls == [(3, {"loss/separate/teacher/cf": 0.5}), ("finished",)]


@pytest.mark.parametrize("where", [("log_metrics",), ("log_metrics", "close")])
def test_a_logger_that_fails_is_told_of_once_and_left_out(where, caplog):
    broken, sound = Kept(OSError(28, "No space left on device"), where), Kept()
    group = LoggerGroup({"wandb": broken, "mlflow": sound})
    for step in range(3):
        group.log_metrics(step, {})
    group.close("finished")
    assert caplog.messages == ["wandb fails and gets no more numbers of this run: No space left on device"]
    assert broken.calls == [(0, {}), ("failed",)]
    assert len(sound.calls) == 4


def test_a_logger_that_cannot_end_is_told_of(caplog):
    sound = Kept()
    LoggerGroup({"wandb": Kept(ValueError("no\nnet"), ("close",)), "mlflow": sound}).close("finished")
    assert caplog.messages == ["wandb cannot write its last numbers: no net"]
    assert sound.calls == [("finished",)]


@pytest.mark.parametrize("where", ["log_metrics", "close"])
def test_the_users_stop_is_no_failure(where):
    group = LoggerGroup({"wandb": Kept(Interrupted(2), (where,))})
    with pytest.raises(Interrupted):
        getattr(group, where)(*((0, {}) if where == "log_metrics" else ("finished",)))


def test_tensorboard_writes_into_an_emptied_folder(tmp_path):
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    (folder / "old").write_text("")
    one = TensorBoardLogger(folder)
    one.log_metrics(-1, {"valid/distilled/student/ndcg@5": 0.25})
    one.log_metrics(0, {"valid/distilled/student/ndcg@5": 0.5, "valid/distilled/student/hit@5": 1.0})
    one.close("finished")
    assert not (folder / "old").exists()
    found = EventAccumulator(str(folder)).Reload()
    written = {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert written == {
        "valid/distilled/student/ndcg@5": [(-1, 0.25), (0, 0.5)],
        "valid/distilled/student/hit@5": [(0, 1.0)],
    }


def test_a_folder_that_cannot_be_emptied_is_named(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refused)
    with pytest.raises(CheckpointError) as error:
        TensorBoardLogger(tmp_path)
    assert str(error.value) == f"{tmp_path} cannot be written: Permission denied"

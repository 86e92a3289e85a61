"""The trained model that a command names."""

from argparse import Namespace

import pytest

from recbole_bd.cli.chosen_model import chosen_model, required_run
from recbole_bd.errors import ConfigError
from recbole_bd.runs import trained_model


@pytest.fixture
def files(monkeypatch):
    """Let files stand for those of a run, and what was loaded for a model."""

    def run(*roles):
        monkeypatch.setattr(trained_model, "model_files", lambda run: {role: f"{run}/{role}.pth" for role in roles})
        monkeypatch.setattr(trained_model, "load_trained", lambda *given: given)

    return run


@pytest.mark.parametrize(
    ("roles", "wanted", "chosen"),
    [
        (("teacher", "student"), None, "student"),
        (("teacher", "student"), "teacher", "teacher"),
        (("model",), None, "model"),
        (("teacher",), None, "teacher"),  # the one named file
    ],
)
def test_the_student_is_chosen_where_there_is_one(roles, wanted, chosen, files):
    files(*roles)
    options = Namespace(run="saved/RUN", role=wanted, data_path="data", allow_code=True)
    assert chosen_model(options, "export", device="cpu") == (f"saved/RUN/{chosen}.pth", "cpu", "data", True)


def test_a_role_that_the_run_lacks_is_refused(files):
    files("teacher", "student")
    with pytest.raises(ConfigError) as error:
        chosen_model(Namespace(run="saved/RUN", role="model"), "export")
    assert str(error.value) == "saved/RUN has no model, only teacher, student"


def test_a_run_must_be_named():
    assert required_run("saved/RUN", "export") == "saved/RUN"
    with pytest.raises(ConfigError) as error:
        required_run(None, "export")
    assert str(error.value) == "export needs a run folder or a model file: recbole-bd export saved/RUN"

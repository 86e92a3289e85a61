"""Trained models that the tests of serving share."""

import pytest

from recbole_bd import run_bd
from recbole_bd.runs.trained_model import load_trained, model_files
from tests.helpers.serving import settings_of


@pytest.fixture(scope="package")
def student(trained_run):
    return load_trained(model_files(trained_run)["student"])


@pytest.fixture(scope="package")
def in_time(sequential_run):
    """Sequential models by name: the teacher SASRec and the student GRU4Rec."""
    trained = map(load_trained, model_files(sequential_run).values())
    return {one.about["model"]: one for one in trained}


@pytest.fixture(scope="package")
def others(block_data, tmp_path_factory):
    """Models of the other families, hardly trained, by name: what they are matters, not how good."""
    folder = tmp_path_factory.mktemp("others")
    more = {"epochs": 1, "distill_epochs": 1, "control": False}
    found = {}
    for teacher, student in (("LightGCN", "NeuMF"), ("CDAE", "MultiVAE"), ("SimpleX", "DMF")):
        settings = settings_of(folder, block_data, teacher_model=teacher, student_model=student, **more)
        settings = {key: value for key, value in settings.items() if "embedding_size" not in key}
        files = model_files(run_bd(config_dict=settings)["run_folder"])
        found |= {teacher: load_trained(files["teacher"]), student: load_trained(files["student"])}
    return found

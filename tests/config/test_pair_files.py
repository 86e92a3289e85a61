"""The files of properties/pairs/: their settings are those of recorded runs."""

import pytest

from recbole_bd.backbones.names import PAIR
from recbole_bd.config.config import BDConfig
from recbole_bd.config.property_files import properties_path
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.leaderboard.run_reader import read_runs
from recbole_bd.model import METHODS
from tests.helpers.paths import ROOT

# The board whose arm BD has the settings of a file.
BOARDS = {
    "citeulike-bpr-cdae": "citeulike-bpr-cdae",
    "citeulike-mf-50-5": "citeulike-mf",
    "citeulike-mf-50-50": "citeulike-mf-same",
}
# Settings that change no number of these runs. No item is drawn by rank discrepancy.
WITHOUT_EFFECT = {"checkpoint_dir", "checkpoint_every", "data_path", "eps_e", "label", "show_progress", "threads"}
# Settings of the models alone that a file of a data set may give.
BY_DATA = {"epochs", "eval_step", "stopping_epochs", "stopping_step", "train_batch_size", "train_neg_sample_args"}
# Where each direction has a width of its own, that of both is not read.
UNREAD = {"citeulike-mf-50-5": {"top_temperature"}}


def test_every_file_has_a_board():
    assert sorted(BOARDS) == sorted(path.stem for path in properties_path("pairs").glob("*.yaml"))


@pytest.mark.parametrize(("name", "board"), BOARDS.items())
def test_a_file_has_the_settings_of_the_records(name, board):
    records = [run for run in read_runs(ROOT / "results" / board / "runs.jsonl") if run.result["label"] == "BD"]
    assert records
    config = BDConfig(
        config_file_list=[properties_path("pairs", f"{name}.yaml")],
        command_line={"topk": records[0].settings["topk"], "device": "cpu"},
        methods=METHODS,
    )
    assert settings_notes(config) == []
    ours = config.as_dict()
    for run in records:
        changed = {key for key in run.settings.keys() | ours.keys() if run.settings.get(key) != ours.get(key)}
        assert changed <= WITHOUT_EFFECT | UNREAD.get(name, set()) | {"seed"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_pair_has_the_same_models_on_other_data(name):
    file = properties_path("pairs", f"{name}.yaml")
    found, other = (
        BDConfig(dataset=dataset, config_file_list=[file], command_line={"device": "cpu"}, methods=METHODS).as_dict()
        for dataset in (None, "ml-100k")
    )
    assert (found["dataset"], other["dataset"]) == ("citeulike", "ml-100k")
    for role in PAIR:
        of_data = {key for key, value in found[role].items() if other[role][key] != value}
        assert of_data <= BY_DATA, role

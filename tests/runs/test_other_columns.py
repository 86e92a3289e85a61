"""Labels and features count where a role or the evaluation reads them, and nowhere else."""

from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.data.split import load_split
from recbole_bd.errors import CheckpointError
from recbole_bd.runs.other_columns import differing, fingerprint_of_role, other_columns
from recbole_bd.runs.trained_model import load_trained
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.finished import log_of
from tests.helpers.histories import CHAINS, SHORT, SMALL, write_chains
from tests.helpers.resuming import Killed, writes_counted
from tests.helpers.settings import QUICK, alone, for_method, make_config

LABELED = {
    **alone(QUICK), "model": "NeuMF", "metrics": ["AUC"], "valid_metric": "AUC", "train_neg_sample_args": None,
    "load_col": {"inter": ["user_id", "item_id", "rating"]}, "threshold": {"rating": 3}, "epochs": 2,
    "eval_args": {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": "user", "mode": "labeled"},
}  # fmt: skip
FEATURES = {
    **for_method(SHORT, "RD"), "model": "RD", "teacher_model": "SASRecF", "student_model": "BPR", "epochs": 1,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class", "price"]},
    "teacher": {key: SMALL[key] for key in ("hidden_size", "inner_size", "n_layers", "n_heads")},
}  # fmt: skip


def write_ratings(folder: Path, turned: bool = False, by: int = 0) -> None:
    """Write ratings from 1 to 5, which may be turned around and moved."""
    ratings = [1 + number % 5 for number in range(len(block_pairs()))]
    rows = [(*pair, (6 - one if turned else one) + by) for pair, one in zip(block_pairs(), ratings, strict=True)]
    write_inter(folder, "blocks", rows, header="user_id:token\titem_id:token\trating:float")


def change(folder: Path, before: str, after: str) -> None:
    """Replace text in the file of the items of `chains`."""
    path = folder / "chains" / "chains.item"
    path.write_text(path.read_text().replace(before, after))


def read_by(folder: Path, settings: dict, role: str = "model", **more) -> tuple[dict[str, str], bool]:
    """The other columns that a role reads, and whether its fingerprint is that of the split."""
    config = make_config({**settings, "data_path": str(folder), **more})
    split, own = load_split(config), config.role(role)
    return other_columns(own, split), fingerprint_of_role(own, split) == split.fingerprint


def test_labels_count_where_they_are_read(tmp_path):
    write_ratings(tmp_path)
    labels, is_that_of_split = read_by(tmp_path, LABELED)
    assert list(labels) == ["inter.label"]
    assert not is_that_of_split
    assert read_by(tmp_path, {**alone(QUICK), "model": "BPR"}) == ({}, True)
    write_ratings(tmp_path, by=0.5)
    assert read_by(tmp_path, LABELED)[0] == labels  # other ratings, and the same labels
    write_ratings(tmp_path, turned=True)
    assert differing(labels, read_by(tmp_path, LABELED)[0]) == ["inter.label"]


def test_ratings_count_for_a_model_that_reads_them(tmp_path):
    write_ratings(tmp_path)
    settings = {**alone(QUICK), "model": "DMF", "load_col": LABELED["load_col"]}
    ratings, _ = read_by(tmp_path, settings, inter_matrix_type="rating")
    assert list(ratings) == ["inter.rating"]
    assert read_by(tmp_path, settings, inter_matrix_type="01") == ({}, True)


def test_features_count_for_the_role_that_reads_them(tmp_path):
    write_chains(tmp_path)
    features, _ = read_by(tmp_path, FEATURES, "teacher")
    assert list(features) == ["item.class"]
    assert read_by(tmp_path, FEATURES, "student") == ({}, True)
    change(tmp_path, "\t0.125\n", "\t7\n")
    assert read_by(tmp_path, FEATURES, "teacher")[0] == features  # no model reads prices
    change(tmp_path, "c0 c0", "c1 c0")
    assert differing(features, read_by(tmp_path, FEATURES, "teacher")[0]) == ["item.class"]


def test_of_a_class_of_the_users_own_all_loaded_columns_count(tmp_path):
    write_chains(tmp_path)
    settings = {**CHAINS, "model": "tests.helpers.own_classes:LouderBPR", "load_col": FEATURES["load_col"]}
    assert list(read_by(tmp_path, settings)[0]) == ["item.class", "item.price"]
    assert read_by(tmp_path, settings, load_col={"inter": FEATURES["load_col"]["inter"]}) == ({}, True)


def test_columns_that_one_side_lacks_do_not_differ():
    assert differing({}, {"item.class": "a"}) == differing({"inter.label": "a"}, {"item.class": "b"}) == []


def test_a_warm_up_by_other_labels_is_not_reused(tmp_path):
    write_ratings(tmp_path)
    settings = {**LABELED, "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved")}
    run_bd(config_dict=settings)
    write_ratings(tmp_path, turned=True)
    assert "warm-up reused" not in log_of(run_bd(config_dict=settings))
    assert "warm-up reused" in log_of(run_bd(config_dict=settings))


@pytest.mark.slow
def test_a_warm_up_by_other_features_is_not_reused(tmp_path):
    write_chains(tmp_path)
    settings = {**FEATURES, "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved")}
    run_bd(config_dict=settings)
    change(tmp_path, "c0 c0", "c1 c0")
    log = log_of(run_bd(config_dict=settings))
    assert log.count("warm-up reused") == log.count("student: warm-up reused") == 1


def test_a_model_is_refused_with_other_labels_and_as_a_start(tmp_path):
    write_ratings(tmp_path)
    settings = {**LABELED, "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved")}
    result = run_bd(config_dict=settings)
    assert list(result["data"]["columns"]) == ["inter.label"]
    path = Path(result["run_folder"]) / "model.pth"
    assert load_trained(path).about["columns"] == result["data"]["columns"]
    write_ratings(tmp_path, turned=True)
    with pytest.raises(CheckpointError, match="or its split is not the one this model was trained on"):
        load_trained(path)
    with pytest.raises(CheckpointError, match="was trained on different data or another split"):
        run_bd(config_dict={**settings, "checkpoint": str(path)})


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_features(tmp_path):
    write_chains(tmp_path)
    settings = {**FEATURES, "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved")}
    with writes_counted(2, Killed()), pytest.raises(Killed):
        run_bd(config_dict=settings)
    (folder,) = (tmp_path / "saved").glob("RD*")
    change(tmp_path, "c0 c0", "c1 c0")
    with pytest.raises(CheckpointError, match="the data set chains or its split has changed"):
        run_bd(config_dict=settings, resume=str(folder))
    change(tmp_path, "i0\tc1 c0", "i0\tc0 c0")
    change(tmp_path, "i15\tc1 c0", "i15\tc0 c0")
    result = run_bd(config_dict=settings, resume=str(folder))
    assert list(result["data"]["columns"]) == ["item.class"]
    path = Path(result["run_folder"])
    change(tmp_path, "c0 c0", "c1 c0")
    assert "columns" not in load_trained(path / "student.pth").about
    with pytest.raises(CheckpointError, match="or its split is not the one this model was trained on"):
        load_trained(path / "teacher.pth")

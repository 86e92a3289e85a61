"""Model files of RecBole as a start: only those of the same split are taken, unless the user knows better."""

from pathlib import Path

import pytest

from recbole_bd import run_bd
from recbole_bd.cli.main import main
from recbole_bd.errors import CheckpointError
from recbole_bd.runs.prepare import prepare
from tests.helpers.damage import recbole_checkpoint
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import alone, make_config, words

MEASURED = {"metrics": ["MRR"], "topk": [5], "valid_metric": "MRR@5"}
SHORT = {"epochs": 1, "distill_epochs": 1, "control": False, "warmup_cache": False} | MEASURED


@pytest.fixture(scope="module")
def of_recbole(tmp_path_factory, block_data):
    """A Trainer of RecBole itself, with its checkpoint's path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("recbole"))
        trainer = recbole_checkpoint(block_data, epochs=30, learning_rate=0.05)
        return trainer, str(Path(trainer.saved_model_file).absolute())


def test_a_checkpoint_of_the_same_split_starts_a_run_as_recbole_left_it(of_recbole, quick):
    trainer, path = of_recbole
    result = run_bd(config_dict={**quick, **SHORT, "teacher.checkpoint": path})
    assert result["teacher"]["separate"]["valid"]["mrr@5"] == pytest.approx(trainer.best_valid_score, abs=5e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 7}, "seed is 2020 there and 7 here"),
        ({"eval_args.split": {"LS": "valid_and_test"}}, "eval_args.split is {'RS': [0.8, 0.1, 0.1]} there"),
        ({"user_inter_num_interval": "[2,inf)"}, "user_inter_num_interval is None there and '[2,inf)' here"),
        ({"rm_dup_inter": "first"}, "rm_dup_inter is None there and 'first' here"),
    ],
)
def test_a_checkpoint_of_another_split_is_refused_in_one_line(changes, named, of_recbole, quick, cli, tmp_path):
    if "eval_args.split" in changes:
        split = changes.pop("eval_args.split")
        changes = {"eval_args": {"split": split, "group_by": "user", "order": "RO", "mode": "full"}}
    settings = words({**quick, **SHORT, "student.embedding_size": 8, **changes})
    for more in ([], ["--dry-run"]):
        code, _, err = cli("run", *settings, f"--student.checkpoint={of_recbole[1]}", *more)
        assert (code, err.count("\n")) == (2, 1), err
        assert named in err
        assert "--student.checkpoint_split=trusted" in err
    assert not Path(quick["checkpoint_dir"]).exists()


def test_a_baseline_names_its_own_option(of_recbole, quick):
    settings = alone({**quick, **SHORT, "seed": 7}) | {"model": "BPR", "embedding_size": 8, "checkpoint": of_recbole[1]}
    del settings["control"], settings["distill_epochs"]
    with pytest.raises(CheckpointError, match="or --checkpoint_split=trusted if"):
        run_bd(config_dict=settings)
    result = run_bd(config_dict=settings | {"checkpoint_split": "trusted"})
    assert result["status"] == "finished"


def test_a_trusted_checkpoint_changes_no_hash(of_recbole, quick):
    settings = {**quick, **SHORT, "teacher.checkpoint": of_recbole[1]}
    trusted = run_bd(config_dict=settings | {"teacher.checkpoint_split": "trusted"})
    checked = run_bd(config_dict=settings)
    assert trusted["hashes"] == checked["hashes"]
    assert trusted["teacher"] == checked["teacher"]


def test_other_data_under_the_same_settings_is_noticed_by_its_validation(of_recbole, quick, tmp_path):
    write_inter(tmp_path / "d", "blocks", block_pairs(seed=1))
    settings = {**quick, **SHORT, "data_path": str(tmp_path / "d"), "teacher.checkpoint": of_recbole[1]}
    with pytest.raises(CheckpointError, match=r"records mrr@5 0\.\d+ on its validation part, but has 0\.\d+ on this"):
        run_bd(config_dict=settings)
    assert run_bd(config_dict=settings | {"teacher.checkpoint_split": "trusted"})["status"] == "finished"


def test_an_export_for_recbole_starts_runs_of_its_own_split_only(quick, tmp_path, capsys):
    settings = {**quick, **SHORT, "epochs": 20}
    first = run_bd(config_dict=settings)
    assert main(["export", first["run_folder"], "--format=recbole", "--role=teacher", f"--out={tmp_path / 'ex'}"]) == 0
    again = {**settings, "epochs": 1, "teacher.checkpoint": str(tmp_path / "ex" / "teacher-recbole.pth")}
    result = run_bd(config_dict=again)
    assert result["teacher"]["separate"]["test"] == first["teacher"]["distilled"]["test"]
    with pytest.raises(CheckpointError, match="seed is 2020 there and 7 here"):
        run_bd(config_dict={**again, "seed": 7})


# The models that are trained before, by backbone: the setting that names the file of each, its class and settings.
BEFORE = {
    "NAIS": [("pretrain_path", "NAIS", {"embedding_size": 8, "weight_size": 8})],
    "ConvNCF": [("pre_model_path", "BPR", {"embedding_size": 64})],
    "NeuMF": [
        ("mf_pretrain_path", "NeuMF", {"mf_train": True, "mlp_train": False}),
        ("mlp_pretrain_path", "NeuMF", {"mf_train": False, "mlp_train": True}),
    ],
}
OWN = {
    "NAIS": {"embedding_size": 8, "weight_size": 8},
    "ConvNCF": {"train_method": "after_pretrain"},
    "NeuMF": {"use_pretrain": True},
}


def test_a_role_that_warms_up_from_another_seed_has_the_same_split(block_data, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(Path(recbole_checkpoint(block_data, "NAIS", **OWN["NAIS"]).saved_model_file).absolute())
    both = {f"{role}.{key}": value for role in ("teacher", "student") for key, value in OWN["NAIS"].items()}
    config = make_config({**quick, **both, "teacher_model": "NAIS", "student_model": "NAIS", "pretrain_path": path})
    roles = prepare(config)[1]
    assert all(role.pretrained for role in roles.values())
    seeds = {name: role.config["seed"] for name, role in roles.items()}
    assert seeds["teacher"] == 2020 != seeds["student"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["NAIS", "ConvNCF", "NeuMF"])
def test_a_pretrained_file_of_another_split_is_refused(backbone, block_data, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"model": backbone} | alone({**quick, "epochs": 1}) | MEASURED | OWN[backbone]
    del settings["distill_epochs"]
    for key, model, own in BEFORE[backbone]:
        saved = recbole_checkpoint(block_data, model, **own, checkpoint_dir=str(tmp_path / key)).saved_model_file
        settings[key] = path = str(Path(saved).absolute())
    with pytest.raises(CheckpointError) as error:
        run_bd(config_dict={**settings, "seed": 7})
    assert f"pretrained file {settings[BEFORE[backbone][0][0]]} was trained on another split" in str(error.value)
    assert "seed is 2020 there and 7 here; use the same settings (--split_seed=2020), or" in str(error.value)
    first, trusted = run_bd(config_dict=settings), {**settings, "seed": 7, "checkpoint_split": "trusted"}
    assert first["status"] == run_bd(config_dict=trusted)["status"] == "finished"
    # The trained model does not need the file it started from.
    Path(path).unlink()
    from recbole_bd import load_data_and_model

    assert load_data_and_model(f"{first['run_folder']}/model.pth")[0]["model"] == backbone

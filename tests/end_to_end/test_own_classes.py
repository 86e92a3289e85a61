"""A backbone and a metric of the user's own go through everything that RecBole's go through."""

import json
import shutil
import signal
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from recbole_bd import load_data_and_model, run_bd
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import CheckpointError, ConfigError, Interrupted
from recbole_bd.leaderboard.run_reader import read_run
from recbole_bd.runs import hashes
from recbole_bd.runs.trained_model import load_trained
from recbole_bd.system import own_classes
from tests.helpers import own_classes as own
from tests.helpers.paths import ROOT
from tests.helpers.resuming import Killed, run_differences, writes_counted
from tests.helpers.settings import alone

# Whatever is run, its figures can be made.
pytestmark = pytest.mark.figures

OWN = "tests.helpers.own_classes"
BIASED = f"{OWN}:BiasMF"


@pytest.fixture
def owned(quick) -> dict:
    """Settings of a run of an own teacher that is measured by an own metric."""
    del quick["teacher.embedding_size"]
    quick |= {"teacher_model": own.BiasMF, "teacher.width": 6, "metrics": ["NDCG", own.FirstHit]}
    return quick | {"valid_metric": "FirstHit@5", "epochs": 2, "distill_epochs": 2}


@pytest.fixture
def importable(monkeypatch):
    """Let child processes import the tests' modules wherever they start."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_class_from_python_is_kept_by_its_name_and_found_again(owned):
    result = run_bd(config_dict=owned)
    folder = Path(result["run_folder"])
    kept = load_yaml(folder / "config.yaml")
    assert (kept["teacher_model"], kept["metrics"]) == (BIASED, ["NDCG", f"{OWN}:FirstHit"])
    assert (kept["teacher"]["width"], kept["teacher"]["spread"]) == (6, 0.1)
    assert result["teacher"]["model"] == BIASED
    assert result["objective"]["separate"]["teacher"] == "loss(teacher) = BiasMF"
    assert {"ndcg@5", "firsthit@5"} == result["teacher"]["distilled"]["test"].keys()
    assert 0 < result["teacher"]["distilled"]["test"]["firsthit@5"] <= 1
    for arm in ("separate", "distilled"):  # one held-out item: each user's hit is 0 or 1
        assert f"teacher/{arm}/firsthit@5" in read_run(folder).per_user()[1]
    with pytest.raises(CheckpointError, match=r"needs .*BiasMF.* allow_code=True in Python"):
        load_data_and_model(folder / "teacher.pth")
    config, model, *_ = load_data_and_model(folder / "teacher.pth", allow_code=True)
    assert isinstance(model, own.BiasMF)
    assert config["model"] == BIASED
    assert run_bd(config_dict=owned, resume="auto")["run_folder"] == str(folder), "its hash is found again"


def test_a_stopped_run_goes_on_exactly_where_its_classes_are_named_again(owned, tmp_path):
    whole = run_bd(config_dict={**owned, "checkpoint_dir": str(tmp_path / "whole")})
    with writes_counted(3, Killed()), pytest.raises(Killed):
        run_bd(config_dict=owned)
    (folder,) = (path.parent for path in Path(owned["checkpoint_dir"]).glob("*/last.ckpt"))
    again = f"""--teacher_model={BIASED} '--metrics=["NDCG", "{OWN}:FirstHit"]'"""
    with pytest.raises(ConfigError) as error:
        run_bd(resume=folder)
    assert str(error.value).endswith(f"name it yourself: {again}")
    given = {"teacher_model": own.BiasMF, "metrics": ["NDCG", own.FirstHit]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_classes, "source_of", lambda kind: "edited")
        with pytest.raises(ConfigError) as error:
            run_bd(config_dict=given, resume=folder)
    assert str(error.value) == f"{folder} cannot resume: {BIASED} has changed since the run began; start a new run"
    assert run_differences(whole, run_bd(config_dict=given, resume=folder)) == []


def test_an_interrupted_run_says_how_to_name_its_classes_again(owned):
    with pytest.raises(Interrupted) as error:
        run_bd(config_dict=owned, watch=lambda row: signal.raise_signal(signal.SIGTERM))
    assert str(error.value).endswith(f"""--teacher_model={BIASED} '--metrics=["NDCG", "{OWN}:FirstHit"]'""")


def test_a_run_is_hashed_by_the_name_and_source_of_its_classes(owned, monkeypatch):
    from tests.helpers.settings import make_config

    def hashed() -> dict:
        config = make_config(owned)
        return hashes.run_hashes(config) | {"warm": hashes.warmup_hash(config.role("teacher"), "x")}

    before = hashed()
    assert hashed() == before
    monkeypatch.setattr(own_classes, "source_of", lambda kind: "other")
    after = hashed()
    assert all(before[name] != after[name] for name in ("config", "settings", "teacher", "control", "warm"))
    # Equal names in settings, another class behind them.
    monkeypatch.undo()
    found = []
    for kind in ("BiasMF", "Rows"):
        point = EntryPoint("Mine", f"{OWN}:{kind}", "recbole_bd.backbones")
        monkeypatch.setattr(own_classes, "entry_points", lambda group, point=point: [point] * (group == point.group))
        settings = {key: value for key, value in owned.items() if "width" not in key}
        found.append(hashes.run_hashes(make_config(settings, teacher_model="Mine"))["teacher"])
    assert found[0] != found[1]


@pytest.mark.parametrize("model", [BIASED, f"{OWN}:OwnVAE", f"{OWN}:Rows", f"{OWN}:OwnGCN"])
def test_an_own_model_is_trained_alone(model, quick):
    settings = {key: value for key, value in alone(quick).items() if key != "distill_epochs"}
    result = run_bd(model=model, config_dict=settings)
    assert result["method"] == result["model"]["model"] == model
    assert Path(result["run_folder"]).name.startswith(f"{model.rpartition(':')[2]}-blocks-")


def test_a_subclass_that_changes_nothing_trains_as_its_model(quick):
    settings = {key: value for key, value in alone(quick).items() if key != "distill_epochs"}
    values = []
    for model in ("MultiVAE", own.OwnVAE, "LightGCN", own.OwnGCN):
        values.append(run_bd(model=model, config_dict=settings)["model"]["separate"])
    assert values[0] == values[1]
    assert values[2] == values[3]


def test_a_leaderboard_runs_and_finds_own_models(owned, cli, importable, tmp_path):
    words = ["--dataset=blocks", f"--data_path={owned['data_path']}", f"--checkpoint_dir={tmp_path / 'saved'}"]
    words += [f'--metrics=["NDCG", "{OWN}:FirstHit"]', "--valid_metric=FirstHit@5", "--topk=[5]", "--epochs=1"]
    words += ["--device=cpu", "--threads=1", f"--models=BPR,{BIASED}", "--seeds=1", "--learning_rate=0.01"]
    for _ in range(2):
        code, out, err = cli("leaderboard", *words)
        assert code == 0, err
        assert BIASED in out
        assert len(list((tmp_path / "saved").glob("*/result.json"))) == 2


@pytest.mark.usefixtures("forked")
def test_a_search_tries_own_models(owned, cli, importable, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "space.yaml").write_text("teacher.width: {choice: [4, 6]}\n")
    words = [f"--teacher_model={BIASED}", "--dataset=blocks", f"--data_path={owned['data_path']}", "--trials=2"]
    words += ["--epochs=1", "--distill_epochs=1", "--device=cpu", f"--checkpoint_dir={tmp_path / 'saved'}"]
    words += ["--topk=[5]", "--metrics=[NDCG]", "--valid_metric=NDCG@5"]
    code, out, err = cli("tune", f"--space={tmp_path / 'space.yaml'}", *words)
    assert code == 0, err
    assert f"teacher_model: {BIASED}" in (tmp_path / "saved" / "tune-BD-blocks" / "best.yaml").read_text()
    assert out.startswith("2 trials: 2 finished")


def test_a_metric_of_which_less_is_better_selects_the_smallest(quick):
    quick |= {"metrics": [own.FirstMiss, own.FirstHit], "valid_metric": "FirstMiss@5", "epochs": 6}
    result = run_bd(config_dict=quick)
    rows = [line.split(",") for line in (Path(result["run_folder"]) / "metrics.csv").read_text().splitlines()]
    names = rows[0]
    values = [float(row[names.index("firstmiss@5")]) for row in rows[1:] if row[:2] == ["separate", "teacher"]]
    assert result["less_is_better"] == ["firstmiss"]
    best = result["teacher"]["separate"]["valid"]
    assert best["firstmiss@5"] == min(values) < max(values)
    assert best["firstmiss@5"] == pytest.approx(1 - best["firsthit@5"])


def test_a_search_takes_no_metric_of_which_less_is_better(cli, tmp_path, block_data):
    pytest.importorskip("optuna")
    (tmp_path / "space.yaml").write_text("learning_rate: {choice: [0.1, 0.01]}\n")
    words = [f"--data_path={block_data}", "--dataset=blocks", f"--metrics=['{OWN}:FirstMiss']"]
    code, _, err = cli("tune", f"--space={tmp_path / 'space.yaml'}", *words, "--valid_metric=FirstMiss@10")
    assert code == 2
    assert err.splitlines()[-1] == (
        "recbole-bd: error: valid_metric='FirstMiss@10': less of it is better, but a search takes the largest value; "
        "choose another valid_metric"
    )


def test_commands_that_serve_ask_before_they_import(owned, cli, tmp_path):
    folder = run_bd(config_dict=owned)["run_folder"]
    for command in (["recommend", folder, "--role=teacher", "--out=r.csv"], ["export", folder, "--format=npz"]):
        code, _, err = cli(*command)
        assert code == 2
        assert "allow it: --allow_code on the command line" in err
    assert cli("recommend", folder, "--role=teacher", "--out=r.csv", "--allow_code")[0] == 0
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 60 * 10
    code, _, err = cli("export", folder, "--role=teacher", "--format=recbole", "--allow_code")
    assert (code, BIASED in err, "is not a model of RecBole: use another format" in err) == (2, True, True)
    assert cli("serve-bench", folder, "--requests=1", "--batch=1", "--allow_code")[0] == 0


def test_a_run_starts_from_the_model_of_an_own_class(owned, tmp_path):
    first = run_bd(config_dict=owned)
    start = shutil.copy(Path(first["run_folder"]) / "teacher.pth", tmp_path / "start.pth")
    second = run_bd(config_dict={**owned, "teacher.checkpoint": str(start)})
    best, kept = first["teacher"]["distilled"]["test"], second["teacher"]["separate"]["test"]
    assert kept == best
    trained = load_trained(Path(second["run_folder"]) / "teacher.pth", allow_code=True)
    assert torch.isfinite(trained.role.all_logits(torch.tensor([1]))).all()
    assert json.loads((Path(second["run_folder"]) / "result.json").read_text())["status"] == "finished"

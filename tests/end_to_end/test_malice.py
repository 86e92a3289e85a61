"""In each place where a file is read, what would run code does not run and is refused by name with exit code 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_bd import load_data_and_model
from recbole_bd.config.config import BDConfig
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import BDError, CheckpointError, ConfigError, LeaderboardError
from recbole_bd.leaderboard.command import run_leaderboard
from recbole_bd.leaderboard.page import page
from recbole_bd.leaderboard.run_reader import read_run, runs_below, runs_jsonl
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from recbole_bd.model import METHODS
from recbole_bd.runs.per_user import per_user
from recbole_bd.runs.pipeline import run_bd
from recbole_bd.runs.plots import redraw
from recbole_bd.runs.records import read_validations
from recbole_bd.system.sealed_archive import load_archive
from tests.helpers.boards import two_roles, write_board, write_run
from tests.helpers.damage import REFUSAL, Evil, recbole_checkpoint, refused_or_right, same_arrays, sealed
from tests.helpers.paths import ROOT
from tests.helpers.settings import QUICK, alone, make_config


@pytest.fixture
def marker(tmp_path) -> Path:
    """File that malicious files create if they run."""
    return tmp_path / "ran"


@pytest.fixture(scope="module")
def finished(block_data, tmp_path_factory) -> Path:
    """The folder of a run of two roles, with its kept warm-ups beside it."""
    saved = tmp_path_factory.mktemp("saved")
    settings = {**QUICK, "epochs": 1, "distill_epochs": 1, "data_path": str(block_data), "checkpoint_dir": str(saved)}
    return Path(run_bd(config_dict=settings)["run_folder"])


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def words(settings: dict) -> list[str]:
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]


def refuses(cli, marker: Path, pattern: str, *arguments: str) -> None:
    """Assert that a command ends with one line that names what was asked for, and that nothing ran."""
    import re

    code, _, err = cli(*arguments)
    assert not marker.exists(), "code in a file ran"
    line = err.strip().splitlines()[-1]
    assert code == 2, err
    assert line.startswith("recbole-bd: error: ")
    assert re.search(pattern, line), line
    assert "Traceback" not in err


def plain_evil(path: Path, content: dict, protocol: int) -> Path:
    torch.save(content, path, pickle_protocol=protocol)
    return path


EVIL_FILES = {
    "RecBole's, protocol 4": lambda path, evil: plain_evil(path, {"state_dict": {}, "config": evil}, 4),
    "RecBole's, protocol 2": lambda path, evil: plain_evil(path, {"state_dict": {}, "config": evil}, 2),
    "in the state": lambda path, evil: plain_evil(path, {"state_dict": {"w": evil}}, 4),
    "in the optimizer": lambda path, evil: plain_evil(path, {"state_dict": {}, "optimizer": {"x": evil}}, 4),
    "the whole": lambda path, evil: plain_evil(path, evil, 4),
    "ours, with a right checksum": lambda path, evil: sealed(path, {"state_dict": {"w": evil}}),
}


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("kind", EVIL_FILES)
def test_a_checkpoint_given_to_a_role(kind, role, quick, marker, cli, tmp_path):
    path = EVIL_FILES[kind](tmp_path / "evil.pth", Evil(marker))
    refuses(cli, marker, rf"evil\.pth: it {REFUSAL}", "run", *words(quick), f"--{role}.checkpoint={path}")
    assert not Path(quick["checkpoint_dir"]).exists(), "nothing is written before files are read"


@pytest.mark.parametrize("kind", EVIL_FILES)
def test_a_kept_warm_up(kind, quick, marker, cli):
    quick |= {"epochs": 1, "distill_epochs": 1, "model": "BPR"}
    settings = {key: value for key, value in alone(quick).items() if key != "distill_epochs"}
    assert cli("run", *words(settings))[0] == 0
    (cache,) = (Path(quick["checkpoint_dir"]) / "warmup").glob("*.pth")
    EVIL_FILES[kind](cache, Evil(marker))
    refuses(cli, marker, rf"{cache.name}: it {REFUSAL}\. Delete it to train the warm-up", "run", *words(settings))
    cache.unlink()
    assert cli("run", *words(settings))[0] == 0


@pytest.mark.parametrize("kind", EVIL_FILES)
@pytest.mark.parametrize("read", [load_data_and_model, load_archive])
def test_a_model_or_archive_that_is_loaded(read, kind, marker, tmp_path):
    path = EVIL_FILES[kind](tmp_path / "evil.pth", Evil(marker))
    with pytest.raises(CheckpointError, match=f"{REFUSAL}|does not end with a checksum"):
        read(path)
    assert not marker.exists()


def test_a_checkpoint_of_recbole_whose_config_carries_code(block_data, quick, marker, cli, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        trainer = recbole_checkpoint(block_data)
        trainer.config["stopping_step"] = Evil(marker)
        trainer._save_checkpoint(1, verbose=False)
        path = Path(trainer.saved_model_file).absolute()
    refuses(cli, marker, REFUSAL, "run", *words(quick), f"--teacher.checkpoint={path}")


def pretrained(backbone: str, path: Path) -> dict:
    """Settings with which a model of RecBole reads a file while it is built."""
    return {
        "NAIS": {"pretrain_path": str(path)},
        "ConvNCF": {"train_method": "after_pretrain", "pre_model_path": str(path)},
        "NeuMF": {"use_pretrain": True, "mf_pretrain_path": str(path), "mlp_pretrain_path": str(path)},
    }[backbone]


@pytest.mark.parametrize("backbone", ["NAIS", "ConvNCF", "NeuMF"])
def test_a_pretrained_file_of_recboles_models(backbone, quick, marker, cli, tmp_path):
    path = plain_evil(tmp_path / "evil.pth", {"state_dict": {"w": Evil(marker)}}, 4)
    settings = {"model": backbone} | alone(quick) | pretrained(backbone, path)
    del settings["distill_epochs"]
    refuses(cli, marker, REFUSAL, "run", *words(settings))


def test_an_embedding_in_the_folder_of_the_data(block_data, quick, marker, cli, tmp_path):
    """LDiffRec reads it with `allow_pickle=True`."""
    shutil.copytree(block_data / "blocks", tmp_path / "data" / "blocks")
    np.save(tmp_path / "data" / "blocks" / "item_emb.npy", np.array([Evil(marker)], dtype=object))
    settings = alone(quick) | {"model": "LDiffRec", "n_cate": 2, "data_path": str(tmp_path / "data")}
    del settings["distill_epochs"]
    refuses(cli, marker, r"item_emb\.npy: it contains Python objects, which could run code", "run", *words(settings))


@pytest.mark.parametrize(
    ("name", "key"), [("test_ranks.npz", "user"), ("discrepancy.npz", "edges"), ("per_user.npz", "users")]
)
def test_arrays_of_a_run(name, key, copy, marker, cli):
    np.savez(copy / name, **{key: np.array([Evil(marker)], dtype=object)})
    asked = ["compare", str(copy), str(copy)] if name == "per_user.npz" else ["plots", str(copy)]
    refuses(cli, marker, rf"{name}: {key} contains Python objects, which could run code, and is refused", *asked)


TAGS = [
    "!!python/object/apply:os.mkdir ['{}']",
    "!!python/object/new:os.mkdir ['{}']",
    "!!python/object/apply:subprocess.check_output [[mkdir, '{}']]",
    "!!python/name:os.mkdir",
    "!!python/module:os",
]


@pytest.mark.parametrize("tag", TAGS)
def test_a_file_of_settings(tag, marker, cli, tmp_path):
    (tmp_path / "evil.yaml").write_text(f"epochs: 1\nseed: {tag.format(marker)}\n")
    name = tag.split(":")[1].split(" ")[0]
    pattern = rf"evil\.yaml line 2 asks for {name}, which could run code, and is refused"
    refuses(cli, marker, pattern, "run", f"--config_files={tmp_path / 'evil.yaml'}")


def test_the_settings_of_a_run_in_a_leaderboard(marker, cli, tmp_path):
    folder = write_run(tmp_path / "runs", "BPR", 1, {"model/separate": 0.3})
    (folder / "config.yaml").write_text(f"seed: {TAGS[0].format(marker)}\n")
    refuses(cli, marker, r"config\.yaml line 1 asks for os\.mkdir", "leaderboard", f"--from={tmp_path / 'runs'}")


CALL = "__import__('os').mkdir('{}')"


@pytest.mark.parametrize("key", ["seed", "epochs", "topk", "eval_args", "learning_rate", "load_col", "student.epochs"])
@pytest.mark.parametrize("text", [CALL, *TAGS[:3], "[*map(__import__('os').mkdir, ['{}'])]"])
def test_values_of_the_command_line_are_never_evaluated(key, text, marker, cli):
    code, _, err = cli("run", f"--{key}={text.format(marker)}")
    assert not marker.exists()
    assert code == 2
    assert err.startswith("recbole-bd: error: ")
    assert len(err.strip().splitlines()) == 1


def test_recboles_evaluation_of_settings_is_never_reached(quick, monkeypatch, marker):
    monkeypatch.setattr("recbole.config.configurator.eval", lambda *_: pytest.fail("evaluated"), raising=False)
    monkeypatch.setattr(sys, "argv", ["x", f"--seed={CALL.format(marker)}"])
    config = make_config(quick, data_path=CALL.format(marker))
    assert str(config["data_path"]).startswith("__import__")
    for role in config.backbones:
        config.role(role)
    assert not marker.exists()


# --- paths -----------------------------------------------------------------------------------------------------------
def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", ".", "a/b", "a\\b", ".hidden", "x\n", ""])
@pytest.mark.parametrize("key", ["dataset", "model", "teacher_model"])
def test_names_lead_out_of_no_folder(key, name, quick):
    with pytest.raises((ConfigError, BDError)) as error:
        BDConfig(config_dict=quick | {key: name}, methods=METHODS)
    assert "expected a name" in str(error.value)


def test_a_data_set_named_by_a_run_does_not_move_the_leaderboard(tmp_path, cli):
    write_run(tmp_path / "runs", "BPR", 1, {"model/separate": 0.3}, dataset="../../outside/x")
    before = everything(tmp_path)
    code, _, err = cli("leaderboard", f"--from={tmp_path / 'runs'}")
    assert (code, everything(tmp_path)) == (2, before)
    assert "no run found" in err


def test_runs_named_by_a_leaderboard_are_only_read(tmp_path):
    """A manifest names run folders beside it, wherever they are; what is written is written where it is itself."""
    folders = write_board(tmp_path / "runs")
    before = everything(tmp_path)
    (tmp_path / "board").mkdir()
    names = [os.path.relpath(folders[0], tmp_path / "board"), *map(str, folders[1:])]
    (tmp_path / "board" / "leaderboard.json").write_text(json.dumps({"reference": None, "runs": names}))
    run_leaderboard({"from": str(tmp_path / "board")})
    after = everything(tmp_path)
    assert {path: after[path] for path in before} == before
    assert {Path(path).parent for path in after.keys() - before.keys()} <= {tmp_path, tmp_path / "board"}


def test_the_folder_that_a_result_names_is_not_written_to(copy, tmp_path):
    result = json.loads((copy / "result.json").read_text())
    (tmp_path / "other").mkdir()
    (copy / "result.json").write_text(json.dumps({**result, "run_folder": str(tmp_path / "other")}))
    redraw(copy)
    assert not list((tmp_path / "other").iterdir())


def test_links_in_a_run_folder_are_replaced_and_not_followed(copy, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (copy / "curves.png").unlink()
    (copy / "curves.png").symlink_to(tmp_path / "precious")
    redraw(copy)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (copy / "curves.png").is_symlink()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"data_path": "elsewhere"}, "its data set ml-1m is not in"), ({"role": "x"}, "its role is 'x'")],
)
def test_a_model_does_not_choose_where_data_is_downloaded_to(changes, message, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recbole.data.dataset.dataset.download_url", lambda *_: pytest.fail("download"))
    content = load_archive(finished / "student.pth")
    about = json.loads(content["about"])
    about["settings"] |= {key: value for key, value in changes.items() if key != "role"}
    about["settings"]["dataset"] = about["dataset"] = "ml-1m" if "data_path" in changes else "blocks"
    about |= {key: value for key, value in changes.items() if key == "role"}
    sealed(tmp_path / "m.pth", {**content, "about": json.dumps(about)})
    before = everything(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_data_and_model(tmp_path / "m.pth")
    assert everything(tmp_path) == before


# --- damage to what runs leave ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["teacher.pth", "student.pth"])
def test_damaged_models_of_a_run(name, copy, request):
    refused_or_right(request.config, "checkpoints", copy / name, load_archive, lambda found, _: False)


@pytest.mark.parametrize("name", ["per_user.npz", "test_ranks.npz", "discrepancy.npz"])
def test_damaged_arrays_of_a_run(name, copy, request):
    from recbole_bd.runs.records import read_arrays

    refused_or_right(request.config, "arrays of runs", copy / name, read_arrays, same_arrays)
    per_user(copy)


def test_damaged_texts_of_a_run(copy, request):
    """Text has no checksum: a changed digit is another number. What is wrong with its form is one line."""
    refused_or_right(request.config, "texts of runs", copy / "metrics.csv", read_validations)
    refused_or_right(request.config, "texts of runs", copy / "config.yaml", load_yaml)


@pytest.mark.parametrize("name", ["result.json", "metrics.csv", "config.yaml", "per_user.npz"])
def test_damaged_runs_in_a_leaderboard(name, tmp_path, request):
    write_run(tmp_path / "runs", "BPR", 1, {"model/separate": 0.3})
    folder = write_run(tmp_path / "runs", "BD", 1, two_roles(0.3, 0.2, 0.05), ("teacher", "student"))

    def read(_path: Path) -> str:
        return page(judge(build(runs_below(tmp_path / "runs"))))

    refused_or_right(request.config, "leaderboards", folder / name, read)


def test_a_damaged_file_of_runs(tmp_path, request, monkeypatch):
    from recbole_bd.leaderboard import command

    write_run(tmp_path / "runs", "BPR", 1, {"model/separate": 0.3})
    write_run(tmp_path / "runs", "BD", 1, two_roles(0.3, 0.2, 0.05), ("teacher", "student"))
    path = tmp_path / "runs.jsonl"
    path.write_text(runs_jsonl(runs_below(tmp_path / "runs")))
    monkeypatch.setattr(command, "write_outputs", lambda runs, out, reference: page(judge(build(runs))))
    refused_or_right(request.config, "leaderboards", path, lambda path: run_leaderboard({"from": str(path)}))


def test_a_file_of_runs_that_asks_for_too_much_or_for_what_it_lacks(tmp_path, monkeypatch):
    write_run(tmp_path / "runs", "BPR", 1, {"model/separate": 0.3})
    path = tmp_path / "runs.jsonl"
    array, *others = runs_jsonl(runs_below(tmp_path / "runs")).splitlines()
    path.write_text("\n".join(others))
    with pytest.raises(LeaderboardError, match=r"runs\.jsonl line 3: the array \w+ is missing in the lines before it"):
        run_leaderboard({"from": str(path)})
    path.write_text("\n".join([array.replace('"values": [', '"values": ["more", '), *others]))
    with pytest.raises(LeaderboardError, match=r"runs\.jsonl line 1: its checksum is wrong"):
        run_leaderboard({"from": str(path)})
    path.write_text("\n".join([array, *others]))
    monkeypatch.setattr("recbole_bd.leaderboard.run_reader._LARGEST_ARRAY", 100)
    with pytest.raises(LeaderboardError, match=r"runs\.jsonl line 1: an array has more than 100 bytes"):
        run_leaderboard({"from": str(path)})


def test_a_damaged_list_of_runs(tmp_path, request, monkeypatch):
    from recbole_bd.leaderboard import command

    monkeypatch.setattr(command, "write_outputs", lambda runs, out, reference: str(len(runs)))
    folders = write_board(tmp_path / "runs")
    path = tmp_path / "runs" / "leaderboard.json"
    path.write_text(json.dumps({"reference": None, "runs": [folder.name for folder in folders]}))
    refused_or_right(request.config, "leaderboards", path, lambda path: run_leaderboard({"from": str(path.parent)}))


@pytest.mark.parametrize(
    "changes",
    [{"seed": "x"}, {"data": 3}, {"data": {}}, {"student": []}, {"hashes": []}, {"learners": [1]}, {"dataset": "../x"},
     {"schema": None}, {"student": {"model": "BPR", "parameters": 3, "separate": {"test": 1}}}, {"command": 3}],
    ids=str,
)  # fmt: skip
def test_a_result_of_another_form_is_refused(changes, copy, tmp_path):
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | changes))
    with pytest.raises(BDError, match=r"result\.json is damaged: "):
        redraw(copy)
    assert read_run(copy) is None


# --- network ---------------------------------------------------------------------------------------------------------
OFFLINE = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
class Closed(socket.socket):
    __init__ = refuse
socket.socket = Closed
from recbole_bd.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_with_local_data_opens_no_socket(quick, tmp_path):
    settings = quick | {"epochs": 1, "distill_epochs": 1}
    package = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, "run", *words(settings)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": package}, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "run folder" in done.stdout


# --- names of classes ------------------------------------------------------------------------------------------------
@pytest.fixture
def module(marker, tmp_path, monkeypatch) -> str:
    """The name of a class in a module that shows whether it was imported."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "evil_models.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Model: pass\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    yield "evil_models:Model"
    sys.modules.pop("evil_models", None)


@pytest.mark.parametrize("key", ["teacher_model", "student_model", "metrics"])
def test_a_class_that_a_model_file_names_is_not_imported(key, module, copy, marker, cli):
    content = load_archive(copy / "student.pth")
    about = json.loads(content["about"])
    about["settings"][key] = [module] if key == "metrics" else module
    sealed(copy / "student.pth", {**content, "about": json.dumps(about)})
    for command in (["recommend", str(copy), "--out=r.csv"], ["export", str(copy), "--format=npz"]):
        refuses(cli, marker, rf"student\.pth needs {module}, and importing this runs its code", *command)
    refuses(cli, marker, f"needs {module}", "serve-bench", str(copy))
    with pytest.raises(CheckpointError, match=f"needs {module}"):
        load_data_and_model(copy / "student.pth")
    assert not marker.exists()


@pytest.mark.parametrize("key", ["model", "teacher_model", "student_model", "metrics", "beside"])
def test_a_class_that_the_settings_of_a_run_name_is_not_imported(key, module, copy, marker, cli):
    settings = load_yaml(copy / "config.yaml")
    settings[key] = [module] if key in ("metrics", "beside") else module
    (copy / "config.yaml").write_text(json.dumps(settings))
    pattern = f"the record of a run names {module}, and importing this runs its code"
    refuses(cli, marker, pattern, "run", f"--config_files={copy / 'config.yaml'}")
    space = copy.parent / "space.yaml"
    space.write_text("learning_rate: {choice: [0.1, 0.01]}\n")
    refuses(cli, marker, pattern, "tune", f"--space={space}", f"--config_files={copy / 'config.yaml'}")
    if key not in ("model", "beside"):  # options of the leaderboard itself
        words = ("--models=BD", "--seeds=1", f"--config_files={copy / 'config.yaml'}")
        refuses(cli, marker, pattern, "leaderboard", *words)
    progress = load_archive(copy / "last.ckpt")
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "status": "interrupted"}))
    refuses(cli, marker, pattern, "run", f"--resume={copy}")
    (copy / "config.yaml").unlink()
    progress["settings"][key] = settings[key]
    sealed(copy / "last.ckpt", progress)
    refuses(cli, marker, pattern, "run", f"--resume={copy}")
    (copy / "config.yaml").write_text(json.dumps(settings))
    (copy / "result.json").write_text(json.dumps(result))
    assert cli("leaderboard", f"--from={copy.parent}")[0] == 0
    assert cli("plots", str(copy))[0] == 0
    assert not marker.exists()

"""The same seed gives the same numbers, whatever is shown, logged, kept or evaluated at a time."""

import json
from pathlib import Path

import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.data.split import load_split
from recbole_bd.model import METHODS
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import QUICK, alone, for_method, make_config

# Whatever is run, its figures can be made.
pytestmark = pytest.mark.figures

# Keys that name a run, its process and its times. All others are numbers, and hashes of what determines them.
OF_THE_RUN = ("timing", "peak_rss_mb", "run_folder", "command", "pid", "machine")
PAIRS = [("BPR", "BPR"), ("CDAE", "BPR"), ("LightGCN", "BPR")]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("recbole_bd.runs.plots.draw", lambda *_: None)


def numbers(result: dict) -> dict:
    """Everything of `result.json` that is to be the same."""
    stored = json.loads((Path(result["run_folder"]) / "result.json").read_text())
    return {key: value for key, value in stored.items() if key not in OF_THE_RUN}


def files(result: dict) -> dict[str, bytes]:
    """The records beside it, byte by byte: validations, per-user values, ranks, discrepancies."""
    paths = Path(result["run_folder"]).iterdir()
    return {path.name: path.read_bytes() for path in paths if path.suffix in (".csv", ".npz")}


def states(result: dict) -> dict[str, torch.Tensor]:
    """Every tensor of the models that a run left."""
    return {
        f"{path.stem}.{name}": tensor
        for path in sorted(Path(result["run_folder"]).glob("*.pth"))
        for name, tensor in load_model(path)[0].state.items()
    }


def assert_same(one: dict, other: dict) -> None:
    """Two runs gave the same numbers and bitwise the same models."""
    assert numbers(one) == numbers(other)
    assert files(one) == files(other) != {}
    first, second = states(one), states(other)
    assert first.keys() == second.keys() != set()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def reference(block_data, tmp_path_factory):
    """Settings of a pair, and the finished run of them as they are; made once."""
    made = {}

    def finished(teacher: str, student: str) -> tuple[dict, dict]:
        if (teacher, student) not in made:
            folder = tmp_path_factory.mktemp("reference")
            base = {**alone(QUICK), "refresh_period": 2, "data_path": str(block_data), "checkpoint_dir": str(folder)}
            settings = {**base, "teacher_model": teacher, "student_model": student, "epochs": 4, "warmup_cache": False}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("recbole_bd.runs.plots.draw", lambda *_: None)
                made[teacher, student] = settings, run_bd(config_dict=settings)
        return made[teacher, student]

    return finished


def settings_of(quick: dict, method: str, **more) -> dict:
    base = for_method(quick, method) if method in METHODS else {**alone(quick), "model": method}
    return {**base, **({"model": method} if method in METHODS else {}), "epochs": 2, "distill_epochs": 3, **more}


@pytest.mark.parametrize("method", [*METHODS, "BPR"])
def test_the_same_seed_twice_is_the_same_run_and_another_seed_is_not(method, quick):
    settings = settings_of(quick, method, warmup_cache=False) if method in METHODS else settings_of(quick, method)
    first = run_bd(config_dict=settings)
    torch.rand(17)  # whatever chance was used before
    assert_same(first, run_bd(config_dict=settings))
    assert numbers(run_bd(config_dict={**settings, "seed": 7})) != numbers(first)


@pytest.mark.parametrize("size", [1, 500, 10**7])
@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_nothing_depends_on_the_size_of_evaluation_batches(teacher, student, size, reference):
    settings, expected = reference(teacher, student)
    assert_same(expected, run_bd(config_dict={**settings, "eval_batch_size": size}))


def test_evaluation_batches_are_the_same_whatever_their_size_is_set_to(tmp_path):
    """Equal batches give equal bits; so that nothing depends on them by chance, here are more users than one holds."""
    write_inter(tmp_path, "wide", block_pairs(n_users=70, n_items=20000, blocks=1, per_user=400))
    wide = {**QUICK, "dataset": "wide", "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved")}
    batches = []
    for size in (1, 10**5, 10**7):
        loader = load_split(make_config(wide, eval_batch_size=size)).valid_loader
        batches.append([users["user_id"].tolist() for users, *_ in loader])
    assert batches[0] == batches[1] == batches[2]
    assert len(batches[0]) > 1


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
@pytest.mark.parametrize(
    "shown", [{"show_progress": True}, {"state": "DEBUG"}, {"state": "CRITICAL"}], ids=lambda one: str(*one.values())
)
def test_nothing_depends_on_what_is_shown(teacher, student, shown, reference, monkeypatch, capsys):
    settings, expected = reference(teacher, student)
    capsys.readouterr()  # what the reference showed, where it had to be run first
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    result = run_bd(config_dict={**settings, **shown})
    assert_same(expected, result)
    assert ("distilled" in capsys.readouterr().err) == (shown.get("state") != "CRITICAL")


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_nothing_depends_on_the_cache_or_the_pictures(teacher, student, reference, monkeypatch, tmp_path):
    settings, expected = reference(teacher, student)
    cached = {**settings, "warmup_cache": True, "checkpoint_dir": str(tmp_path)}
    assert_same(expected, run_bd(config_dict=cached))
    monkeypatch.undo()  # pictures are drawn again
    again = run_bd(config_dict=cached)
    log, names = (Path(again["run_folder"]) / "run.log").read_text(), Path(again["run_folder"]).glob("*.png")
    assert log.count("warm-up reused from") == 2
    assert {path.name for path in names} == {"curves.png", "wins.png", "discrepancy.png"}
    assert_same(expected, again)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_depends_on_what_other_methods_did_with_the_warm_ups(method, quick):
    """A method that comes second to the cache gives what it gives alone."""
    other = next(name for name in METHODS if name != method)
    run_bd(config_dict=settings_of(quick, other))
    second = run_bd(config_dict=settings_of(quick, method))
    assert "warm-up reused from" in (Path(second["run_folder"]) / "run.log").read_text()
    assert_same(second, run_bd(config_dict=settings_of(quick, method, warmup_cache=False)))

"""Pictures of whole runs: made, made again from the folder alone, refused where there is nothing to make them of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.data.split import load_split
from recbole_bd.errors import RunFolderError
from recbole_bd.evaluator import student_wins
from recbole_bd.model.bd import BD
from recbole_bd.runs import plots
from recbole_bd.runs.outputs import RunOutputs
from recbole_bd.runs.plots import redraw
from tests.helpers.settings import QUICK, alone, make_config

# The module compares pixels.
pytestmark = pytest.mark.pictures

PICTURES = ["curves.png", "wins.png", "discrepancy.png"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, block_data):
    """A finished run and its settings."""
    folder = tmp_path_factory.mktemp("run")
    settings = {**QUICK, "data_path": str(block_data), "checkpoint_dir": str(folder / "saved"), "epochs": 6}
    return run_bd(config_dict=settings), settings


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of the run folder, elsewhere."""
    return Path(shutil.copytree(finished[0]["run_folder"], tmp_path / "moved"))


def load(folder, name) -> dict[str, np.ndarray]:
    with np.load(Path(folder) / name, allow_pickle=False) as content:
        return dict(content)


@pytest.mark.slow
def test_the_data_is_that_of_the_run(finished):
    result, settings = finished
    split = load_split(make_config(settings))
    record = load(result["run_folder"], "test_ranks.npz")
    ranks = {f"{role}_{arm}" for role in ("teacher", "student") for arm in ("separate", "distilled")}
    assert record.keys() == {"user", "item", "item_popularity", "user_activity", *ranks}
    assert {len(array) for array in record.values()} == {len(split.test)}
    for arm, share in student_wins.overall(record).items():
        assert share.value == pytest.approx(result["student_wins"][arm], abs=1e-6)
    record = load(result["run_folder"], "discrepancy.npz")
    assert record["unseen"].sum() == record["unseen_items"].sum()
    assert len(record["user"]) == 60
    draws = len(split.train) * 2 * 10  # refresh_period, samples_per_positive
    assert record["drawn_teacher_to_student"].sum() == record["drawn_student_to_teacher"].sum() == draws
    assert str(record["how_student_to_teacher"]) == "exp, eps 1.5 of logarithms, reference order"


def test_pictures_are_made_anew_from_the_folder_alone(folder, cli):
    before = {name: (folder / name).read_bytes() for name in PICTURES}
    for name in PICTURES:
        assert before[name].startswith(b"\x89PNG")
        (folder / name).unlink()
    for other in ("config.yaml", "teacher.pth", "student.pth", "run.log"):
        (folder / other).unlink()
    code, out, err = cli("plots", str(folder))
    assert (code, err) == (0, "")
    assert out.split() == [str(folder / name) for name in PICTURES]
    assert {name: (folder / name).read_bytes() for name in PICTURES} == before


def test_a_baseline_has_curves_only(quick, cli):
    result = run_bd("Pop", config_dict=alone(quick))
    folder = Path(result["run_folder"])
    assert {path.name for path in folder.glob("*.npz")} == {"per_user.npz"}
    assert [path.name for path in folder.glob("*.png")] == ["curves.png"]
    assert redraw(folder) == [folder / "curves.png"]


def test_what_they_count_changes_no_result(finished, tmp_path, monkeypatch):
    """The same run without the counting, bitwise: metrics, epochs, and states."""
    result, settings = finished
    monkeypatch.setattr(RunOutputs, "_discrepancies", lambda self, start: {})
    monkeypatch.setattr(plots, "draw", lambda *arguments: [])
    without = run_bd(config_dict={**settings, "checkpoint_dir": str(tmp_path / "saved")})
    for key in ("teacher", "student", "student_wins", "student_wins_trained", "data"):
        assert without[key] == result[key]
    for role in ("teacher", "student"):
        states = [torch.load(f"{run['run_folder']}/{role}.pth", weights_only=True) for run in (result, without)]
        assert all(torch.equal(a, b) for a, b in zip(*(s["state_dict"].values() for s in states), strict=True))
    ranks = [load(run["run_folder"], "test_ranks.npz") for run in (result, without)]
    assert all(np.array_equal(ranks[0][key], ranks[1][key]) for key in ranks[0])


@pytest.mark.slow
def test_the_discrepancies_are_those_before_distillation(quick):
    """Whatever distillation does, they are of the warm-ups: a run without distillation epochs has the same."""
    records = [
        load(run_bd(config_dict={**quick, "distill_epochs": epochs})["run_folder"], "discrepancy.npz")
        for epochs in (0, 3)
    ]
    assert np.array_equal(records[0]["unseen"], records[1]["unseen"])
    assert np.array_equal(records[0]["user"], records[1]["user"])


@pytest.mark.slow
def test_a_method_without_a_sampler_shows_no_draws(quick, monkeypatch):
    monkeypatch.setattr(BD, "sampler", property(lambda self: None, lambda self, sampler: None), raising=False)
    monkeypatch.setattr(BD, "sampling_state", lambda self: {})
    monkeypatch.setattr(BD, "refresh", lambda self, epoch, progress=None: False)
    monkeypatch.setattr(BD, "distillation_loss", lambda self, role, b: {"cf": self.roles[role].loss(b.interaction)})
    folder = run_bd(config_dict=quick)["run_folder"]
    record = load(folder, "discrepancy.npz")
    assert record["unseen"].sum() > 0
    assert not [key for key in record if key.startswith(("drawn", "how"))]
    assert (Path(folder) / "discrepancy.png").is_file()


def test_one_direction_shows_one_samplers_draws(quick):
    folder = run_bd(config_dict={**quick, "directions": "student_to_teacher", "sampling": "top"})["run_folder"]
    record = load(folder, "discrepancy.npz")
    assert [key for key in record if key.startswith("drawn")] == ["drawn_student_to_teacher"]


def test_a_frozen_teacher_stands_as_it_was(folder):
    """Plot a run of a method whose teacher does not learn."""
    result = json.loads((folder / "result.json").read_text())
    for arm in ("distilled", "continued"):
        del result["teacher"][arm]
    (folder / "result.json").write_text(json.dumps(result))
    record = load(folder, "test_ranks.npz")
    del record["teacher_distilled"]
    np.savez_compressed(folder / "test_ranks.npz", **record)
    before = (folder / "wins.png").read_bytes()
    assert [path.name for path in redraw(folder)] == PICTURES
    assert (folder / "wins.png").read_bytes() != before


def damage(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_ranks.npz", None, r"test_ranks\.npz does not exist: .* run --config_files="),
        ("discrepancy.npz", None, r"discrepancy\.npz does not exist"),
        ("test_ranks.npz", b"PK\x03\x04 half a file", r"test_ranks\.npz is damaged"),
        ("discrepancy.npz", b"", r"discrepancy\.npz is damaged"),
        ("result.json", None, "is not a run folder"),
        ("result.json", b"{", "result.json is damaged"),
        ("result.json", b'{"status": "finished"}', "result.json is damaged: it lacks schema"),
        ("metrics.csv", b"stage,role\nseparate,teacher\n", "metrics.csv is damaged"),
    ],
)
def test_a_folder_without_the_data_is_refused_in_one_line(name, content, message, folder):
    damage(folder, name, content)
    pictures = {path: (folder / path).read_bytes() for path in PICTURES}
    with pytest.raises(RunFolderError, match=message) as error:
        redraw(folder)
    assert "\n" not in str(error.value)
    assert {path: (folder / path).read_bytes() for path in PICTURES} == pictures, "half of the pictures are new"


def test_a_run_that_has_not_finished_is_refused(folder):
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "status": "failed"}))
    with pytest.raises(RunFolderError, match="the run has status failed, not finished"):
        redraw(folder)


def test_a_record_that_lacks_an_array_is_refused(folder):
    record = load(folder, "test_ranks.npz")
    del record["item_popularity"]
    np.savez_compressed(folder / "test_ranks.npz", **record)
    with pytest.raises(RunFolderError, match=r"test_ranks\.npz lacks item_popularity"):
        redraw(folder)


def heights(axis) -> dict[str, np.ndarray]:
    return {bars.get_label(): np.array([bar.get_height() for bar in bars]) for bars in axis.containers
            if len(bars) and hasattr(bars[0], "get_height")}  # fmt: skip


def test_the_bars_are_the_shares(finished):
    result, _ = finished
    record = load(result["run_folder"], "test_ranks.npz")
    figure = plots.wins_figure(result, record)
    overall = [student_wins.overall(one) for one in (record, student_wins.of_trained_items(record))]
    for label, arm in (("before distillation", "separate"), ("after distillation", "distilled")):
        assert heights(figure.axes[0])[label] == pytest.approx([100 * shares[arm].value for shares in overall])
    groups = student_wins.by_count(record, "user_activity")
    found = heights(figure.axes[2])
    for label, arm in (("before distillation", "separate"), ("after distillation", "distilled")):
        assert found[label] == pytest.approx([100 * group.shares[arm].value for group in groups])
    labels = [tick.get_text() for tick in figure.axes[2].get_xticklabels()]
    assert [f"n = {group.size:,}" for group in groups] == [label.split("\n")[1] for label in labels]
    assert all(axis.get_xlabel() for axis in figure.axes)
    assert "%" in figure.axes[0].get_ylabel()


def test_without_a_trained_item_there_are_no_bars_of_them(finished):
    result, _ = finished
    record = load(result["run_folder"], "test_ranks.npz")
    figure = plots.wins_figure(result, {**record, "item_popularity": np.zeros_like(record["item_popularity"])})
    assert len(heights(figure.axes[0])["after distillation"]) == 1


def test_the_steps_are_the_counts(finished):
    result, _ = finished
    record = load(result["run_folder"], "discrepancy.npz")
    (axis,) = plots.discrepancy_figure(result, record).axes
    drawn = {patch.get_label().split(":")[0].split(" (")[0]: patch for patch in axis.patches if patch.get_label()}
    for label, key in (("all unseen items", "unseen"), ("teacher to student", "drawn_teacher_to_student"),
                       ("student to teacher", "drawn_student_to_teacher")):  # fmt: skip
        shares = drawn[label].get_data().values
        expected = 100 * record[key] / record[key].sum()
        middle = len(expected) // 2
        assert f"{expected[middle]:.1f} % at equal ranks" in drawn[label].get_label()
        assert np.delete(shares, middle) == pytest.approx(np.delete(expected, middle))
    assert len({patch.get_linestyle() for label, patch in drawn.items() if "to" in label}) == 2, "alike in grey print"


@pytest.mark.parametrize(("of_all", "told"), [(60, "60 users"), (61, "60 users (of 61)"), (None, "60 users")])
def test_the_steps_say_of_which_users(of_all, told, finished):
    result, _ = finished
    data = {} if of_all is None else {"data": {"users": of_all}}
    result = {**{key: value for key, value in result.items() if key != "data"}, **data}
    (axis,) = plots.discrepancy_figure(result, load(result["run_folder"], "discrepancy.npz")).axes
    (label,) = (patch.get_label() for patch in axis.patches if patch.get_label().startswith("all unseen"))
    assert f" of {told}, " in label


def test_curves_of_what_was_never_validated_are_empty(finished):
    """What a run without epochs leaves: no rows, and no level of the metric that selects."""
    result, _ = finished
    entry = {"valid": {}, "test": {}, "best_epoch": 0}
    empty = {**result, "teacher": {**result["teacher"], "separate": entry, "continued": entry}}
    teacher, student = plots.curves_figure(empty, []).axes
    assert teacher.get_legend() is None
    assert list(teacher.lines) == []
    levels = [result["student"][arm]["valid"]["ndcg@5"] for arm in ("separate", "continued")]
    assert [line.get_ydata()[0] for line in student.lines] == levels

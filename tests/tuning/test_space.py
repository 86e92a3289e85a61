"""Search spaces: how they are read, what is drawn from them, and that the shipped ones are spaces of their methods."""

import pytest
import yaml

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import ConfigError
from recbole_bd.model.exchange import exchange_into
from recbole_bd.tuning.space import draw_settings, read_space
from tests.helpers.paths import ROOT
from tests.helpers.settings import make_config

optuna = pytest.importorskip("optuna", reason="searches need optuna")

SPACE = """
epochs: {quniform: [10, 30, 10]}
learning_rate: {loguniform: [0.001, 0.1]}
weight_decay: {uniform: [0.0, 0.5]}
eps_t: {quniform: [0.5, 1.5, 0.25]}
exchange: {choice: [listwise, pointwise]}
sampling: uniform
metrics: [Hit]
"""
# Arms that are on no board before their first search.
NOT_SEARCHED = {"DE, start searched"}


def trials(space, count, seed=1):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [draw_settings(space, study.ask()) for _ in range(count)]


def test_every_range_is_drawn_from_and_the_rest_stays(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    drawn = trials(read_space(tmp_path / "space.yaml"), 200)
    assert {one["epochs"] for one in drawn} == {10, 20, 30}
    assert all(type(one["epochs"]) is int for one in drawn)
    assert {one["eps_t"] for one in drawn} == {0.5, 0.75, 1.0, 1.25, 1.5}
    assert {one["exchange"] for one in drawn} == {"listwise", "pointwise"}
    assert all(len(f"{one['learning_rate']:e}".partition("e")[0].rstrip("0")) <= 4 for one in drawn)
    assert all(0.001 <= one["learning_rate"] <= 0.1 and 0 <= one["weight_decay"] <= 0.5 for one in drawn)
    small = sum(one["learning_rate"] < 0.01 for one in drawn)
    assert 70 < small < 130  # half of them: the scale is logarithmic
    assert all(one["sampling"] == "uniform" and one["metrics"] == ["Hit"] for one in drawn)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "a: {uniform: [2, 1]}",
            r"space\.yaml: a: uniform: \[2, 1\] is not a range; write \[low, high\] with low < high$",
        ),
        ("a: {loguniform: [0, 1]}", r"space\.yaml: a: loguniform: \[0, 1\] is not a range"),
        ("a: {quniform: [0, 1]}", r"space\.yaml: a: quniform needs 3 numbers"),
        ("a: {quniform: [0, 1, 0]}", r"space\.yaml: a: quniform: \[0, 1, 0\] is not a range"),
        ("a: {uniform: [0, x]}", r"space\.yaml: a: uniform needs 2 numbers"),
        ("a: {choice: []}", r"space\.yaml: a: choice needs a list"),
        ("a: {choice: 3}", r"space\.yaml: a: choice needs a list; write \[a, b, \.\.\.\]$"),
        ("a: {choise: [1, 2]}", r"space\.yaml: a: choise is none of choice, uniform, .* Did you mean choice\?$"),
        ("a: 3", r"space\.yaml contains nothing to search"),
    ],
)
def test_what_is_no_space_is_refused(line, message, tmp_path):
    (tmp_path / "space.yaml").write_text(line)
    with pytest.raises(ConfigError, match=message):
        read_space(tmp_path / "space.yaml")


PLAN = yaml.safe_load((ROOT / "benchmarks" / "evidence.yaml").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("board", PLAN["boards"])
def test_what_is_searched_are_settings_of_the_arms(board, evidence, tmp_path, monkeypatch):
    (tmp_path / "best.yaml").write_text("learning_rate: 0.001")  # of the separate models
    monkeypatch.setattr(evidence, "separate_file", lambda board, role: tmp_path / "best.yaml")
    of_board = evidence.read_plans()[board]
    for name, plan in of_board["arms"].items():
        arm, first = evidence.read_arm(board, name), of_board.get("firsts", {}).get(name, plan.get("first"))
        ranges = {key for key, value in arm.space.items() if isinstance(value, dict)}
        assert not arm.first or set(arm.first) == ranges, name
        assert not first or set(first) == ranges, name
        for drawn in [{**arm.space, **arm.first}] if arm.first else trials(arm.space, 3):
            config = make_config({**arm.fixed, "data_path": str(ROOT), **drawn})
            for role in config.backbones:
                config.role(role)


def test_every_arm_is_searched_on_some_board(evidence):
    on_boards = {name for plan in evidence.read_plans().values() for name in plan["arms"]}
    assert on_boards - set(PLAN["arms"]) == set()
    assert set(PLAN["arms"]) - on_boards == NOT_SEARCHED


def test_boards_take_over_what_others_found(evidence):
    shared = evidence.separate_file("citeulike-bpr-same", "student")
    assert shared == evidence.settings_file("citeulike-bpr", "teacher")
    assert evidence.separate_file("citeulike-bpr-half", "student") == evidence.settings_file(
        "citeulike-bpr-half", "student"
    )


def test_a_space_of_recbole_is_read_as_recbole_reads_it(tmp_path):
    (tmp_path / "hyper.test").write_text(
        "learning_rate loguniform -8,-2\nembedding_size choice [64, 128]\n\n# none\n"
        "train_batch_size quniform 512, 2048, 512\nreg uniform 0,0.5\nname choice ['a', 'b']\n"
        "mlp_hidden_size choice ['[16,8]','[16]']\nn_layers choice ['1', '2']\n"
    )
    space = read_space(tmp_path / "hyper.test")
    (low, high), *_ = space["learning_rate"].values()
    assert (low, high) == (pytest.approx(0.00033546263), pytest.approx(0.13533528))
    assert space["embedding_size"] == {"choice": [64, 128]}
    assert space["train_batch_size"] == {"quniform": [512, 2048, 512]}
    assert space["reg"] == {"uniform": [0, 0.5]}
    assert space["name"] == {"choice": ["a", "b"]}
    assert space["mlp_hidden_size"] == {"choice": [[16, 8], [16]]}
    assert space["n_layers"] == {"choice": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate loguniform", r"hyper\.test: line 1: expected KEY KIND VALUES"),
        ("\nlearning_rate normal 0,1", r"hyper\.test: line 2: expected KEY KIND VALUES"),
        ("a uniform 3,1", r"hyper\.test: a: uniform: \[3, 1\] is not a range"),
        ("a choice __import__('os').system('false')", r"hyper\.test: a: choice needs a list"),
    ],
)
def test_what_is_no_space_of_recbole_is_refused(text, message, tmp_path):
    (tmp_path / "hyper.test").write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        read_space(tmp_path / "hyper.test")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_space(tmp_path / "gone.test")


OF_ONE_DIRECTION = [
    *(f"BD-{sampling}-to-teacher" for sampling in ("uniform", "top", "own-top")),
    *(f"BD-{sampling}-to-student" for sampling in ("uniform", "top", "discrepancy")),
]


@pytest.mark.parametrize("space", OF_ONE_DIRECTION)
def test_an_ablation_of_one_directions_sampling_leaves_the_other_as_it_is(space):
    learner = space.rpartition("-")[2]
    plain = make_config({"model": "BD"})
    for drawn in trials(read_space(ROOT / "properties" / "tuning" / f"{space}.yaml"), 5):
        config = make_config({"model": "BD", **drawn})
        for role in (TEACHER, STUDENT):
            before, after = (exchange_into(role, one) for one in (plain, config))
            assert (before.drawing == after.drawing) is (role != learner)
            assert role == learner or before == after
        other = TEACHER if learner == STUDENT else STUDENT
        assert all(plain.role(other)[key] == config.role(other)[key] for key in config.role(other).final_config_dict)

"""Faults put into models on purpose are found, named with their place, and told from sound models."""

import json
import math
from pathlib import Path

import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.data.batches import train_loader
from recbole_bd.errors import TrainingError
from recbole_bd.runs.summary import warnings_text
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.health import Health, ScoreSample
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import role_trainer, warm_up
from tests.helpers.scenes import Scene
from tests.helpers.settings import alone


def lists(scores: torch.Tensor, seen: int = 0, seed: int = 0) -> ScoreSample:
    """A sample that has seen the scores, padding and `seen` random items of each user left out."""
    scores = scores.clone()
    order = torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    scores[torch.arange(len(scores)).unsqueeze(1), order[:, :seen]] = -torch.inf
    scores[:, 0] = -torch.inf
    sample = ScoreSample(lambda value: TrainingError(f"found {value}"))
    none = torch.empty(0, dtype=torch.int64)
    for batch in scores.split(7):
        sample.take(batch, none, none)
    return sample


# --- what the lists show ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seen", [0, 40])
def test_lists_of_sound_models_are_not_suspected(seen):
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        popularity = torch.randn(100, generator=generator)
        assert lists(torch.randn(60, 100, generator=generator) + popularity, seen, seed).finding() is None
    assert lists(torch.randn(3, 12)).finding() is None, "three users may have the same list"


@pytest.mark.parametrize("seen", [0, 40])
def test_one_order_for_everyone_is_found_whatever_each_user_has_seen(seen):
    common = torch.randn(100, generator=torch.Generator().manual_seed(1))
    scale = torch.rand(60, 1, generator=torch.Generator().manual_seed(2)) + 0.5
    assert lists(common * scale, seen).finding() == "all users get the same list"


def test_equal_scores_are_found():
    per_user = torch.randn(60, 1, generator=torch.Generator().manual_seed(3)).expand(-1, 100)
    assert lists(per_user, 40).finding() == "the scores of a user's best items are all equal"
    saturated = (torch.randn(60, 100) * 1e3).sigmoid()
    assert lists(saturated).finding() == "the scores of a user's best items are all equal"
    assert lists(torch.zeros(60, 2), seen=0).finding() is None, "one item is no list of equal scores"


def test_magnitude_and_number_of_users_do_not_depend_on_the_batches():
    scores = torch.randn(300, 50)
    scores[3, 7], scores[200, 7] = -5e4, 9e9  # the last is beyond the users that are looked at
    sample = lists(scores)
    assert (sample.users, sample.largest) == (100, 5e4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_found_of_any_user(value):
    scores = torch.randn(300, 50)
    rows = torch.arange(300)
    sample = ScoreSample(lambda value: TrainingError(f"found {value}"))
    sample.take(scores, rows, rows % 49 + 1)
    late, early = scores.clone(), scores.clone()
    late[250, 250 % 49 + 1] = value  # a positive
    early[5, 30] = value  # any item of a user that is looked at
    for broken in (late, early):
        with pytest.raises(TrainingError, match=f"found {value}"):
            ScoreSample(lambda value: TrainingError(f"found {value}")).take(broken, rows, rows % 49 + 1)
    with pytest.raises(TrainingError, match=f"found {value}"):  # pairs are evaluated
        sample.take(torch.tensor([0.5, value]), rows[:0], rows[:0])


# --- warnings --------------------------------------------------------------------------------------------------------
def validated(scene, name, values, scores=None):
    """A role's trainer after validations that gave the values."""
    trainer = role_trainer(scene.roles[name], Journal(), "distilled")
    for epoch, value in enumerate(values):
        trainer.epoch = epoch
        trainer.journal.validation("distilled", name, epoch, {"ndcg@5": value})
        trainer.health.before_evaluation(epoch)
        if scores is not None:
            none = torch.empty(0, dtype=torch.int64)
            trainer.health.sample.take(scores, none, none)
        trainer.health.after_validation("ndcg@5", value, True)
    return [(one["kind"], one["epoch"], one["message"]) for one in trainer.journal.warnings]


def test_zero_and_constant_validations_are_reported_once(quick):
    scene = Scene(quick)
    sound, same = torch.randn(60, 49), torch.randn(49).expand(60, -1)
    ((kind, epoch, message),) = validated(scene, STUDENT, [0.1, 0.0, 0.0, 0.0, 0.0], sound)
    assert (kind, epoch) == ("zero", 1)
    assert "valid ndcg@5 is exactly 0" in message
    assert "lists differ" in message
    assert "raise epochs" in message
    ((kind, epoch, message),) = validated(scene, STUDENT, [0.1, 0.2, 0.2, 0.2, 0.2, 0.3], same)
    assert (kind, epoch) == ("constant", 3)
    assert "all users get the same list; most likely it diverged or collapsed: lower learning_rate" in message
    assert not validated(scene, STUDENT, [0.2, 0.2, 0.3, 0.3, 0.2, 0.2], sound)
    assert not validated(scene, STUDENT, [1.0, 1.0, 1.0, 1.0], sound), "everything is found"


def test_a_model_without_gradient_is_not_told_of_learning_rates(quick):
    settings = {key: value for key, value in quick.items() if not key.startswith("teacher.")}
    scene = Scene(settings, model="RRD", teacher_model="ItemKNN")
    health = Health(scene.roles[TEACHER], "separate", Journal(), "learning_rate")
    health.before_evaluation(0)
    health.after_validation("ndcg@5", 0.0, True)
    (one,) = health.journal.warnings
    assert "choose another model, or validate on more users" in one["message"]
    assert "learning_rate" not in one["message"]


def test_a_metric_of_which_less_is_better_may_be_zero(quick):
    health = Health(Scene(quick).roles[STUDENT], "separate", Journal(), "learning_rate")
    health.after_validation("averagepopularity@5", 0.0, bigger=False)
    assert not health.journal.warnings


@pytest.mark.slow
def test_a_huge_learning_rate_is_reported_where_no_loss_shows_it(quick, cli):
    """BPR's loss stays finite whatever the scores are."""
    settings = {**quick, "student.learning_rate": 1000.0}
    result = run_bd(config_dict=settings)
    found = {(one["role"], one["stage"], one["kind"]) for one in result["warnings"]}
    assert {(STUDENT, "separate", "scores"), (STUDENT, "distilled", "scores")} <= found
    assert not [one for one in result["warnings"] if one["role"] == TEACHER and one["stage"] == "separate"]
    one = next(one for one in result["warnings"] if one["kind"] == "scores")
    assert one["epoch"] == 0
    assert "lower learning_rate" in one["message"]
    assert len({(one["role"], one["stage"], one["kind"]) for one in result["warnings"]}) == len(result["warnings"])
    folder = Path(result["run_folder"])
    assert json.loads((folder / "result.json").read_text())["warnings"] == result["warnings"]
    assert "WARNING student separate: epoch 0, scores reach" in (folder / "run.log").read_text()
    assert warnings_text(result).splitlines()[0].startswith("warning: student separate, epoch 0: scores reach")
    again = run_bd(config_dict=settings)  # its warm-ups come from the cache, with what was found then
    assert again["warnings"] == result["warnings"]
    code, out, _ = cli("run", *(f"--{key}={json.dumps(value)}" for key, value in settings.items()))
    assert code == 0
    assert warnings_text(result) in out


def test_a_model_with_constant_scores_is_reported(quick, monkeypatch):
    from recbole.model.general_recommender import BPR

    monkeypatch.setattr(BPR, "full_sort_predict", lambda self, batch: torch.zeros(len(batch) * self.n_items))
    result = run_bd("BPR", config_dict={**alone(quick), "epochs": 4})
    constant = [one for one in result["warnings"] if one["kind"] == "constant"]
    zero = [one for one in result["warnings"] if one["kind"] == "zero"]
    (one,) = constant or zero
    assert (one["role"], one["stage"]) == ("model", "separate")
    assert "the scores of a user's best items are all equal" in one["message"]


@pytest.mark.slow
def test_a_sound_run_has_no_warnings(quick):
    result = run_bd(config_dict={**quick, "epochs": 25, "learning_rate": 0.05})
    assert result["warnings"] == []
    assert warnings_text(result) == ""


# --- errors ----------------------------------------------------------------------------------------------------------
def test_a_parameter_that_breaks_in_the_last_step_of_an_epoch_stops_the_warm_up(quick, monkeypatch):
    """The loss was finite at every step; no batch has seen the number yet."""
    scene = Scene(quick)
    role = scene.roles[TEACHER]
    loader = train_loader(role.config, scene.split)
    trainer_class = type(role_trainer(role, Journal(), "separate"))
    original = trainer_class._train_epoch

    def breaking(self, *arguments, **options):
        total = original(self, *arguments, **options)
        if self.epoch == 1:
            with torch.no_grad():
                role.model.item_embedding.weight[17, 3] = math.nan
        return total

    monkeypatch.setattr("recbole_bd.trainer.role_trainer.RoleTrainerMixin._train_epoch", breaking)
    with pytest.raises(
        TrainingError,
        match=r"teacher \(BPR, arm separate, epoch 1\): item_embedding.weight is no longer finite; .*"
        "lower teacher.learning_rate or set clip_grad_norm",
    ):
        warm_up(role, loader, scene.split.valid_loader, Journal(), False)


def test_a_parameter_that_breaks_stops_the_distillation(quick, monkeypatch):
    scene = Scene(quick)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    original = BDTrainer._train_epoch

    def breaking(self, *arguments, **options):
        total = original(self, *arguments, **options)
        with torch.no_grad():
            scene.roles[STUDENT].model.user_embedding.weight[5, 0] = math.inf
        return total

    monkeypatch.setattr(BDTrainer, "_train_epoch", breaking)
    place = r"student \(BPR, arm distilled, epoch 0\): user_embedding.weight .* student.distill_learning_rate"
    with pytest.raises(TrainingError, match=place):
        trainer.fit(scene.stream(), scene.split.valid_loader)


def test_what_learns_beside_a_role_is_looked_at_too(quick):
    scene = Scene(quick)
    beside = [torch.ones(3), torch.tensor([1.0, math.nan])]
    health = Health(scene.roles[STUDENT], "distilled", Journal(), "distill_learning_rate", beside)
    with pytest.raises(
        TrainingError, match="parameter 1 outside the model is no longer finite; the state it starts from"
    ):
        health.before_evaluation(-1)


def test_scores_that_overflow_stop_the_validation(quick):
    scene = Scene(quick)
    role = scene.roles[STUDENT]
    with torch.no_grad():
        for parameter in role.model.parameters():
            parameter.fill_(1e30)
    trainer = role_trainer(role, Journal(), "separate")
    trainer.eval_collector.data_collect(train_loader(role.config, scene.split))
    trainer.epoch = 2
    with pytest.raises(TrainingError, match=r"student \(BPR, arm separate, epoch 2\): a score is inf though"):
        trainer._valid_epoch(scene.split.valid_loader)


def test_a_baseline_is_told_its_own_setting(quick):
    scene = Scene({**alone(quick), "model": "BPR"})
    (role,) = scene.roles.values()
    assert Health(role, "separate", Journal(), "learning_rate").rate == "learning_rate"

"""The trainer of one role: its warm-up, its losses and its best state."""

import math

import pytest
import torch
from recbole.trainer import Trainer
from recbole.utils import init_seed

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.data.batches import train_loader
from recbole_bd.errors import TrainingError
from recbole_bd.system.distributed import Group
from recbole_bd.trainer import role_trainer as module
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import role_trainer, warm_up
from tests.helpers.loaders import hosts
from tests.helpers.scenes import Scene
from tests.helpers.settings import alone


def test_a_warm_up_that_diverges_stops_with_its_place(quick):
    scene = Scene(quick)
    with torch.no_grad():
        scene.roles[TEACHER].model.user_embedding.weight.fill_(math.inf)

    loader = train_loader(scene.roles[TEACHER].config, scene.split)
    with pytest.raises(TrainingError, match=r"teacher's loss .*\(cf nan; arm separate, epoch 0, step 1\)"):
        warm_up(scene.roles[TEACHER], loader, scene.split.valid_loader, Journal(), False)


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "CDAE"])
@pytest.mark.parametrize("optimizer", ["RecBole's", "fused"])
def test_a_warm_up_is_what_recboles_trainer_does(backbone, optimizer, quick, tmp_path, monkeypatch):
    """RecBole's own Trainer and loader give the same weights: bitwise but for the fused optimizer's rounding."""

    if optimizer == "RecBole's":
        monkeypatch.setattr(module, "fused", lambda optimizer: optimizer)
    monkeypatch.chdir(tmp_path)
    settings = {**alone(quick), "teacher_model": backbone, "weight_decay": 1e-3}
    ours, host = Scene(settings), Scene(settings)
    init_seed(1, True)
    role = ours.roles[TEACHER]
    loader = train_loader(role.config, ours.split)
    snapshot = warm_up(role, loader, ours.split.valid_loader, Journal(), False)
    init_seed(1, True)
    role = host.roles[TEACHER]
    trainer = Trainer(role.config, role.model)
    trainer.epochs = snapshot.epoch + 1  # the best, so that the last state is the best there too
    _, valid = trainer.fit(hosts(role.config, host.split), host.split.valid_loader, verbose=False, saved=False)
    expected = role.model.state_dict()
    assert expected.keys() == snapshot.state.keys()
    for name, tensor in snapshot.state.items():
        if optimizer == "RecBole's":
            assert torch.equal(tensor, expected[name])
        else:
            assert torch.allclose(tensor, expected[name], atol=1e-5)
    if optimizer == "RecBole's":
        assert dict(valid) == snapshot.valid


def test_parts_of_a_models_own_loss_are_kept_apart(quick, monkeypatch):
    """A model of RecBole may return its loss in parts; they are recorded by number."""
    scene = Scene(quick)
    role = scene.roles[STUDENT]
    own = role.model.calculate_loss
    monkeypatch.setattr(role.model, "calculate_loss", lambda batch: (own(batch), 2 * own(batch)))
    journal = Journal()
    trainer = role_trainer(role, journal, "separate")
    with torch.no_grad():
        for parameter in role.model.parameters():
            parameter.zero_()  # -log(1/2) whatever the batch, and no gradient
    assert trainer._train_epoch(train_loader(role.config, scene.split), 4) == pytest.approx(
        (math.log(2), 2 * math.log(2))
    )
    (row,) = journal.losses
    assert row == {
        "stage": "separate",
        "role": STUDENT,
        "epoch": 4,
        "loss0": pytest.approx(math.log(2)),
        "loss1": pytest.approx(2 * math.log(2)),
    }


def test_a_state_goes_to_a_trainer_that_has_not_begun(quick):
    first, second = Scene(quick), Scene(quick)
    trainers = [role_trainer(scene.roles[STUDENT], Journal(), "separate") for scene in (first, second)]
    trainers[0]._train_epoch(train_loader(first.roles[STUDENT].config, first.split), 0)
    trainers[0].valid_result = {"ndcg@5": 0.5}
    trainers[0]._save_checkpoint(0)
    assert not hasattr(trainers[1], "losses")
    trainers[1]._load_state(trainers[0]._state())
    for one, other in zip(trainers[0].model.parameters(), trainers[1].model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert (trainers[1].best.epoch, trainers[1].best.valid) == (0, {"ndcg@5": 0.5})
    states = [trainer.optimizer.state_dict()["state"][0] for trainer in trainers]
    assert torch.equal(states[0]["exp_avg"], states[1]["exp_avg"])
    assert not hasattr(trainers[1], "losses")


def test_the_state_before_training_never_replaces_a_best_one(quick):
    trainer = role_trainer(Scene(quick).roles[STUDENT], Journal(), "separate")
    trainer._save_checkpoint(-1)
    assert (trainer.best.epoch, trainer.best.valid) == (-1, {})
    trainer.valid_result = {"ndcg@5": 0.5}
    trainer._save_checkpoint(2)
    trainer._save_checkpoint(-1)
    assert (trainer.best.epoch, trainer.best.valid) == (2, {"ndcg@5": 0.5})


@pytest.mark.parametrize("drift", [0.0, 1e-6])
def test_processes_with_other_parameters_are_noticed(drift, quick, monkeypatch):
    scene = Scene(quick)
    role = scene.roles[STUDENT]
    trainer = role_trainer(role, Journal(), "separate")
    own = sum(float(parameter.detach().double().sum()) for parameter in role.model.parameters())

    class Pair(Group):
        def all_gather(self, value):
            assert value == pytest.approx(own)
            return [value, value + drift]

    monkeypatch.setattr(module, "group", lambda: Pair(0, 2))
    trainer.eval_collector.data_collect(train_loader(role.config, scene.split))
    if not drift:
        assert trainer.evaluate(scene.split.valid_loader).keys() == {"hit@5", "ndcg@5"}
        return
    with pytest.raises(TrainingError) as error:
        trainer.evaluate(scene.split.valid_loader)
    assert str(error.value) == "student: the processes of this run have reached different parameters"


def test_a_warm_up_without_epochs_validates_the_state_it_has(quick):
    scene = Scene(quick, epochs=0)
    role, journal = scene.roles[TEACHER], Journal()
    before = {name: tensor.clone() for name, tensor in role.model.state_dict().items()}
    snapshot = warm_up(role, train_loader(role.config, scene.split), scene.split.valid_loader, journal, False)
    assert snapshot.epoch == -1
    assert snapshot.valid.keys() == {"hit@5", "ndcg@5"}
    assert [row["epoch"] for row in journal.validations] == [-1]
    assert all(torch.equal(snapshot.state[name], before[name]) for name in before)


@pytest.mark.parametrize("pretrained", [True, False])
def test_only_a_pretrained_start_is_a_candidate_of_a_warm_up(pretrained, quick, monkeypatch):
    """Every validation is worse than the one before."""
    scene, journal = Scene(quick, epochs=3), Journal()
    role, values = scene.roles[STUDENT], iter([0.9, 0.8, 0.7, 0.6])
    role.pretrained = pretrained
    monkeypatch.setattr(module.Trainer, "evaluate", lambda *_, **__: {"ndcg@5": next(values)})
    before = {name: tensor.clone() for name, tensor in role.model.state_dict().items()}
    snapshot = warm_up(role, train_loader(role.config, scene.split), scene.split.valid_loader, journal, False)
    assert [row["epoch"] for row in journal.validations] == ([-1] * pretrained + [0, 1, 2])
    assert (snapshot.epoch, snapshot.valid) == (-1 if pretrained else 0, {"ndcg@5": 0.9})
    assert all(torch.equal(snapshot.state[name], before[name]) for name in before) == pretrained
    assert all(torch.equal(role.model.state_dict()[name], snapshot.state[name]) for name in before)


@pytest.mark.parametrize(("arm", "first", "factor"), [("separate", 0.25, 0.5), ("distilled", 0.125, 0.25)])
def test_the_rate_of_an_epoch_is_the_first_one_times_the_decay_to_its_power(arm, first, factor, quick):
    settings = {
        "learning_rate": 0.25, "learning_rate_decay": 0.5, "distill_learning_rate": 0.125,
        "distill_learning_rate_decay": 0.25,
    }  # fmt: skip
    scene = Scene(quick, **settings)
    role, journal = scene.roles[STUDENT], Journal()
    trainer = role_trainer(role, journal, arm)
    for epoch in (0, 3, 1, 1):  # a resumed training begins anywhere
        trainer._train_epoch(train_loader(role.config, scene.split), epoch)
        assert trainer.optimizer.param_groups[0]["lr"] == first * factor**epoch
    assert [row["learning_rate"] for row in journal.learning_rates] == [first * factor**epoch for epoch in (0, 3, 1, 1)]


@pytest.mark.parametrize(("arm", "rate", "decay"), [("separate", 0.25, 0.0), ("distilled", 0.5, 0.125)])
def test_an_arm_has_its_rate(arm, rate, decay, quick):
    settings = {"learning_rate": 0.25, "distill_learning_rate": 0.5, "distill_weight_decay": 0.125}
    beside = [torch.nn.Parameter(torch.ones(2))]
    role = Scene(quick, **settings).roles[STUDENT]
    (group,) = role_trainer(role, Journal(), arm, beside).optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (rate, decay)
    assert [id(one) for one in group["params"]] == [id(one) for one in (*role.model.parameters(), *beside)]

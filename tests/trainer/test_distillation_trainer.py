import itertools
import math

import pytest
import torch
from recbole.trainer import Trainer
from recbole.utils import init_seed

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.errors import TrainingError
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import warm_up
from tests.helpers.scenes import Scene
from tests.helpers.settings import alone


def test_a_step_takes_both_losses_before_either_update(quick):
    """One SGD step equals the step written out: each role's gradient at both roles' old parameters."""
    sgd = {"learner": "sgd", "learning_rate": 0.5, "train_batch_size": 10**6, "distill_epochs": 1}
    scene, reference = Scene(quick, **sgd), Scene(quick, **sgd)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    batch = reference.batches[0]
    expected = {}
    for role in (TEACHER, STUDENT):  # in the trainer's order, since both draw from one generator
        loss = sum(reference.method.loss(role, batch).values())
        parameters = dict(reference.roles[role].model.named_parameters())
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        expected[role] = {n: p.detach() - 0.5 * g for (n, p), g in zip(parameters.items(), gradients, strict=True)}
    trainer.step.update(batch, {role: EpochLosses(role, "distilled", 0, torch.device("cpu")) for role in expected})
    for role, parameters in expected.items():
        for name, value in scene.roles[role].model.named_parameters():
            assert torch.allclose(value, parameters[name], atol=1e-7)


def test_each_role_has_its_own_settings_of_the_distillation_stage(quick):
    settings = {"teacher.distill_learning_rate": 0.5, "student.learning_rate": 0.25, "distill_weight_decay": 0.125}
    trainer = BDTrainer((scene := Scene(quick, **settings)).config, scene.method, Journal())
    groups = {name: role.optimizer.param_groups[0] for name, role in trainer.trainers.items()}
    assert (groups[TEACHER]["lr"], groups[STUDENT]["lr"]) == (0.5, 0.25)
    assert groups[TEACHER]["weight_decay"] == groups[STUDENT]["weight_decay"] == 0.125
    for name, role in trainer.trainers.items():
        owned = {id(p) for group in role.optimizer.param_groups for p in group["params"]}
        assert owned == {id(p) for p in scene.roles[name].model.parameters()}


def test_the_best_state_of_each_role_is_kept(quick):
    trainer = Scene(quick, distill_epochs=6, **{"student.learning_rate": 0.5}).trained()
    for role, best in trainer.best.items():
        rows = trainer.journal.of("distilled", role)
        assert best.valid["ndcg@5"] == max(row["ndcg@5"] for row in rows)
        assert best.epoch == next(row["epoch"] for row in rows if row["ndcg@5"] == best.valid["ndcg@5"])


@pytest.mark.parametrize(
    ("stop_on", "improves", "epochs"),
    [
        ("both", set(), 3),
        ("both", {TEACHER}, 9),
        ("both", {STUDENT}, 9),
        ("teacher", {STUDENT}, 3),
        ("student", {STUDENT}, 9),
    ],
)
def test_it_stops_when_no_watched_role_improves(stop_on, improves, epochs, quick, monkeypatch):
    scene = Scene(quick, distill_epochs=9, stopping_step=1, stop_on=stop_on)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    validate_as_told(trainer, improves, monkeypatch)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.epoch + 1 == epochs


def validate_as_told(trainer, improves, monkeypatch):
    """Validations without models: some roles are better every time, the others never after the first."""
    count = iter(range(1000))
    for name, role_trainer in trainer.trainers.items():

        def validate(*_, role=name, trainer=role_trainer):
            score = next(count) if role in improves else 0.5
            trainer.valid_score, trainer.valid_result = score, {"ndcg@5": score}
            return score, trainer.valid_result

        monkeypatch.setattr(role_trainer, "_valid_epoch", validate)


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize("tired", [TEACHER, STUDENT])
def test_a_role_without_a_new_best_rests_at_its_best_while_the_other_learns_on(rests, tired, quick, monkeypatch):
    scene = Scene(quick, distill_epochs=9, stopping_step=1, rest_at_best=rests, refresh_period=2)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    other = STUDENT if tired == TEACHER else TEACHER
    validate_as_told(trainer, {other}, monkeypatch)
    states = {role: [] for role in (tired, other)}
    train = trainer._train_epoch

    def noted(*arguments, **options):
        done = train(*arguments, **options)
        for role, seen in states.items():
            seen.append(next(scene.roles[role].model.parameters()).detach().clone())
        return done

    monkeypatch.setattr(trainer, "_train_epoch", noted)
    trainer.fit(scene.stream(), scene.split.valid_loader)
    assert trainer.epoch == 8
    moved = {role: [not torch.equal(a, b) for a, b in itertools.pairwise(seen)] for role, seen in states.items()}
    assert all(moved[other])
    # Best in epoch 0, none better in 1 and 2, so that it goes back after 2 and does not move from then on.
    assert moved[tired] == ([True] * 3 + [False] * 5 if rests else [True] * 8)
    assert torch.equal(states[tired][3], states[tired][0]) == rests
    assert trainer.model.resting == ([tired] if rests else [])
    assert set(scene.method.sampler.pools) == ({other} if rests else {tired, other})  # nothing is drawn for who rests


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_place(value, quick, monkeypatch):
    scene = Scene(quick)
    original = scene.method.loss

    def broken(role, batch):
        parts = original(role, batch)
        return {**parts, "distill": parts["distill"] * value} if role == STUDENT else parts

    monkeypatch.setattr(scene.method, "loss", broken)
    with pytest.raises(
        TrainingError, match=r"student's loss is not finite \(cf .*distill .*arm distilled, epoch 0, step 1"
    ):
        scene.trained()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_first_bad_step_is_named_also_where_steps_are_looked_at_together(device):
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device(device))
    with pytest.raises(TrainingError, match=r"\(cf 0.5, distill nan; arm distilled, epoch 3, step 61\)"):  # noqa: PT012
        for step in range(1, 200):
            losses.add({"cf": torch.tensor(0.5), "distill": torch.tensor(math.nan if step == 61 else 1.0)})
    assert losses.steps == (61 if device == "cpu" else 100)
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device(device))
    for value in (1.0, 3.0):
        losses.add({"cf": torch.tensor(value)})
    assert losses.means() == {"cf": 2.0}


def test_sums_that_were_kept_go_on_where_the_losses_are():
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device("meta"))
    losses.load_state_dict({"steps": 2, "sums": {"cf": torch.tensor([3.0])}})
    losses.add({"cf": torch.ones(1, device="meta")})
    assert losses._sums["cf"].device.type == "meta"


def test_a_bad_step_is_found_before_its_mean_is_taken():
    losses = EpochLosses(STUDENT, "distilled", 3, torch.device("cuda"))
    losses.add({"cf": torch.tensor(1.0)})
    losses.add({"cf": torch.tensor(math.inf)})
    with pytest.raises(TrainingError, match="step 2"):
        losses.means()


def test_a_warm_up_that_diverges_stops_with_its_place(quick):
    scene = Scene(quick)
    with torch.no_grad():
        scene.roles[TEACHER].model.user_embedding.weight.fill_(math.inf)
    from recbole_bd.data.batches import train_loader

    loader = train_loader(scene.roles[TEACHER].config, scene.split)
    with pytest.raises(TrainingError, match=r"teacher's loss .*\(cf nan; arm separate, epoch 0, step 1\)"):
        warm_up(scene.roles[TEACHER], loader, scene.split.valid_loader, Journal(), False)


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "CDAE"])
@pytest.mark.parametrize("optimizer", ["RecBole's", "fused"])
def test_a_warm_up_is_what_recboles_trainer_does(backbone, optimizer, quick, tmp_path, monkeypatch):
    """RecBole's own Trainer and loader give the same weights: bitwise but for the fused optimizer's rounding."""
    from recbole_bd.data.batches import train_loader
    from recbole_bd.trainer import role_trainer
    from tests.helpers.loaders import hosts

    if optimizer == "RecBole's":
        monkeypatch.setattr(role_trainer, "fused", lambda optimizer: optimizer)
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


@pytest.mark.parametrize("learner", ["adam", "adamw", "sgd", "adagrad", "rmsprop"])
def test_the_fused_update_is_the_same_mathematics(learner, quick):
    scene = Scene(quick, learner=learner, learning_rate=0.02, weight_decay=0.01)
    trainer = BDTrainer(scene.config, scene.method, Journal()).trainers[TEACHER]
    plain = Trainer._build_optimizer(trainer)
    quicker = trainer.optimizer
    assert type(plain) is type(quicker)
    assert bool(quicker.defaults.get("fused")) == (learner in ("adam", "adamw", "sgd"))
    varying = ("params", "fused", "foreach")
    settings = [{k: v for k, v in o.param_groups[0].items() if k not in varying} for o in (plain, quicker)]
    assert settings[0] == settings[1]
    parameters = plain.param_groups[0]["params"]
    start = [parameter.detach().clone() for parameter in parameters]
    ends = []
    for optimizer in (plain, quicker):
        generator = torch.Generator().manual_seed(0)
        for parameter, value in zip(parameters, start, strict=True):
            parameter.data.copy_(value)
        for _ in range(5):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        ends.append([parameter.detach().clone() for parameter in parameters])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*ends, strict=True))
    assert not torch.equal(ends[0][0], start[0])


def test_losses_are_means_by_part(quick):
    trainer = Scene(quick, distill_epochs=1).trained()
    rows = {row["role"]: row for row in trainer.journal.losses}
    assert rows.keys() == {TEACHER, STUDENT}
    for row in rows.values():
        assert 0 < row["cf"] < 5
        assert 0 < row["distill"] < 50

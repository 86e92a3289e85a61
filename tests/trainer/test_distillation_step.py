"""One step of the distillation, and who takes part in it."""

from unittest.mock import Mock

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.data.batches import train_loader
from recbole_bd.errors import TrainingError
from recbole_bd.system import threads
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.learner_state import learner_state, load_learner_state
from recbole_bd.trainer.role_trainer import role_trainer
from tests.helpers.scenes import Scene, equal_states, pair


def losses_of(*roles: str) -> dict[str, EpochLosses]:
    return {role: EpochLosses(role, "distilled", 0, torch.device("cpu")) for role in roles}


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


@pytest.mark.parametrize("bound", [None, 1e-3])
def test_gradients_are_clipped_together_where_the_settings_say_so(bound, quick):
    """An SGD step with rate 1 moves the parameters of a role by their clipped gradient."""
    more = {} if bound is None else {"clip_grad_norm": {"max_norm": bound}}
    scene = Scene(quick, learner="sgd", learning_rate=1.0, **more)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    before = scene.states()
    trainer.step.update(scene.batches[0], losses_of(TEACHER, STUDENT))
    after = scene.states()
    for role in (TEACHER, STUDENT):
        moved = torch.cat([(after[name] - before[name]).flatten() for name in before if name.startswith(role)])
        assert float(moved.norm()) == pytest.approx(bound, rel=1e-3) if bound else float(moved.norm()) > 1e-2


def test_a_role_that_rests_neither_moves_nor_counts(quick):
    scene = Scene(quick)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    scene.method.resting = [TEACHER]
    assert trainer.step.learning([STUDENT, TEACHER, "other"]) == [STUDENT]
    before, losses = scene.states(), losses_of(TEACHER, STUDENT)
    trainer.step.update(scene.batches[0], losses)
    moved = {name.split(".")[0] for name, tensor in scene.states().items() if not torch.equal(tensor, before[name])}
    assert moved == {STUDENT}
    assert (losses[TEACHER].steps, losses[STUDENT].steps) == (0, 1)


def test_one_process_shares_no_batches(quick):
    scene = Scene(quick)
    assert BDTrainer(scene.config, scene.method, Journal()).step.shared_roles == set()


def scaled(trainer: BDTrainer, scale: float) -> None:
    """Give each role a scaler, as `enable_scaler` does on a GPU."""
    for one in trainer.trainers.values():
        one.scaler = torch.amp.GradScaler("cpu", init_scale=scale)


@pytest.mark.parametrize("learner", ["adam", "sgd"])
@pytest.mark.parametrize("bound", [None, 1e-3])
def test_scaled_gradients_give_the_same_step(bound, learner, quick):
    """A power of two is divided out without rounding; gradients are clipped as they are without it."""
    more = {} if bound is None else {"clip_grad_norm": {"max_norm": bound}}
    states = []
    for scale in (None, 1024.0):
        scene = Scene(quick, learner=learner, **more)
        trainer = BDTrainer(scene.config, scene.method, Journal())
        if scale:
            scaled(trainer, scale)
        for batch in scene.batches[:3]:
            trainer.step.update(batch, losses_of(TEACHER, STUDENT))
        states.append(scene.states())
    assert equal_states(*states)


def test_a_scaled_gradient_that_is_not_finite_lowers_the_scale_of_its_role_alone(quick, monkeypatch):
    scene = Scene(quick)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    scaled(trainer, 2.0**100)
    loss = scene.method.loss
    large = {TEACHER: 2.0**40, STUDENT: 1.0}
    monkeypatch.setattr(
        scene.method, "loss", lambda role, batch: {k: v * large[role] for k, v in loss(role, batch).items()}
    )
    before = scene.states()
    trainer.step.update(scene.batches[0], losses_of(TEACHER, STUDENT))
    moved = {name.split(".")[0] for name, tensor in scene.states().items() if not torch.equal(tensor, before[name])}
    assert moved == {STUDENT}
    assert [trainer.trainers[role].scaler.get_scale() for role in (TEACHER, STUDENT)] == [2.0**99, 2.0**100]


def test_the_scale_is_part_of_a_learners_state(quick):
    first, second = (BDTrainer(scene.config, scene.method, Journal()) for scene in (Scene(quick), Scene(quick)))
    for one in first.trainers.values():
        assert learner_state(one)["scaler"] == {}, "nothing is scaled on a CPU"
    scaled(first, 512.0)
    scaled(second, 2.0)
    kept = learner_state(first.trainers[STUDENT])
    load_learner_state(second.trainers[STUDENT], kept)
    load_learner_state(second.trainers[TEACHER], {**learner_state(first.trainers[TEACHER]), "scaler": {}})
    assert [one.scaler.get_scale() for one in second.trainers.values()] == [2.0, 512.0]


def test_only_a_stage_on_a_gpu_scales(quick, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    role = Scene(quick).roles[STUDENT]
    role.config["enable_scaler"] = True
    cases = (("distilled", "cuda", True), ("distilled", "cpu", False), ("separate", "cuda", False))
    for arm, device, is_scaled in cases:
        role.config["device"] = torch.device(device)
        assert role_trainer(role, Journal(), arm).scaler.is_enabled() == is_scaled


def test_the_steps_of_a_model_of_tables_use_one_thread(quick, monkeypatch):
    """BPR's losses, gradients and updates use one thread, CDAE's all; so does what follows."""
    scene = Scene(quick, teacher_model="CDAE")
    trainer = BDTrainer(scene.config, scene.method, Journal())
    seen, loss = {}, scene.method.loss

    def watched(name, batch):
        seen.setdefault((name, "loss"), set()).add(torch.get_num_threads())
        return loss(name, batch)

    monkeypatch.setattr(scene.method, "loss", watched)
    for name, one in trainer.trainers.items():
        step = one.optimizer.step
        note = seen.setdefault((name, "step"), set())
        monkeypatch.setattr(one.optimizer, "step", lambda *a, s=step, n=note: [n.add(torch.get_num_threads()), s(*a)])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for batch in scene.batches:
            trainer.step.update(batch, losses_of(TEACHER, STUDENT))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    for kind in ("loss", "step"):
        assert (seen[TEACHER, kind], seen[STUDENT, kind]) == ({3}, {1})


@pytest.mark.parametrize(("model", "count"), [("BPR", 1), ("MF", 1), ("CDAE", 3), ("LightGCN", 3)])
def test_so_do_those_of_its_warm_up(model, count, quick, monkeypatch):
    scene = Scene({**quick, "teacher_model": model})
    role, seen = scene.roles[TEACHER], set()
    loss = role.parts_of_loss
    monkeypatch.setattr(role, "parts_of_loss", lambda *a: [seen.add(torch.get_num_threads()), loss(*a)][1])
    trainer = role_trainer(role, Journal(), "separate")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        trainer._train_epoch(train_loader(role.config, scene.split), 0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == {count}


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


PAIRS = [
    {},
    {"guide_state": "best", "clip_grad_norm": {"max_norm": 0.1}},
    {"teacher_model": "MF", "student_model": "MF", "own_loss": "softmax", "weights_average": 0.9},
    {"model": "DML", "top_items": 10},
    {"model": "KDCL", "top_items": 10},
    {"pause": "switokd"},
]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("settings", PAIRS, ids=str)
def test_two_threads_give_bitwise_the_numbers_of_one(settings, quick, monkeypatch):
    """The scene of one thread has the same steps, with no second thread at all."""
    settings = {**pair(quick, "BPR", "BPR"), "distill_epochs": 6, "eval_step": 2, **settings}
    beside = Mock(wraps=threads._second_thread)
    monkeypatch.setattr(threads, "_second_thread", beside)
    states = []
    for count in (2, 1):
        torch.set_num_threads(count)
        beside.reset_mock()
        scene = Scene(settings)
        scene.trained()
        states.append(scene.states())
        assert bool(beside.called) == (count == 2)
    assert equal_states(*states)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("teacher", "student"), [("CDAE", "BPR"), ("LightGCN", "LightGCN")])
def test_models_of_longer_steps_use_all_threads_one_after_the_other(teacher, student, quick, monkeypatch):
    monkeypatch.setattr(threads, "_second_thread", Mock(side_effect=AssertionError))
    scene = Scene(pair(quick, teacher, student))
    trainer = BDTrainer(scene.config, scene.method, Journal())
    trainer.step.update(scene.batches[0], losses_of(TEACHER, STUDENT))


@pytest.mark.usefixtures("two_threads")
def test_a_loss_that_is_not_finite_ends_the_step_before_either_update(quick):
    scene = Scene(quick)
    trainer = BDTrainer(scene.config, scene.method, Journal())
    with torch.no_grad():
        next(scene.roles[STUDENT].model.parameters()).fill_(torch.nan)
    before = scene.states()
    with pytest.raises(TrainingError, match="the student's loss is not finite"):
        trainer.step.update(scene.batches[0], losses_of(TEACHER, STUDENT))
    after = scene.states()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith(TEACHER))

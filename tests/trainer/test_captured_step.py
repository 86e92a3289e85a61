"""Steps that are recorded and replayed train as plain steps do; here the recording runs the step again."""

from types import SimpleNamespace

import pytest
import torch
from recbole.model.general_recommender import BPR, MultiVAE

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.traits import BackboneTraits
from recbole_bd.system.distributed import Group
from recbole_bd.trainer import captured_step, weights_average
from recbole_bd.trainer.captured_step import CapturedSteps, may_capture
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.epoch_losses import EpochLosses
from recbole_bd.trainer.journal import Journal
from tests.helpers.scenes import Scene, equal_states


class Again:
    """A recording that calls the step whenever it is replayed; the first call is that of the capture."""

    made, replaying = 0, False

    def __init__(self, step):
        self.step, Again.made = step, Again.made + 1

    def replay(self):
        Again.replaying = True
        self.step()
        Again.replaying = False


@pytest.fixture(autouse=True)
def none_made(monkeypatch):
    Again.made, Again.replaying = 0, False
    monkeypatch.setattr(weights_average, "_is_capturing", lambda: Again.replaying)


def losses_of(*roles):
    return {role: EpochLosses(role, "distilled", 0, torch.device("cpu")) for role in roles}


def scene_of(quick, **more):
    return Scene({key: value for key, value in quick.items() if "." not in key}, train_batch_size=64, **more)


def captured(trainer: BDTrainer) -> BDTrainer:
    """The same trainer as on a GPU, with `Again` in the place of CUDA graphs."""

    def after(roles):
        for name in roles:
            trainer.trainers[name].average.after_replay()

    trainer.step.captured = CapturedSteps(trainer.step._step.run, Again, after=after)
    return trainer


@pytest.mark.parametrize("more", [{}, {"weights_average": 0.9}, {"teacher_model": "LightGCN"}, {"model": "RD"}])
def test_replayed_steps_train_as_plain_ones(more, quick):
    plain, other = scene_of(quick, **more), scene_of(quick, **more)
    trainers = (
        BDTrainer(plain.config, plain.method, Journal()),
        captured(BDTrainer(other.config, other.method, Journal())),
    )
    sums = []
    for scene, trainer in zip((plain, other), trainers, strict=True):
        losses = losses_of(*trainer.trainers)
        with trainer.step.epoch():
            for batch in scene.batches:
                trainer.step.update(batch, losses)
        sums.append({name: one.means() for name, one in losses.items()})
    assert equal_states(plain.states(), other.states())
    assert sums[0] == sums[1]
    assert Again.made == (0 if "model" in more else 1)
    averages = [{n: t.average.state_dict()["steps"] for n, t in one.trainers.items()} for one in trainers]
    assert averages[0] == averages[1]


def steps(run=None, record=Again):
    def step(batch, roles):
        return {role: {"cf": batch.users.sum().float()} for role in roles}

    return CapturedSteps(run or step, record)


def test_a_step_is_captured_after_two_plain_ones_and_a_shorter_batch_is_not(quick):
    batches = scene_of(quick).batches
    own, losses = steps(), losses_of(STUDENT)
    assert len(batches[-1].users) < len(batches[0].users)
    for number, batch in enumerate(batches, 1):
        own.update(batch, [STUDENT], losses)
        assert Again.made == (number > 2)
    assert losses[STUDENT].means()["cf"] == pytest.approx(
        sum(float(batch.users.sum()) for batch in batches) / len(batches)
    )


def test_another_kind_is_captured_anew(quick):
    batch, own, losses = scene_of(quick).batches[0], steps(), losses_of(STUDENT)
    for kind, made in (("a", 0), ("a", 0), ("a", 1), ("a", 1), ("b", 1), ("b", 1), ("b", 2), ("a", 2)):
        own.update(batch, [STUDENT], losses, kind)
        assert Again.made == made


def test_streams_of_two_roles_do_not_disturb_each_other(quick):
    batch, own, losses = scene_of(quick).batches[0], steps(), losses_of(STUDENT, TEACHER)
    for _ in range(4):
        own.update(batch, [STUDENT], losses, "own of the student")
        own.update(batch, [TEACHER], losses, "own of the teacher")
    assert Again.made == 2


def test_a_row_of_losses_is_kept_though_the_next_step_writes_another(quick):
    batches, own, losses = scene_of(quick).batches, steps(), losses_of(STUDENT)
    losses[STUDENT]._every = 10**6
    for batch in batches[:5]:
        own.update(batch, [STUDENT], losses)
    rows = [float(row[0]) for row in losses[STUDENT]._rows]
    assert rows == [float(batch.users.sum()) for batch in batches[:5]]


def test_what_a_step_reads_is_told(quick):
    """Weights, the drawn items and kept vectors; nothing is told of methods that are not known to be capturable."""
    scene = scene_of(quick, lambda_schedule="linear", lambda_warmup_epochs=4)
    batch = scene.batches[0]
    first = scene.method.kind_of_step(batch)
    assert first is not None
    assert scene.method.kind_of_step(batch) == first
    scene.method.refresh(1)
    assert scene.method.kind_of_step(batch) != first
    shuffled = scene_of(quick, guide="shuffled")
    assert shuffled.method.kind_of_step(shuffled.batches[0]) is None
    control = scene_of(quick, control=True)
    assert control.method.kind_of_step(control.batches[0]) == "control"
    assert scene_of(quick, model="RD").method.kind_of_step(batch) is None


def test_kept_vectors_of_a_new_best_state_are_another_kind(quick):
    scene = scene_of(quick, teacher_model="LightGCN", guide_state="best")
    before = scene.method.kind_of_step(scene.batches[0])
    scene.method.new_best(TEACHER)
    assert scene.method.kind_of_step(scene.batches[0]) != before


class OwnBPR(BPR):
    """A subclass, of which nothing more is known than that it scores as BPR does."""


class DeclaredBPR(BPR):
    bd_traits = BackboneTraits("InnerProduct", is_capturable=True)


class FakeTrainer:
    """A trainer on a GPU, as far as `may_capture` looks."""

    device, enable_scaler, rate_decay = torch.device("cuda"), False, SimpleNamespace(factor=1.0)

    def __init__(self, **settings):
        self.config = {"cuda_graphs": True, **settings}
        self.optimizer = SimpleNamespace(param_groups=[{"capturable": True}])


def role_of(kind, softmax=None):
    return SimpleNamespace(model=kind.__new__(kind), softmax=softmax)


def test_steps_of_known_models_alone_are_captured():
    assert may_capture([FakeTrainer()], [role_of(BPR), role_of(DeclaredBPR)])
    for other in (OwnBPR, MultiVAE):
        assert not may_capture([FakeTrainer()], [role_of(BPR), role_of(other)])
    assert not may_capture([FakeTrainer()], [role_of(BPR, softmax=object())])


def test_settings_and_the_machine_decide_too(monkeypatch):
    scaled, other, on_cpu, decaying = (FakeTrainer() for _ in range(4))
    scaled.enable_scaler, other.optimizer.param_groups, on_cpu.device = True, [{"lr": 1.0}], torch.device("cpu")
    decaying.rate_decay = SimpleNamespace(factor=0.5)
    for trainer in (scaled, other, on_cpu, decaying, FakeTrainer(cuda_graphs=False)):
        assert not may_capture([FakeTrainer(), trainer], [role_of(BPR)])
    monkeypatch.setattr(captured_step, "group", lambda: Group(0, 2))
    assert not may_capture([FakeTrainer()], [role_of(BPR)])


def test_a_batch_cloned_has_equal_numbers_elsewhere(quick):
    batch = scene_of(quick).batches[0]
    for one, other in zip(batch.tensors(), batch.clone().tensors(), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()

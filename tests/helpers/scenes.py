"""Two roles, a split and a method, built and ready for a step."""

import torch
from recbole.utils import init_seed

from recbole_bd.backbones.build_role import build_role
from recbole_bd.data.batches import batch_stream
from recbole_bd.data.split import load_split
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from tests.helpers.settings import for_method, make_config


class Scene:
    """A method with its roles on the block data, and its first batches."""

    def __init__(self, settings, control=False, **more):
        self.config = make_config(for_method(settings, more["model"]) if "model" in more else settings, **more)
        self.split = load_split(self.config)
        self.roles = {}
        for name in self.config.backbones:
            init_seed(3, True)
            self.roles[name] = build_role(name, self.config.role(name), self.split.train)
            with torch.no_grad():  # scores of an untrained model are all but equal
                for parameter in self.roles[name].model.parameters():
                    parameter.mul_(10)
        if self.config.method_class is None:
            return
        self.method = self.config.method_class(self.config, self.split.train, self.roles, control=control)
        self.method.refresh(0)
        self.method.train()
        self.batches = list(self.stream())

    def stream(self):
        configs = {name: self.roles[name].config for name in self.method.learners}
        return batch_stream(configs, self.split, lambda role: self.roles[role].model)

    def batch_of(self, role):
        return next(batch for batch in self.batches if role in batch.roles)

    def gradients(self, role) -> dict[str, float]:
        """Size of every role's gradient after the loss of one role went backward."""
        self.method.zero_grad()
        with self.method.step():
            sum(self.method.loss(role, self.batch_of(role)).values()).backward()
        return {
            name: sum(float(p.grad.abs().sum()) for p in other.model.parameters() if p.grad is not None)
            for name, other in self.roles.items()
        }

    def trained(self) -> BDTrainer:
        """Train the learners for the configured epochs."""
        init_seed(3, True)  # RecBole draws negatives from numpy's global state
        trainer = BDTrainer(self.config, self.method, Journal())
        trainer.fit(self.stream(), self.split.valid_loader)
        return trainer

    def states(self) -> dict[str, torch.Tensor]:
        """Every number of both roles' models."""
        return {f"{n}.{k}": t.clone() for n, role in self.roles.items() for k, t in role.model.state_dict().items()}


def pair(quick, teacher, student) -> dict:
    settings = {key: value for key, value in quick.items() if "." not in key}
    return {**settings, "teacher_model": teacher, "student_model": student}


def equal_states(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Compare two states: the same names, and bitwise the same tensors."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)

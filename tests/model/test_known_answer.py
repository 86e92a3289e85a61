"""Every method lifts a tiny student on data whose answer is known.

Users of a block like items of their block, three of which are known to the roles. The answer is the block's other nine
items among 93. Student and teacher see the same, and the teacher is the larger. For RD, whose lists alone tell little,
it is a neighbourhood.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from recbole.utils import init_seed

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.names import PAIR, STUDENT
from recbole_bd.backbones.registry import learns_by_gradient
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot
from recbole_bd.data.batches import batch_stream, train_loader
from recbole_bd.data.split import Split, load_split
from recbole_bd.model import METHODS
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.sampler.top_lists import top_lists
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import warm_up
from tests.helpers.bounds import LONG
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import make_config

LARGER = {"teacher.embedding_size": 16}
# Settings of each method, whose defaults are for larger catalogues.
TAUGHT = {
    "RD": {"teacher_model": "ItemKNN", "lambda_teacher_to_student": 0.3, "top_items": 6},
    "CD": {},
    "DE": {"lambda_teacher_to_student": 0.3, "experts": 4},
    "FTD": {"lambda_teacher_to_student": 1.0},
    "HTD": {"lambda_teacher_to_student": 1.0, "topology_share": 0.8, "experts": 8},
    "RRD": {
        "lambda_teacher_to_student": 0.02, "interesting_items": 10, "uninteresting_items": 20, "rank_temperature": 5.0,
    },
    "CE": {"top_items": 20},
    "RCEKD": {"top_items": 20, "sampled_items": 20, "sampled_from": 60},
    "DCD": {
        "lambda_teacher_to_student": 0.02, "list_length": 30, "corrected_items": 10, "interesting_items": 10,
        "uninteresting_items": 20, "rank_temperature": 5.0,
    },
    "UnKD": {"popularity_groups": 2, "rank_temperature": 10.0},
    "HetComp": {"lambda_teacher_to_student": 0.02, "top_items": 20, "refresh_period": 3},
    "DML": {"top_items": 20},
    "KDCL": {"top_items": 20, "lambda_teacher_to_student": 5.0, "temperature": 1.0},
    "BD": {"top_temperature": 10.0},
}  # fmt: skip
SEEDS = (2021, 2022) if LONG else (2021,)
BLOCKS, USERS, ITEMS, TOP = 8, 120, 96, 5


@dataclass
class World:
    """Data of one seed, the states that all methods start from, and what is right."""

    settings: dict
    split: Split
    starts: dict[str, Snapshot]
    own: torch.Tensor  # bool [n_users, n_items]: the item is of the user's block
    seen: SeenItems

    def roles(self, config) -> dict[str, Role]:
        """Both roles in the states that every method starts from."""
        found = {}
        for name in PAIR:
            found[name] = role = build_role(name, config.role(name), self.split.train)
            if learns_by_gradient(role.config["model"]):
                restore_snapshot(role.model, self.starts[name])
                role.earlier = self.starts[name].earlier
        return found

    def right(self, role: Role) -> float:
        """Part of the users' first items that are of their own block."""
        with role.scoring():
            lists = top_lists(role.all_logits, self.seen, TOP, torch.Generator().manual_seed(1))[1:].long()
        return float(self.own[1:].gather(1, lists).float().mean())

    def taught(self, method: str, control: bool = False) -> float:
        """The same of a student after the method, or after its control."""
        config = make_config({**self.settings, **({} if method == "RD" else LARGER), **TAUGHT[method]}, model=method)
        roles = self.roles(config)
        distiller = config.method_class(config, self.split.train, roles, control=control)
        init_seed(config["seed"], True)
        configs = {name: roles[name].config for name in distiller.learners}
        BDTrainer(config, distiller, Journal()).fit(batch_stream(configs, self.split, lambda name: roles[name].model))
        roles[STUDENT].forget()
        return self.right(roles[STUDENT])


def world_of(folder, seed: int) -> World:
    write_inter(folder, "sparse", block_pairs(USERS, ITEMS, BLOCKS, per_user=6))
    settings = {
        "dataset": "sparse", "data_path": str(folder), "checkpoint_dir": str(folder), "device": "cpu", "seed": seed,
        "metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5", "show_progress": False, "train_batch_size": 128,
        "eval_args": {"split": {"RS": [0.5, 0.17, 0.33]}, "group_by": "user", "order": "RO", "mode": "full"},
        "learning_rate": 0.02, "epochs": 40, "distill_epochs": 20, "student.embedding_size": 4, "eval_step": 5,
    }  # fmt: skip
    config = make_config({**settings, **LARGER}, model="CD")
    split, starts = load_split(config), {}
    for name in PAIR:
        init_seed(seed, True)
        role = build_role(name, config.role(name), split.train)
        loader = train_loader(role.config, split)
        starts[name] = warm_up(role, loader, split.valid_loader, Journal(), False, kept_states=4)
    users, items = (
        torch.tensor([0, *(int(token[1:]) for token in split.train.field2id_token[field][1:])])
        for field in ("user_id", "item_id")
    )
    own = (users.unsqueeze(1) % BLOCKS) == torch.div(items, ITEMS // BLOCKS, rounding_mode="floor")
    own[:, 0] = False
    train = split.pairs("train")
    return World(settings, split, starts, own, SeenItems(*train, split.n_users, split.n_items))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> list[World]:
    return [world_of(tmp_path_factory.mktemp("taught"), seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def alone(worlds) -> dict[str, float]:
    """The student's share of right items after its warm-up, and after as much more training as a method has."""
    configs = [make_config({**world.settings, **LARGER}, model="CD") for world in worlds]
    separate = np.mean([world.right(world.roles(one)[STUDENT]) for world, one in zip(worlds, configs, strict=True)])
    return {"separate": separate, "continued": np.mean([world.taught("CD", control=True) for world in worlds])}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_tiny_student_is_lifted_above_its_separate_self(method, worlds, alone):
    taught = np.mean([world.taught(method) for world in worlds])
    assert taught > alone["separate"] + 0.12
    assert taught > alone["continued"] + 0.03

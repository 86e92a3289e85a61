"""Models that score with noise have the same noise in every evaluation of a part."""

import numpy as np
import pytest
import torch

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.registry import general_recommenders
from recbole_bd.backbones.traits import scores_with_noise
from recbole_bd.data.split import load_split
from recbole_bd.evaluator.held_out_ranks import test_ranks as ranks_of_test_items
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.evaluator.shared_noise import shared_noise
from recbole_bd.trainer.evaluation import evaluate
from recbole_bd.trainer.journal import Journal
from tests.helpers.settings import alone, make_config

DIFFUSION = {"sampling_steps": 3, "steps": 5}
NOISY = [("Random", {}), ("ADMMSLIM", {}), ("DiffRec", DIFFUSION), ("LDiffRec", DIFFUSION)]


def role_and_split(quick: dict, name: str, **more) -> tuple:
    config = make_config(
        {**alone(quick), "topk": [48], "metrics": ["MRR"], "valid_metric": "MRR@48"}, model=name, **more
    )
    split = load_split(config)
    return build_role("model", config.role("model"), split.train), split


def measured(role, split, part: str) -> np.ndarray:
    per_user = PerUser(split)
    evaluate(role, split, getattr(split, f"{part}_loader"), Journal(), "separate", per_user=per_user)
    return per_user.values["model/separate/mrr@48"]


@pytest.mark.parametrize(("name", "more"), NOISY)
def test_the_same_weights_have_the_same_metrics_and_ranks(name, more, quick):
    role, split = role_and_split(quick, name, **more)
    assert scores_with_noise(role.config)
    torch.rand(5)
    states = [torch.get_rng_state()]
    first, ranks = measured(role, split, "test"), ranks_of_test_items(role, split)
    states.append(torch.get_rng_state())
    assert torch.equal(*states)
    measured(role, split, "valid")
    torch.rand(5)
    np.random.random()
    assert np.array_equal(measured(role, split, "test"), first)
    assert torch.equal(ranks_of_test_items(role, split), ranks)


@pytest.mark.parametrize("mode", ["full", "uni20"])
def test_noise_depends_on_seed_and_part(mode, quick):
    draws = []
    for seed in (1, 2):
        role, split = role_and_split(quick, "Random", seed=seed, eval_args={"mode": mode})
        for loader in (split.valid_loader, split.test_loader):
            with shared_noise(role, loader):
                draws.append(float(torch.rand(1)))
    assert len(set(draws)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*general_recommenders()} - {name for name, _ in NOISY} - {"Pop", "Lists"}))
def test_other_models_score_without_noise(name, quick):
    """Pop is left out: it has no scores before it is fitted. Lists needs a file."""
    clusters = {"num_clusters": 3} if name == "NCL" else {}
    role, split = role_and_split(quick, name, **clusters)
    assert not scores_with_noise(role.config)
    users = torch.arange(1, split.n_users)
    scores = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        with role.scoring():
            scores.append(role.all_logits(users))
    assert torch.equal(*scores)

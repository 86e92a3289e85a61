"""Small tables of scores, and what a sampler must do with them, computed from the equations."""

import math

import numpy as np
import torch
from hypothesis import strategies as st
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.ranks import Ranks
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems

N_USERS = 7


N_ITEMS = 30


def seen_items(n_users=N_USERS, n_items=N_ITEMS, per_user=4, seed=0) -> SeenItems:
    generator = np.random.default_rng(seed)
    rows = [(u, i) for u in range(1, n_users) for i in generator.choice(np.arange(1, n_items), per_user, replace=False)]
    users, items = (torch.tensor(ids) for ids in zip(*rows, strict=True))
    return SeenItems(users, items, n_users, n_items)


def rank_by_hand(scores, excluded):
    """scipy's average ranks of the items that are not excluded, 1 being the highest score."""
    result = np.full(len(scores), np.nan)
    finite = np.nan_to_num(scores.astype(float), posinf=1e300, neginf=-1e300)  # older SciPy gives infinities no rank
    result[~excluded] = stats.rankdata(-finite[~excluded], method="average")
    return result


def probabilities_by_hand(own, guide, excluded, direction: Direction):
    """The formulas of the paper and of the public code, item by item."""
    n = len(own)
    own_rank, guide_rank = rank_by_hand(own, excluded), rank_by_hand(guide, excluded)
    weights = []
    for item in range(n):
        if excluded[item]:
            weights.append(0.0)
            continue
        if direction.sampling == "uniform":
            weights.append(1.0)
            continue
        if direction.sampling in ("top", "own_top"):
            rank = guide_rank if direction.sampling == "top" else own_rank
            weights.append(math.exp(-rank[item] / direction.top_temperature))
            continue
        if direction.rank_order == "paper":
            difference = own_rank[item] - guide_rank[item]
        else:  # ascending positions, the best item having the largest, in the same formulas
            count = n - int(excluded.sum())
            difference = (count + 1 - own_rank[item]) - (count + 1 - guide_rank[item])
        if direction.rank_scale == "relative":
            difference /= n - 1
        if direction.rank_scale == "logarithmic":
            sign = 1 if direction.rank_order == "paper" else -1
            difference = sign * math.log(own_rank[item] / guide_rank[item])
        x = difference * direction.eps
        if direction.guide_top is not None and guide_rank[item] > direction.guide_top:
            weights.append(0.0)
            continue
        weights.append(math.tanh(max(x, 0.0)) if direction.shape == "tanh" else math.exp(x))
    total = sum(weights)
    if not total:
        within = ~excluded & (guide_rank <= (direction.guide_top or n))
        return within / within.sum()
    return np.array(weights) / total


def mask_of(seen: SeenItems, users: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(len(users), seen.n_items, dtype=torch.bool)
    mask[seen.of(users)] = True
    return mask


def tables(seed=3, n_users=N_USERS, n_items=N_ITEMS):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n_users, n_items, generator=generator) for name in ("teacher", "student")}


DIRECTIONS = {
    "tanh paper": Direction(eps=0.1),
    "tanh reference": Direction(eps=0.1, rank_order="reference"),
    "exp paper": Direction(shape="exp", eps=0.05),
    "exp reference": Direction(shape="exp", eps=0.05, rank_order="reference"),
    "tanh relative": Direction(eps=5.0, rank_scale="relative"),
    "exp relative": Direction(shape="exp", eps=2.0, rank_scale="relative"),
    "tanh logarithmic": Direction(eps=1.5, rank_scale="logarithmic"),
    "exp logarithmic": Direction(shape="exp", eps=1.2, rank_scale="logarithmic", rank_order="reference"),
    "exp of the first": Direction(shape="exp", eps=0.05, guide_top=12),
    "tanh of the first": Direction(eps=0.1, guide_top=8),
    "logarithmic of the first": Direction(
        shape="exp", eps=1.2, rank_scale="logarithmic", rank_order="reference", guide_top=9
    ),
    "top": Direction(sampling="top", top_temperature=5.0),
    "own_top": Direction(sampling="own_top", top_temperature=5.0),
    "uniform": Direction(sampling="uniform"),
}


class LargestTensor(TorchDispatchMode):
    """The largest tensor, in numbers, that any operation returned."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel())
        return result


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def own_items(seen: SeenItems, user: int) -> set[int]:
    return set(seen.items[int(seen.starts[user]) : int(seen.starts[user + 1])].tolist())


def follows(counts, expected) -> bool:
    """Return whether counts agree with their expectations by a chi-square test; rare outcomes are pooled."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    often = expected > 5
    found, wanted = np.append(counts[often], counts[~often].sum()), np.append(expected[often], expected[~often].sum())
    return stats.chisquare(found[wanted > 0], wanted[wanted > 0]).pvalue > 1e-4


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def ranks_of(scores, excluded, method):
    return Ranks(scores, excluded, method).everywhere()


def indices_of(excluded: torch.Tensor):
    """A boolean array as the row numbers and item ids that the sampler's functions take."""
    return excluded.nonzero(as_tuple=True)


def refreshed(directions, scores, pool=4000, seed=11, **options) -> DistillationSampler:
    seen = seen_items(*next(iter(scores.values())).shape)
    sizes = torch.full((seen.n_users,), pool)
    sampler = DistillationSampler(seen, directions, sizes, seed=seed, **options)
    sampler.refresh({name: table.__getitem__ for name, table in scores.items()})
    return sampler


def wide_tables(n_users=4, n_items=3001):
    """Two roles whose rankings agree in part, on a catalogue wide enough to be sampled from."""
    generator = torch.Generator().manual_seed(11)
    shared = torch.randn(n_users, n_items, generator=generator)
    noise = torch.randn(2, n_users, n_items, generator=generator)
    return {"teacher": shared + noise[0], "student": shared + noise[1]}


ROLES = ("teacher", "student")


numbers = st.one_of(
    st.floats(-5, 5, width=32), st.sampled_from([0.0, 0.0, 1.0, math.inf, -math.inf, 3e38, -3e38, 1e-40, -0.0])
)


@st.composite
def worlds(draw):
    """Draw the items that users have seen, from none to all but one, and both roles' scores of all items."""
    n_users, n_items = draw(st.integers(2, 6)), draw(st.integers(3, 24))
    pairs: list[tuple[int, int]] = []
    for user in range(1, n_users):
        order = draw(st.permutations(range(1, n_items)))
        pairs += [(user, item) for item in order[: draw(st.integers(0, n_items - 2) | st.just(n_items - 2))]]
    pairs += pairs[: draw(st.integers(0, 3))]
    users, items = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    scores = {}
    for role in ROLES:
        flat = st.lists(numbers, min_size=n_items, max_size=n_items)
        rows = [draw(flat | numbers.map(lambda value: [value] * n_items)) for _ in range(n_users)]
        scores[role] = torch.tensor(rows, dtype=torch.float32)
    return SeenItems(users, items, n_users, n_items), scores


def seen_of(seen, user) -> set[int]:
    return set(seen.items[seen.starts[user] : seen.starts[user + 1]].tolist())

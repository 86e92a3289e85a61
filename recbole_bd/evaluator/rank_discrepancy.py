"""Histograms of rank discrepancies between teacher and student on unseen items, and of a sampler's draws."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from recbole_bd.backbones.names import DIRECTION_INTO, STUDENT, TEACHER
from recbole_bd.backbones.role import Role
from recbole_bd.data.split import Split
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.ranks import Ranks
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems

# Largest numbers of users and of (user, item) pairs counted. More would look the same, and a million pairs take half a
# second on one core.
_USERS, _PAIRS = 500, 10_000_000
# Scores of one role computed at a time; about ten arrays of this size are alive.
_CHUNK_SCORES = 2**20
# Bins are equally wide in asinh(difference / width): linear within one width of 0, logarithmic beyond.
_LEAST_WIDTH, _WIDTHS_PER_CATALOGUE, _STEP = 20.0, 200, 0.2


def linear_width(n_items: int) -> float:
    """Width of the linear part of the scale of rank differences, in positions; beyond it the scale is logarithmic.

    Args:
        n_items: size of the catalogue with padding.
    """
    return max(_LEAST_WIDTH, n_items / _WIDTHS_PER_CATALOGUE)


def bin_edges(n_items: int) -> Tensor:
    """Edges of bins of rank differences, symmetric about 0, with a bin for equal ranks in the middle.

    Tied items share the mean of their ranks, so differences are multiples of 1/2. The middle bin, from -1/4 to 1/4,
    holds equal ranks only. No bin holds differences of both signs.

    Args:
        n_items: size of the catalogue with padding, above every difference.

    Returns:
        float32 [bins + 1], ascending; bins are closed below and open above.
    """
    width = linear_width(n_items)
    steps = math.ceil(math.asinh(n_items / width) / _STEP)
    beyond = width * torch.sinh(_STEP * torch.arange(1, steps + 1))
    positive = torch.cat([torch.tensor([0.25]), beyond])
    return torch.cat([-positive.flip(0), positive])


def histogram(values: Tensor, edges: Tensor) -> Tensor:
    """Count values in bins closed below and open above; NaN and values outside the edges are not counted.

    Args:
        values: any shape.
        edges: ascending [bins + 1].

    Returns:
        int64 [bins].
    """
    bins = torch.bucketize(values[~torch.isnan(values)], edges, right=True)
    return torch.bincount(bins, minlength=len(edges) + 1)[1 : len(edges)]


def count_discrepancies(
    roles: Mapping[str, Role],
    split: Split,
    sampler: DistillationSampler | None,
    seed: int,
    n_users: int = _USERS,
    rankings: Mapping[str, Callable[..., Tensor]] | None = None,
) -> dict[str, np.ndarray]:
    """Count rank_student - rank_teacher over the unseen items of some users, and over the items drawn for them.

    Ranks have the precision with which the method samples (`rank_precision`). The draws are new ones, by a separate
    sampler and generator, so the run's random state stays unchanged. Each user has as many draws as in a refresh.
    Active users have more, so even uniform draws may be distributed differently from the pairs. Working memory is about
    ten arrays of 2**20 numbers (at least one user's row), never users x items.

    Args:
        roles: teacher and student, their models in the state to compare.
        split: the data.
        sampler: the method's sampler; None for a method without one.
        seed: seed of the draws and of the choice of users, who all have training items.
        n_users: largest number of users; a large catalogue lowers it, so that there are at most 10 million pairs.
        rankings: what the sampler draws by, see `Distiller.rankings`; None for the roles.

    Returns:
        Content of `discrepancy.npz`:
        `edges`: float32 [bins + 1], see `bin_edges`.
        `linear_width`: float32, see `linear_width`.
        `unseen`: int64 [bins], counts of all pairs of these users and their unseen items.
        `drawn_<direction>`, `how_<direction>`: counts of drawn items, int64 [bins], and text, see `formula`.
        `user`: unicode [users], original ids.
        `unseen_items`: int64 [users], the number of unseen items of each.

    Raises:
        DataError: a score is NaN; the message names the role.
    """
    device = roles[STUDENT].device
    seen = SeenItems(*split.pairs("train"), split.n_users, split.n_items).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    users = _some_users(seen, min(n_users, _PAIRS // seen.n_items), generator)
    edges = bin_edges(seen.n_items).to(device)
    directions = sampler.directions if sampler else {}
    scores = rankings or {name: role.all_logits for name, role in roles.items()}
    counts = {name: torch.zeros(len(edges) - 1, dtype=torch.int64, device=device) for name in ("unseen", *directions)}
    with roles[TEACHER].scoring(), roles[STUDENT].scoring():
        for chunk in users.split(max(1, _CHUNK_SCORES // seen.n_items)):
            logits = {name: score(chunk).to(device) for name, score in scores.items()}
            difference = _rank_difference(logits, seen, chunk, _rank_method(sampler, device))
            counts["unseen"] += histogram(difference, edges)
            if sampler:
                drawn = _draw(sampler, seen, chunk, logits, generator)
                for learner, (owners, items) in drawn.items():
                    counts[learner] += histogram(difference[owners, items], edges)
    found = {f"drawn_{DIRECTION_INTO[learner]}": counts[learner] for learner in directions}
    found |= {"edges": edges, "unseen": counts["unseen"], "unseen_items": seen.n_items - 1 - seen.counts[users]}
    return {
        **{name: tensor.cpu().numpy() for name, tensor in found.items()},
        "linear_width": np.array(linear_width(seen.n_items), dtype=np.float32),
        "user": split.dataset.id2token(split.dataset.uid_field, users.cpu()).astype(str),
        **{f"how_{DIRECTION_INTO[learner]}": np.array(formula(direction)) for learner, direction in directions.items()},
    }


def _some_users(seen: SeenItems, count: int, generator: torch.Generator) -> Tensor:
    """Draw users who have training items, `count` at most and at least one; int64, ascending."""
    active = (seen.counts > 0).nonzero().squeeze(1)
    order = torch.randperm(len(active), generator=generator, device=active.device)
    return active[order[: max(1, count)]].sort().values


def _rank_method(sampler: DistillationSampler | None, device: torch.device) -> str:
    if sampler:
        return sampler.ranks
    return "binned" if device.type == "cpu" else "exact"


def _rank_difference(logits: Mapping[str, Tensor], seen: SeenItems, users: Tensor, method: str) -> Tensor:
    """Compute rank_student - rank_teacher of every item, float32 [C, n_items]; NaN at items that are not ranked."""
    excluded = seen.of(users)
    student, teacher = (Ranks(logits[role], excluded, method, role).everywhere() for role in (STUDENT, TEACHER))
    return student - teacher


def _draw(
    sampler: DistillationSampler,
    seen: SeenItems,
    users: Tensor,
    logits: Mapping[str, Tensor],
    generator: torch.Generator,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Draw items for these users only, as many and in the same way as `sampler` does in a refresh.

    Returns:
        By learner the row number of each draw, int64 [draws], and the drawn items, int64 [draws].
    """
    rows, items = seen.of(users)
    known = items > 0
    sizes = {learner: own[users] for learner, own in sampler.sizes.items()}
    few = DistillationSampler(
        SeenItems(rows[known] + 1, items[known], len(users) + 1, seen.n_items),
        sampler.directions,
        {learner: torch.cat([own.new_zeros(1), own]) for learner, own in sizes.items()},
        sampler.ranks,
        device=seen.items.device,
        guides=sampler.guides,
    )
    few.generator = generator
    few.refresh({role: lambda rows, table=table: table[rows - 1] for role, table in logits.items()})
    numbers = torch.arange(len(users), device=users.device)
    return {name: (torch.repeat_interleave(numbers, sizes[name]), pool.long()) for name, pool in few.pools.items()}


def formula(direction: Direction) -> str:
    """Describe how a direction draws, for people: `tanh, eps 0.01, paper order`."""
    if direction.sampling == "uniform":
        return "uniform"
    if direction.sampling in ("top", "own_top"):
        return f"{direction.sampling}, temperature {direction.top_temperature:g}"
    scale = {"absolute": "", "relative": " of the catalogue", "logarithmic": " of logarithms"}[direction.rank_scale]
    within = "" if direction.guide_top is None else f", of the guide's first {direction.guide_top}"
    return f"{direction.shape}, eps {direction.eps:g}{scale}, {direction.rank_order} order{within}"

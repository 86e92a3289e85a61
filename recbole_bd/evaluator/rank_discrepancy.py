"""How far apart two roles rank the items a user has not seen, counted, and what a sampler draws of them."""

import math
from collections.abc import Mapping

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

# Users looked at, at most, and (user, item) pairs: a count over more would look the same and cost more.
_USERS, _PAIRS = 1000, 50_000_000
# Scores of one role at a time; about ten arrays of that size are alive.
_CHUNK_SCORES = 2**20
# Bins are equally wide in asinh(difference / width): linear within a width of 0, logarithmic far from it.
_LEAST_WIDTH, _WIDTHS_PER_CATALOGUE, _STEP = 20.0, 200, 0.2


def linear_width(n_items: int) -> float:
    """Differences below this, in positions, are on a linear scale, those far above on a logarithmic one.

    Args:
        n_items: size of the catalogue with padding.
    """
    return max(_LEAST_WIDTH, n_items / _WIDTHS_PER_CATALOGUE)


def bin_edges(n_items: int) -> Tensor:
    """Edges of bins of rank differences, symmetric about a bin of their own for equal ranks.

    Differences are multiples of one half, because ties share the mean of their ranks: the middle bin, from -1/4 to 1/4,
    holds equal ranks only, and no bin holds differences of both signs.

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
    """Count values in bins that are closed below and open above; NaN and values beyond the edges are left out.

    Args:
        values: any shape.
        edges: ascending [bins + 1].

    Returns:
        int64 [bins].
    """
    bins = torch.bucketize(values[~torch.isnan(values)], edges, right=True)
    return torch.bincount(bins, minlength=len(edges) + 1)[1 : len(edges)]


def count_discrepancies(
    roles: Mapping[str, Role], split: Split, sampler: DistillationSampler | None, seed: int, n_users: int = _USERS
) -> dict[str, np.ndarray]:
    """Count rank_student - rank_teacher over the unseen items of some users, and over what is drawn for them.

    Ranks are those by which a method samples (`rank_precision`). Draws are made anew, as many for each user as in a
    refresh, by a sampler and a generator of their own: nothing of a run's chance is used. Active users have more draws,
    so that even uniform ones need not be spread as the pairs are. Working memory is about ten arrays of 2**20 numbers,
    one user's row at least; nothing of size users x items is kept.

    Args:
        roles: teacher and student, their models in the state to look at.
        split: the data.
        sampler: how items are drawn; None where a method has no such sampler.
        seed: of the choice of users, who all have training items, and of the draws.
        n_users: users at most; fewer where the catalogue is so large that they would be above 50 million pairs.

    Returns:
        What `discrepancy.npz` holds: `edges`, float32 [bins + 1], see `bin_edges`; `linear_width`, see `linear_width`;
        `unseen`, int64 [bins], all pairs of these users and their unseen items; for each direction that is sampled
        `drawn_<direction>`, int64 [bins], and `how_<direction>`, its formula as text; `user`, original ids as unicode
        [users]; `unseen_items`, int64 [users], how many items each has not seen.

    Raises:
        DataError: a score is not a number; names the role.
    """
    device = roles[STUDENT].device
    seen = SeenItems(*split.pairs("train"), split.n_users, split.n_items).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    active = (seen.counts > 0).nonzero().squeeze(1)
    wanted = max(1, min(n_users, _PAIRS // seen.n_items))
    users = active[torch.randperm(len(active), generator=generator, device=device)[:wanted]].sort().values
    edges = bin_edges(seen.n_items).to(device)
    directions = sampler.directions if sampler else {}
    counts = {name: torch.zeros(len(edges) - 1, dtype=torch.int64, device=device) for name in ("unseen", *directions)}
    with roles[TEACHER].scoring(), roles[STUDENT].scoring():
        for chunk in users.split(max(1, _CHUNK_SCORES // seen.n_items)):
            logits = {name: role.all_logits(chunk.to(role.device)).to(device) for name, role in roles.items()}
            difference = _rank_difference(logits, seen, chunk, _rank_method(sampler, device))
            counts["unseen"] += histogram(difference, edges)
            if sampler:
                owners, pools = _draw(sampler, seen, chunk, logits, generator)
                for learner, items in pools.items():
                    counts[learner] += histogram(difference[owners, items], edges)
    record = {
        "edges": edges,
        "linear_width": torch.tensor(linear_width(seen.n_items)),
        "unseen": counts["unseen"],
        "unseen_items": seen.n_items - 1 - seen.counts[users],
        **{f"drawn_{DIRECTION_INTO[learner]}": counts[learner] for learner in directions},
    }
    return {
        **{name: tensor.cpu().numpy() for name, tensor in record.items()},
        "user": split.dataset.id2token(split.dataset.uid_field, users.cpu()).astype(str),
        **{f"how_{DIRECTION_INTO[learner]}": np.array(formula(direction)) for learner, direction in directions.items()},
    }


def _rank_method(sampler: DistillationSampler | None, device: torch.device) -> str:
    if sampler:
        return sampler.ranks
    return "binned" if device.type == "cpu" else "exact"


def _rank_difference(logits: Mapping[str, Tensor], seen: SeenItems, users: Tensor, method: str) -> Tensor:
    """rank_student - rank_teacher of every item, NaN at what is not ranked. float32 [C, n_items]."""
    excluded = seen.of(users)
    student, teacher = (Ranks(logits[role], excluded, method, role).everywhere() for role in (STUDENT, TEACHER))
    return student - teacher


def _draw(
    sampler: DistillationSampler,
    seen: SeenItems,
    users: Tensor,
    logits: Mapping[str, Tensor],
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw for these users alone what `sampler` would draw for them in a refresh.

    Returns:
        Row numbers of all draws, and by learner the drawn items, both int64 of one length.
    """
    rows, items = seen.of(users)
    known = items > 0
    sizes = sampler.sizes[users]
    few = DistillationSampler(
        SeenItems(rows[known] + 1, items[known], len(users) + 1, seen.n_items),
        sampler.directions,
        torch.cat([sizes.new_zeros(1), sizes]),
        sampler.ranks,
        device=seen.items.device,
    )
    few.generator = generator
    few.refresh({role: lambda rows, table=table: table[rows - 1] for role, table in logits.items()})
    owners = torch.repeat_interleave(torch.arange(len(users), device=sizes.device), sizes)
    return owners, {learner: pool.long() for learner, pool in few.pools.items()}


def formula(direction: Direction) -> str:
    """How a direction draws, for people: `tanh, eps 0.01, paper order`."""
    if direction.sampling == "uniform":
        return "uniform"
    if direction.sampling in ("top", "own_top"):
        return f"{direction.sampling}, temperature {direction.top_temperature:g}"
    scale = {"absolute": "", "relative": " of the catalogue", "logarithmic": " of logarithms"}[direction.rank_scale]
    return f"{direction.shape}, eps {direction.eps:g}{scale}, {direction.rank_order} order"

"""Topology of vectors as losses: the angles between users and items are those of the teacher.

Kang, Hwang, Kweon, Yu: Topology Distillation for Recommender System. KDD 2021. doi 10.1145/3447548.3467319.
"""

import torch
from torch import Tensor


def full_topology(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the cosines of all pairs of a batch.   (FTD, KDD 2021)

    mean over (a, b) of (cos(s_a, s_b) - cos(t_a, t_b))^2

    All pairs take no array of [N, N]. With S and T the vectors of length 1 as rows, the sum over pairs is

    ||S'S||^2 - 2 ||S'T||^2 + ||T'T||^2,   Frobenius norms of [d, d]

    Args:
        student: [N, d_S].
        teacher: [N, d_T], of the same users and items; a constant, no gradient reaches it.

    Returns:
        A scalar. A vector of zeros has cosine 0 with all.

    Raises:
        ValueError: unequal numbers of rows.
    """
    own, target = _directions(student, teacher)
    with torch.autocast(own.device.type, enabled=False):  # the difference of large numbers needs all digits
        parts = [(left.T @ right).square().sum() for left, right in ((own, own), (own, target), (target, target))]
    return (parts[0] - 2 * parts[1] + parts[2]) / len(own) ** 2


def hierarchical_topology(student: Tensor, teacher: Tensor, groups: Tensor) -> Tensor:
    """Squared difference of the cosines within groups, and between groups and all others.   (HTD, KDD 2021)

    mean of (cos(s_a, s_b) - cos(t_a, t_b))^2, for a, b of one group with cos(t_a, t_b) > 0, and of
    (cos(P_S(c), s_e) - cos(P_T(c), t_e))^2, for every group c and every e

    P(c), the prototype of a group, is the mean of its members' vectors; no gradient reaches the student's prototypes.
    The mean is over the pairs of both kinds together. Pairs are taken group by group, so no array of [N, N] is made
    unless one group has all.

    Args:
        student: [N, d_S].
        teacher: [N, d_T], of the same users and items; a constant, no gradient reaches it.
        groups: int64 [N], any number for each group.

    Returns:
        A scalar. A vector of zeros has cosine 0 with all.

    Raises:
        ValueError: unequal numbers of rows.
    """
    own, target = _directions(student, teacher)
    _, place, sizes = groups.unique(return_inverse=True, return_counts=True)
    sums: list[Tensor] = []
    count = torch.zeros((), device=own.device)
    order, lengths = place.argsort(stable=True), sizes.tolist()
    with torch.autocast(own.device.type, enabled=False):
        for members, of_teacher in zip(own[order].split(lengths), target[order].split(lengths), strict=True):
            cosines = of_teacher @ of_teacher.T
            is_near = cosines > 0
            sums.append(_squares(members, cosines, is_near))
            count += is_near.sum()
        prototypes = [_directions_of(_means(vectors.detach().float(), place, sizes)) for vectors in (student, teacher)]
        between = prototypes[0] @ own.T - prototypes[1] @ target.T
    return (torch.stack(sums).sum() + between.square().sum()) / (count + between.numel())


def _directions(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(f"vectors {tuple(student.shape)} and targets {tuple(teacher.shape)} must have equal rows")
    return _directions_of(student.float()), _directions_of(teacher.detach().float())


def _directions_of(vectors: Tensor) -> Tensor:
    """Vectors divided by their lengths; zeros stay, with a gradient that is finite."""
    lengths = vectors.norm(dim=1, keepdim=True)
    return vectors / lengths.masked_fill(lengths == 0, 1)


def _squares(vectors: Tensor, products: Tensor, chosen: Tensor) -> Tensor:
    """Sum of (v_a . v_b - products_ab)^2 over the chosen pairs, without arrays of pairs kept for the gradient.

    The gradient is 4 D V, where D has the differences of the chosen pairs and 0 elsewhere.

    Args:
        vectors: [n, d].
        products: [n, n], symmetric; overwritten.
        chosen: bool [n, n], symmetric.
    """
    with torch.no_grad():
        differences = torch.addmm(products, vectors, vectors.T, beta=-1, out=products).mul_(chosen)
        slope = 4 * differences @ vectors
        value = differences.square_().sum()
    along = (vectors * slope).sum()
    return value + along - along.detach()


def _means(vectors: Tensor, place: Tensor, sizes: Tensor) -> Tensor:
    """Mean of the vectors of each group.

    Args:
        vectors: [N, d].
        place: int64 [N], the group of each, from 0.
        sizes: int64 [C].

    Returns:
        [C, d].
    """
    return vectors.new_zeros(len(sizes), vectors.shape[1]).index_add_(0, place, vectors) / sizes.unsqueeze(1)

"""Losses of topology against loops over pairs in float64."""

import math

import pytest
import torch

from recbole_bd.model.topology import full_topology, hierarchical_topology
from tests.helpers.references import LargestTensor, generator


def cosine(left: list[float], right: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in left)) * math.sqrt(sum(x * x for x in right))
    return sum(x * y for x, y in zip(left, right, strict=True)) / lengths if lengths else 0.0


def full_by_hand(student, teacher) -> float:
    rows = range(len(student))
    pairs = [(cosine(student[a], student[b]) - cosine(teacher[a], teacher[b])) ** 2 for a in rows for b in rows]
    return sum(pairs) / len(pairs)


def hierarchical_by_hand(student, teacher, groups) -> float:
    rows, terms = range(len(student)), []
    for a in rows:
        for b in rows:
            target = cosine(teacher[a], teacher[b])
            if groups[a] == groups[b] and target > 0:
                terms.append((cosine(student[a], student[b]) - target) ** 2)
    for group in sorted(set(groups)):
        members = [a for a in rows if groups[a] == group]
        means = [
            [sum(vectors[a][k] for a in members) / len(members) for k in range(len(vectors[0]))]
            for vectors in (student, teacher)
        ]
        terms += [(cosine(means[0], student[e]) - cosine(means[1], teacher[e])) ** 2 for e in rows]
    return sum(terms) / len(terms)


def some_vectors(rows=23) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 3, generator=generator(1)), torch.randn(rows, 7, generator=generator(2))


def test_the_full_topology_is_the_mean_over_all_pairs():
    student, teacher = some_vectors()
    expected = full_by_hand(student.double().tolist(), teacher.double().tolist())
    assert float(full_topology(student, teacher)) == pytest.approx(expected, rel=1e-5)
    assert float(full_topology(5 * teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_the_hierarchical_topology_is_the_mean_over_its_pairs():
    student, teacher = some_vectors()
    groups = torch.randint(0, 4, (23,), generator=generator(3)) * 7
    expected = hierarchical_by_hand(student.double().tolist(), teacher.double().tolist(), groups.tolist())
    assert float(hierarchical_topology(student, teacher, groups)) == pytest.approx(expected, rel=1e-5)
    assert float(hierarchical_topology(teacher / 3, teacher, groups)) == pytest.approx(0, abs=1e-6)


def test_gradients_are_those_of_all_pairs_with_constant_prototypes():
    student, teacher = some_vectors()
    groups = torch.arange(23) % 3
    found = []
    for loss in (full_topology, lambda s, t: hierarchical_topology(s, t, groups)):
        own, target = student.clone().requires_grad_(), teacher.clone().requires_grad_()
        loss(own, target).backward()
        assert target.grad is None
        found.append(own.grad)
    own = student.double().requires_grad_()
    unit, other = (torch.nn.functional.normalize(x, dim=1) for x in (own, teacher.double()))
    ((unit @ unit.T - other @ other.T) ** 2).mean().backward()
    assert torch.allclose(found[0].double(), own.grad, atol=1e-6)
    own.grad = None
    unit = torch.nn.functional.normalize(own, dim=1)
    one_hot = torch.nn.functional.one_hot(groups).double()
    mask = (one_hot @ one_hot.T) * (other @ other.T > 0)
    centres = [
        torch.nn.functional.normalize(one_hot.T @ x / one_hot.sum(0).unsqueeze(1), dim=1)
        for x in (own.detach(), teacher.double())
    ]
    within = (((unit @ unit.T - other @ other.T) ** 2) * mask).sum()
    between = ((centres[0] @ unit.T - centres[1] @ other.T) ** 2).sum()
    ((within + between) / (mask.sum() + 3 * 23)).backward()
    assert torch.allclose(found[1].double(), own.grad, atol=1e-6)


def test_a_vector_of_zeros_has_no_direction_and_a_finite_gradient():
    student, teacher = some_vectors()
    student[4], teacher[5] = 0, 0
    groups = torch.arange(23) % 2
    own = student.clone().requires_grad_()
    total = full_topology(own, teacher) + hierarchical_topology(own, teacher, groups)
    rows = student.double().tolist(), teacher.double().tolist()
    expected = full_by_hand(*rows) + hierarchical_by_hand(*rows, groups.tolist())
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    total.backward()
    assert own.grad.abs().max() < 10


def test_no_array_over_all_pairs_is_made():
    student, teacher = some_vectors(4000)
    with LargestTensor() as seen:
        full_topology(student, teacher)
        hierarchical_topology(student, teacher, torch.arange(4000) % 50)
    assert seen.size <= 4000 * 50  # of 16 million pairs


@pytest.mark.parametrize("loss", [full_topology, lambda s, t: hierarchical_topology(s, t, torch.zeros(len(s)))])
def test_rows_must_agree(loss):
    with pytest.raises(ValueError, match=r"vectors \(3, 2\) and targets \(4, 2\) must have equal rows"):
        loss(torch.ones(3, 2), torch.ones(4, 2))

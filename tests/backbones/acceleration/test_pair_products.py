"""Inner products at a few places against arrays of the vectors."""

import pytest
import torch
from torch import nn

from recbole_bd.backbones.acceleration.embedding_gradients import gather_gradients
from recbole_bd.backbones.acceleration.pair_products import pair_products


def problem(rows=40, count=6, n_items=30, width=5):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(rows, width, generator=generator)
    items = torch.randint(0, n_items, (rows, count), generator=generator)  # they repeat within rows and between them
    return vectors, torch.randn(n_items, width, generator=generator), items


@pytest.mark.parametrize("count", [0, 1, 6, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ids", [torch.int32, torch.int64])
@pytest.mark.parametrize("width", [1, 5, 8, 12])
@pytest.mark.parametrize("n_items", [30, 500])
def test_products_and_gradients_are_those_of_arrays_of_vectors(count, dtype, ids, width, n_items):
    vectors, table, items = problem(count=count, width=width, n_items=n_items)
    items = items.to(ids)
    one = [tensor.to(dtype).requires_grad_() for tensor in (vectors, table)]
    other = [tensor.detach().float().requires_grad_() for tensor in one]
    found = pair_products(*one, items)
    expected = (other[1][items] * other[0].unsqueeze(1)).sum(dim=-1)
    assert torch.allclose(found.float(), expected, rtol=1e-4, atol=1e-4 if dtype is torch.float32 else 0.1)
    for result in (found, expected):
        (result.sin() * result).sum().backward()
    for mine, theirs in zip(one, other, strict=True):
        rounding = 1e-4 if dtype is torch.float32 else 0.02
        assert torch.allclose(mine.grad.float(), theirs.grad, rtol=rounding, atol=10 * rounding)


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_a_table_collects_the_gradients_of_products_beside_those_of_lookups(padding_idx):
    vectors, table, items = problem()
    plain, gathered = (nn.Embedding.from_pretrained(table.clone(), False, padding_idx) for _ in range(2))
    model = nn.ModuleList([gathered])
    gather_gradients(model)
    for _ in range(2):
        expected = (plain(items) * vectors.unsqueeze(1)).sum(dim=-1).sin().sum() + plain(items[:, 0]).square().sum()
        found = gathered.products(vectors, items).sin().sum() + gathered(items[:, 0]).square().sum()
        for result, embedding in ((expected, plain), (found, gathered)):
            embedding.zero_grad()
            result.backward()
        assert torch.allclose(gathered.weight.grad, plain.weight.grad, atol=1e-5)
        with torch.no_grad():
            assert torch.allclose(
                gathered.products(vectors, items), (plain(items) * vectors[:, None]).sum(-1), atol=1e-5
            )
            for embedding in (plain, gathered):
                embedding.weight.add_(1.0)  # as an optimizer's step does

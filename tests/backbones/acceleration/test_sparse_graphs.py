import copy
import pickle

import pytest
import torch

from recbole_bd.backbones.acceleration.sparse_graphs import CompressedGraph, compress_graphs


def matrix(n=30, m=20, entries=80, seed=0, symmetric=False):
    """A sparse matrix in which places repeat, as RecBole's may."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.stack([torch.randint(0, size, (entries,), generator=generator) for size in (n, m)])
    values = torch.randn(entries, generator=generator)
    if symmetric:
        places, values = torch.cat([places, places.flip(0)], dim=1), torch.cat([values, values])
    return torch.sparse_coo_tensor(places, values, (n, m))


@pytest.mark.parametrize("shape", [(30, 20, False), (25, 25, True), (25, 25, False)])
def test_product_and_gradient_are_those_of_the_dense_matrix(shape):
    n, m, symmetric = shape
    plain = matrix(n, m, symmetric=symmetric)
    graph = CompressedGraph(plain)
    assert (graph.rows is graph.columns) == symmetric
    found, expected = (torch.randn(m, 4, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    weight = torch.randn(n, 4, generator=torch.Generator().manual_seed(2))
    product = torch.sparse.mm(graph, found)
    (product * weight).sum().backward()
    dense = plain.to_dense() @ expected
    (dense * weight).sum().backward()
    assert torch.allclose(product, dense, atol=1e-5)
    assert torch.allclose(found.grad, expected.grad, atol=1e-5)


def test_under_autocast_the_product_keeps_its_precision():
    graph, dense = CompressedGraph(matrix()), torch.randn(20, 3).requires_grad_()
    with torch.autocast("cpu"):
        product = torch.sparse.mm(graph, dense)
    product.sum().backward()
    assert torch.equal(product, torch.sparse.mm(graph, dense))
    assert dense.grad.dtype is torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_mixed_precision_halved_is_multiplied_in_full(dtype):
    graph, dense = CompressedGraph(matrix()), torch.randn(20, 3, dtype=dtype).requires_grad_()
    product = torch.sparse.mm(graph, dense)
    assert torch.equal(product, torch.sparse.mm(graph, dense.detach().float()))
    product.sum().backward()
    assert dense.grad.dtype is dtype


def test_everything_else_sees_the_matrix_itself():
    plain = matrix()
    graph = CompressedGraph(plain)
    assert graph.shape == (30, 20)
    assert graph.device == plain.device
    assert torch.equal(graph._indices(), plain._indices())
    assert torch.equal(graph.coalesce().values(), plain.coalesce().values())
    sparse = matrix(20, 5)
    assert torch.allclose(torch.sparse.mm(graph, sparse).to_dense(), torch.sparse.mm(plain, sparse).to_dense())
    assert torch.equal(torch.sparse.sum(graph), torch.sparse.sum(plain))
    wide = torch.randn(20, 3, dtype=torch.float64)
    with pytest.raises(RuntimeError):  # as torch's own product refuses it
        torch.sparse.mm(graph, wide)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_copies_are_compressed_too(copied):
    graph = CompressedGraph(matrix())
    other = copied(graph)
    assert type(other) is CompressedGraph
    dense = torch.randn(20, 3)
    assert torch.equal(torch.sparse.mm(other, dense), torch.sparse.mm(graph, dense))


def test_a_graph_has_no_attributes_of_its_own_invention():
    """Libraries ask objects for special names, and copies are asked before they have a matrix."""
    graph = CompressedGraph(matrix())
    for name in ("__array__", "__cuda_array_interface__"):
        with pytest.raises(AttributeError, match=f"^{name}$"):
            getattr(graph, name)
    with pytest.raises(AttributeError, match=r"^matrix$"):
        CompressedGraph.__new__(CompressedGraph).shape  # noqa: B018


def test_graphs_of_other_peoples_models_stay_as_they_are(build):
    from recbole.model.general_recommender import LightGCN

    class Own(LightGCN):
        """A model of somebody else."""

    for kind, expected in ((LightGCN, CompressedGraph), (Own, torch.Tensor)):
        role, _ = build("LightGCN", kind)
        compress_graphs(role.model)
        assert type(role.model.norm_adj_matrix) is expected

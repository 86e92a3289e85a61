"""Tables of vectors in few directions."""

import importlib

import pytest
import torch

from tests.helpers.paths import ROOT
from tests.helpers.references import generator


def test_a_projection_keeps_the_directions_of_the_largest_variance(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    projected = importlib.import_module("projection").projected
    vectors = torch.randn(40, 6, generator=generator()) * torch.tensor([5.0, 3, 1, 1, 1, 1]) + 2
    vectors[0] = 1e3  # padding does not count
    found, share = projected(vectors, 2)
    centred = (vectors[1:] - vectors[1:].mean(dim=0)).double()
    values = torch.linalg.svdvals(centred).square()
    assert share == pytest.approx(float(values[:2].sum() / values.sum()))
    lost = (found[1:].double() - vectors[1:].double()).square().sum()
    assert float(lost) == pytest.approx(float(values[2:].sum()), rel=1e-4)
    whole, share = projected(vectors, 6)
    assert torch.allclose(whole[1:], vectors[1:], atol=1e-4)
    assert share == pytest.approx(1)

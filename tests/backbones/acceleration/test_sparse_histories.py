import pytest
import torch
from recbole.utils import init_seed
from torch import nn

from recbole_bd.backbones.acceleration.sparse_histories import (
    HistoryDropout,
    HistoryLinear,
    _nonzero,
    read_histories_sparsely,
)
from tests.helpers.backbones import (
    close,
    first_batch,
)


def histories(n_users=12, n_items=40, seed=0):
    """Rows with a few weights each; the second is empty."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(n_users, n_items, generator=generator)
    rows[rows < 0.85] = 0
    rows[1:2] = 0
    return rows


@pytest.mark.parametrize("bias", [True, False])
def test_linear_layer_gives_torchs_product_and_gradient(bias):
    plain = nn.Linear(40, 5, bias=bias)
    sparse = nn.Linear(40, 5, bias=bias)
    sparse.load_state_dict(plain.state_dict())
    sparse.__class__ = HistoryLinear
    rows, weight = histories(), torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    for layer in (plain, sparse):
        (layer(rows) * weight).sum().backward()
    assert torch.allclose(plain(rows), sparse(rows), atol=1e-6)
    for expected, found in zip(plain.parameters(), sparse.parameters(), strict=True):
        assert torch.allclose(expected.grad, found.grad, atol=1e-6)


def test_input_with_gradient_gets_all_of_it():
    layer = nn.Linear(40, 5)
    layer.__class__ = HistoryLinear
    rows = histories().requires_grad_()
    layer(rows).sum().backward()
    assert torch.allclose(rows.grad, layer.weight.sum(dim=0).expand_as(rows))


def test_dropout_keeps_each_entry_as_often_as_torchs_and_scales_it():
    torch.manual_seed(3)
    layer = HistoryDropout(0.3)
    rows = histories(1, 400)
    entries = rows != 0
    dropped = torch.stack([layer(rows) for _ in range(2000)])
    assert (dropped[:, ~entries] == 0).all()
    kept = dropped != 0
    assert torch.allclose(dropped[kept], (rows / 0.7).expand_as(dropped)[kept])
    share = kept[:, entries].float().mean(dim=0)
    assert (share - 0.7).abs().max() < 4.5 * (0.3 * 0.7 / 2000) ** 0.5
    # Entries are dropped one by one: no two of them go together.
    first, second = kept[:, entries][:, :2].float().unbind(1)
    assert abs(float(((first - 0.7) * (second - 0.7)).mean())) < 4.5 * 0.21 / 2000**0.5
    assert torch.equal(rows, histories(1, 400))  # the input stays as it is


def test_dropout_rests_in_evaluation():
    layer = HistoryDropout(0.3).eval()
    rows = histories()
    assert layer(rows) is rows


@pytest.mark.parametrize(
    ("name", "settings"),
    [("CDAE", {"corruption_ratio": 0.0}), ("MultiDAE", {"dropout_prob": 0.0}), ("MultiVAE", {"dropout_prob": 0.0})],
)
def test_histories_read_sparsely_give_the_same_loss_and_gradient(build, name, settings):
    found = []
    interaction = first_batch(*build(name, **settings))
    for sparsely in (False, True):
        role, _ = build(name, **settings)
        role.model.train()
        if sparsely:
            read_histories_sparsely(role.model)
        layers = [layer for layer in role.model.modules() if isinstance(layer, HistoryLinear)]
        assert len(layers) == sparsely
        init_seed(5, True)
        loss = role.loss(interaction)
        loss.backward()
        found.append((loss, {key: parameter.grad for key, parameter in role.model.named_parameters()}))
    assert close(found[0][0], found[1][0])
    assert all(close(gradient, found[1][1][key]) for key, gradient in found[0][1].items())


def test_other_models_stay_as_they_are(build):
    """A class of somebody else, and a model whose input is no history."""
    from recbole.model.general_recommender import MultiDAE

    class Own(MultiDAE):
        """A model of somebody else."""

    for name, kind in (("MultiDAE", Own), ("BPR", None)):
        role, _ = build(name, kind)
        before = [type(layer) for layer in role.model.modules()]
        read_histories_sparsely(role.model)
        assert [type(layer) for layer in role.model.modules()] == before


class OnCard(torch.Tensor):
    """A tensor that says it is on a card, where NumPy cannot search it."""

    @property
    def device(self):
        return torch.device("cuda")

    def numpy(self):
        raise TypeError("it is on a card")


def test_nonzero_places_are_searched_for_where_the_rows_are():
    rows = histories()
    expected = [row * 40 + column for row in range(12) for column in range(40) if rows[row, column]]
    assert _nonzero(rows).tolist() == expected
    assert _nonzero(rows.as_subclass(OnCard)).tolist() == expected

"""Histories without their padding: the vectors and gradients of RecBole's own forward, at less cost."""

import pytest
import torch
from torch import nn

from recbole_bd.backbones.acceleration.short_histories import _ShortHistories
from recbole_bd.backbones.names import BASELINE
from recbole_bd.backbones.traits import SEQUENTIAL_TRAITS
from recbole_bd.config.known_options import backbone_options
from recbole_bd.runs.prepare import prepare
from tests.backbones.scoring.test_histories import WITH_FEATURES
from tests.helpers.histories import CHAINS, SMALL, write_chains
from tests.helpers.settings import make_config

LENGTH = 40
SKIPPING = [name for name, traits in SEQUENTIAL_TRAITS.items() if traits.skips_padding]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A sequential model without dropout, its weights far from the small initial ones."""
    folder = write_chains(tmp_path_factory.mktemp("chains"))

    def make(name: str) -> nn.Module:
        own = {key: value for key, value in SMALL.items() if key in backbone_options(name)}
        given = {**CHAINS, "data_path": str(folder), "model": name, **own, **WITH_FEATURES.get(name, {})}
        _, roles = prepare(make_config({**given, "MAX_ITEM_LIST_LENGTH": LENGTH}, seed=5))
        built = roles[BASELINE].model.eval()
        with torch.no_grad():
            for parameter in built.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        return built

    return make


def histories(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random histories with 0 behind them, int64 [B, 40], and their lengths; an empty one counts as one item."""
    items = torch.randint(1, 31, (len(lengths), LENGTH), generator=torch.Generator().manual_seed(2))
    items *= torch.arange(LENGTH) < torch.tensor(lengths).unsqueeze(1)
    return items, torch.tensor(lengths).clamp(min=1)


def arguments(model: nn.Module, items: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (items, lengths)[: type(model).forward.__code__.co_argcount - 1]


@pytest.mark.parametrize("lengths", [[3, 40, 1, 7, 20, 12, 21, 5, 39, 9, 2, 30], [2, 1, 3], [40, 38]])
@pytest.mark.parametrize("name", SKIPPING)
def test_vectors_and_gradients_are_those_of_the_models_own_forward(name, lengths, model):
    built = model(name)
    given = arguments(built, *histories(lengths))
    found, wanted = built.forward(*given), type(built).forward(built, *given)
    assert torch.allclose(found, wanted, atol=1e-5)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    parameters = [parameter for parameter in built.parameters() if parameter.requires_grad]
    gradients = [
        torch.autograd.grad((weights * vectors).sum(), parameters, allow_unused=True) for vectors in (found, wanted)
    ]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", ["GRU4Rec", "CORE"])
def test_an_empty_history_keeps_the_vector_of_one_item_of_padding(name, model):
    built = model(name)
    given = arguments(built, *histories([0, 5, 0, 33]))
    assert torch.allclose(built.forward(*given), type(built).forward(built, *given), atol=1e-5)


@pytest.mark.parametrize("name", ["LightSANs", "STAMP", "NextItNet"])
def test_models_whose_vectors_depend_on_the_padding_keep_it(name, model):
    built = model(name)
    assert built.forward == built.forward.__self__.forward  # a method of its own class
    items, lengths = histories([3, 4])
    whole, short = (built.forward(*arguments(built, columns, lengths)) for columns in (items, items[:, :5]))
    assert not torch.allclose(whole, short, atol=1e-4)


def test_less_than_half_of_an_array_is_padding_and_rows_come_back_in_order():
    seen = []

    def forward(items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append((items.shape, int(items.count_nonzero())))
        return torch.stack([items.sum(dim=1), lengths], dim=1)

    items, lengths = histories([(7 * row) % 40 + 1 for row in range(40)])
    assert torch.equal(_ShortHistories(forward)(items, lengths), torch.stack([items.sum(dim=1), lengths], dim=1))
    assert [tuple(shape) for shape, _ in seen] == [(5, 5), (5, 10), (10, 20), (20, 40)]
    assert all(count > shape.numel() / 2 for shape, count in seen)


def test_an_item_behind_a_gap_counts():
    items = torch.zeros(2, LENGTH, dtype=torch.int64)
    items[0, 20] = items[1, 0] = 3
    assert _ShortHistories(lambda part: part.sum(dim=1, keepdim=True))(items).tolist() == [[3], [3]]

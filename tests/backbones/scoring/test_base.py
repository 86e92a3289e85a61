"""What all scoring families have in common."""

from types import SimpleNamespace

import torch
from torch import nn

from recbole_bd.backbones.scoring.base import Scores, device_of


def test_a_model_is_where_its_parameters_are_or_where_it_says():
    layer = nn.Linear(2, 2, device="meta")
    layer.device = "cpu"
    assert device_of(layer) == torch.device("meta")
    empty = nn.Module()
    empty.device = "meta"  # Pop and Random have no parameters
    assert device_of(empty) == torch.device("meta")


def test_items_are_counted_from_padding_on_the_models_device():
    scores = Scores(SimpleNamespace(n_items=4, parameters=lambda: iter([torch.empty(1)])))
    assert scores.all_items().tolist() == [0, 1, 2, 3]
    assert Scores(SimpleNamespace(n_items=4, parameters=lambda: iter(()), device="meta")).all_items().is_meta
    assert (scores.shared, scores.propagates) == ([], False)


def test_a_family_exports_its_rows_unless_it_says_otherwise():
    class Sums(Scores):
        def rows(self, users, items):
            return users.unsqueeze(1) + (self.all_items() if items is None else items)

    scores = Sums(SimpleNamespace(n_items=3, parameters=lambda: iter([torch.empty(1)])))
    assert scores.graph_rows(torch.tensor([10, 20])).tolist() == [[10, 11, 12], [20, 21, 22]]

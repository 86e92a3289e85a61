"""General recommenders by name, and refusals."""

import pytest
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_bd.backbones import registry
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.registry import recommender_class, require_teachable
from recbole_bd.backbones.traits import TRAITS
from recbole_bd.errors import RoleError
from tests.helpers.backbones import (
    CLOSED_FORM,
    NAMES,
)


def test_all_shipped_general_recommenders_are_listed():
    assert len(NAMES) == 33
    assert sorted(NAMES) == NAMES
    assert all(issubclass(recommender_class(name), GeneralRecommender) for name in NAMES)
    assert set(NAMES) == set(TRAITS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LigthGCN", "Did you mean LightGCN?"),
        ("lightgcn", "Did you mean LightGCN?"),
        ("MultVAE", "Did you mean MultiVAE?"),
        ("qqqqqq", "Available models: ADMMSLIM"),
        ("SASRec", "sequential recommender"),
        ("GeneralRecommender", "unknown model"),
    ],
)
def test_unknown_models_are_refused_with_a_hint(name, words):
    with pytest.raises(RoleError) as caught:
        recommender_class(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("role", [TEACHER, STUDENT])
@pytest.mark.parametrize("name", sorted(CLOSED_FORM))
def test_models_without_gradient_are_refused(name, role):
    with pytest.raises(RoleError, match=f"^{role}: {name} has no parameters .* one-way method"):
        require_teachable(name, role)


@pytest.mark.parametrize(
    ("name", "way_out"), [("RecVAE", "RecVAETrainer.*MultiVAE"), ("RaCT", "MultiVAE"), ("NCL", "LightGCN")]
)
def test_models_with_a_trainer_of_their_own_are_refused(name, way_out):
    with pytest.raises(RoleError, match=f"^{STUDENT}: {name} needs .*{way_out}"):
        require_teachable(name, STUDENT)


def test_missing_package_is_named(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'faiss'", name="faiss")

    monkeypatch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(RoleError, match="pip install faiss"):
        recommender_class("NCL")

"""General recommenders by name, and refusals."""

import re
import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_bd.backbones import registry
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.registry import (
    loader_name,
    name_of_class,
    own_backbones,
    own_classes_of,
    recommender_class,
    require_teachable,
)
from recbole_bd.backbones.traits import TRAITS, BackboneTraits
from recbole_bd.errors import InstallationError, RoleError
from recbole_bd.system import own_classes
from tests.helpers.backbones import (
    CLOSED_FORM,
    NAMES,
)
from tests.helpers.own_classes import BiasMF, LouderBPR, OwnVAE, Rows


def test_all_shipped_general_recommenders_are_listed():
    assert len(NAMES) == 34  # MF is this package's own
    assert sorted(NAMES) == NAMES
    assert all(issubclass(recommender_class(name), GeneralRecommender) for name in NAMES)
    assert {*NAMES, "Lists"} == set(TRAITS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LigthGCN", "Did you mean LightGCN?"),
        ("lightgcn", "Did you mean LightGCN?"),
        ("MultVAE", "Did you mean MultiVAE?"),
        ("qqqqqq", "Available models: ADMMSLIM"),
        ("AFM", "context-aware recommender"),
        ("FEARec", "FEARec cannot take a role: its loss reads"),
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

    monkeypatch.setattr(registry, "_shipped", registry._shipped.__wrapped__)  # found before
    monkeypatch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(RoleError, match="pip install faiss"):
        recommender_class("NCL")


OWN = "tests.helpers.own_classes"


def test_a_class_of_the_users_own_is_found_by_its_module():
    assert recommender_class(f"{OWN}:BiasMF") is BiasMF
    assert name_of_class(BiasMF) == f"{OWN}:BiasMF"
    assert name_of_class(recommender_class("BPR")) == "BPR"
    assert own_classes_of(type("Sub", (BiasMF,), {}))[1:] == [BiasMF]
    assert own_classes_of(OwnVAE) == [OwnVAE]
    assert own_classes_of(recommender_class("MultiVAE")) == []
    require_teachable(f"{OWN}:BiasMF", STUDENT)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{OWN}:FirstHit", "is no general recommender: it must inherit from recbole.model.abstract_recommender."),
        ("recbole.model.abstract_recommender:GeneralRecommender", "is no general recommender"),
        ("recbole.model.sequential_recommender:GRU4Rec", "is no general recommender"),
        ("recbole_bd.model.bd:BD", "is a distillation method: offer it by the entry point recbole_bd.methods"),
        (f"{__name__}:Misdeclared", ": bd_traits=BackboneTraits(scoring='Guesses'"),
        (f"{__name__}:Unfinished", "has no input_type: set it to InputType.PAIRWISE or POINTWISE of recbole.utils"),
    ],
)
def test_a_class_that_cannot_play_a_role_is_refused(name, message):
    with pytest.raises(RoleError) as error:
        recommender_class(name)
    assert re.sub(r"^ ", "", str(error.value).removeprefix(name)).startswith(message)


class Misdeclared(BiasMF):
    """A model whose facts name no scoring."""

    bd_traits = BackboneTraits("Guesses")


class Unfinished(GeneralRecommender):
    """A model without the kind of its batches."""


def test_a_backbone_of_another_package_is_offered_beside_recboles(monkeypatch):
    point = EntryPoint("Biased", f"{OWN}:BiasMF", "recbole_bd.backbones")
    monkeypatch.setattr(own_classes, "entry_points", lambda group: [point] * (group == point.group))
    assert own_backbones() == ["Biased"]
    assert recommender_class("Biased") is BiasMF
    with pytest.raises(RoleError, match=r"Did you mean Biased\? .*BPR, Biased, CDAE"):
        recommender_class("Biasd")


@pytest.mark.parametrize("name", ["BPR", "SASRec"])
def test_a_backbone_of_another_package_with_a_name_of_recbole_is_refused(name, monkeypatch):
    point = EntryPoint(name, f"{OWN}:BiasMF", "recbole_bd.backbones")
    monkeypatch.setattr(own_classes, "entry_points", lambda group: [point] * (group == point.group))
    with pytest.raises(InstallationError, match=f"{name} = {OWN}:BiasMF has the name of a model of RecBole: rename it"):
        own_backbones()


@pytest.mark.parametrize(
    ("model_class", "name"), [(OwnVAE, "MultiVAE"), (LouderBPR, "BPR"), (BiasMF, "BPR"), (Rows, "MultiDAE")]
)
def test_a_loader_is_that_of_the_nearest_model_of_recbole(model_class, name):
    assert loader_name(model_class) == name


def test_what_a_base_cannot_learn_a_subclass_cannot_either():
    for base, words in (("EASE", "no parameters"), ("NCL", "needs the clustering step")):
        kind = type("Sub", (recommender_class(base),), {"__module__": __name__})
        globals()["Sub"] = kind
        with pytest.raises(RoleError, match=f"^{STUDENT}: {__name__}:Sub .*{words}"):
            require_teachable(f"{__name__}:Sub", STUDENT)
        del globals()["Sub"]


@pytest.mark.parametrize("was_on", [True, False])
def test_the_sequential_models_leave_anomaly_detection_as_it_is(was_on, monkeypatch):
    """SINE's module turns it on, which makes training several times as slow."""
    monkeypatch.setattr(registry, "_sequential", registry._sequential.__wrapped__)
    for name in [name for name in sys.modules if name.startswith(registry.SEQUENTIAL_PACKAGE)]:
        monkeypatch.delitem(sys.modules, name)
    with torch.autograd.set_detect_anomaly(was_on):
        registry._sequential()
        assert torch.is_anomaly_enabled() is was_on

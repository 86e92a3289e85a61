"""Names of classes in settings, and which of them are imported."""

import sys
from pathlib import Path

import pytest
from recbole.evaluator.metrics import Recall

from recbole_bd.backbones.registry import learns_by_gradient, recommender_class
from recbole_bd.config.config import BDConfig
from recbole_bd.config.layers import CONFIG_DICT, Layer, expand_dotted
from recbole_bd.config.own_names import import_names, is_record, names_given, with_names, words_again
from recbole_bd.config.training_settings import learns_from_pairs, reads_negatives
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.config.yaml_text import load_yaml, parse_yaml, to_yaml
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from recbole_bd.model.bd import BD
from tests.helpers.own_classes import BiasMF, FirstHit, LouderBPR
from tests.helpers.settings import QUICK, alone, make_config

OWN = "tests.helpers.own_classes"
BIASED = f"{OWN}:BiasMF"
SETTINGS = {key: value for key, value in QUICK.items() if key != "teacher.embedding_size"}


def test_classes_become_names():
    given = {"model": BD, "teacher_model": BiasMF, "student_model": recommender_class("BPR"), "epochs": 3}
    assert with_names({**given, "metrics": [Recall, FirstHit, "NDCG"], "beside": (LouderBPR,)}, METHODS) == {
        "model": "BD",
        "teacher_model": BIASED,
        "student_model": "BPR",
        "epochs": 3,
        "metrics": ["Recall", f"{OWN}:FirstHit", "NDCG"],
        "beside": [f"{OWN}:LouderBPR"],
    }


def test_a_class_that_has_no_name_is_refused():
    class Local(BiasMF):
        pass

    with pytest.raises(ConfigError, match=r"Local .*cannot be imported by its name\. Move it"):
        make_config(SETTINGS, teacher_model=Local)


def test_options_of_an_own_class_are_declared_beside_it():
    config = make_config(SETTINGS, teacher_model=BIASED, **{"teacher.width": 16})
    assert config.backbones == {"teacher": BIASED, "student": "BPR"}
    role = config.role("teacher")
    assert (role["width"], role["spread"], role["model"]) == (16, 0.1, BIASED)
    assert config.as_dict()["teacher"]["spread"] == 0.1
    again = make_config(parse_yaml(to_yaml(config.as_dict())))
    assert again.as_dict() == config.as_dict()


def test_a_setting_that_an_own_class_reads_is_not_told_as_unread():
    given = {"teacher.width": 5, "teacher.spread": 0.2, "teacher.weight_decay": 0.1}
    assert settings_notes(make_config(SETTINGS, teacher_model=BIASED, **given)) == []
    assert learns_by_gradient(BIASED)
    assert learns_from_pairs(BIASED, make_config(SETTINGS, teacher_model=BIASED).role("teacher"))
    assert not reads_negatives(f"{OWN}:OwnVAE")
    assert not reads_negatives(f"{OWN}:Rows")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher.width": 0}, "teacher.width=0: must be in [1, inf)"),
        ({"teacher.width": "wide"}, "teacher.width='wide': expected int"),
        ({"teacher.widht": 3}, "unknown setting teacher.widht (config_dict). Did you mean width?"),
        ({"teacher.embedding_size": 3}, "unknown setting teacher.embedding_size"),
    ],
)
def test_options_of_an_own_class_are_checked(settings, message):
    with pytest.raises(ConfigError) as error:
        make_config(SETTINGS, teacher_model=BIASED, **settings)
    assert str(error.value).startswith(message)


def test_a_subclass_has_the_options_and_defaults_of_its_model():
    config = make_config(QUICK, teacher_model=f"{OWN}:OwnGCN", **{"teacher.n_layers": 3})
    assert (config.role("teacher")["n_layers"], config.role("teacher")["reg_weight"]) == (3, 1e-05)


@pytest.mark.parametrize("block", [BIASED, "BD"])
def test_a_block_with_the_name_of_the_model_holds_its_settings(block, tmp_path):
    settings = alone({key: value for key, value in SETTINGS.items() if key != "distill_epochs"})
    model = make_config(settings, model=BIASED, **{block: {"width": 3} if block == BIASED else {"epochs": 4}})
    assert model["epochs"] == 3
    assert model.role("model")["width"] == (3 if block == BIASED else 8)
    assert expand_dotted({block: {"width": 3}}) == {block: {"width": 3}}


def test_names_are_found_where_classes_may_be_named():
    settings = {"model": "BD", "teacher_model": BIASED, "metrics": ["Recall", "a:B"], "label": "not:This", "beside": []}
    assert import_names(settings) == {BIASED: "teacher_model", "a:B": "metrics"}
    assert words_again(settings) == f""" --teacher_model={BIASED} '--metrics=["Recall", "a:B"]'"""
    assert words_again({"model": "BD"}) == ""


def test_a_record_is_a_file_in_a_run_folder(tmp_path, monkeypatch):
    file = tmp_path / "config.yaml"
    file.write_text(f"teacher_model: {BIASED}\n")
    layers = [Layer(str(file), load_yaml(file)), Layer(CONFIG_DICT, {"metrics": ["a:B"]})]
    assert names_given(layers) == {BIASED, "a:B"}
    (tmp_path / "result.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert is_record(str(file))
    assert is_record("config.yaml")
    assert not is_record(CONFIG_DICT)
    assert names_given(layers) == {"a:B"}


@pytest.fixture
def evil(tmp_path, monkeypatch) -> Path:
    """A module that leaves a file when it is imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\n")
    yield tmp_path
    sys.modules.pop("evil", None)


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher_model": "evil:Model"},
        {"student_model": "evil:Model"},
        {"model": "evil:Model"},
        {"metrics": ["Recall", "evil:Model"]},
        {"beside": ["evil:Model"]},
        {"BD": {"teacher_model": "evil:Model"}},
    ],
)
@pytest.mark.parametrize("name", ["result.json", "last.ckpt"])
def test_a_name_in_a_record_is_not_imported(name, settings, evil):
    run = evil / "run"
    run.mkdir()
    (run / name).write_text("{}")
    (run / "config.yaml").write_text(to_yaml(settings))
    with pytest.raises(ConfigError, match=r"^the record of a run names evil:Model, and importing this runs its code"):
        BDConfig(config_file_list=[run / "config.yaml"], methods=METHODS)
    assert not (evil / "ran").exists()
    assert "evil" not in sys.modules
    with pytest.raises(ConfigError, match="names evil:Model"):
        BDConfig(config_dict=settings, methods=METHODS, trusted=())
    assert not (evil / "ran").exists()


def test_a_name_that_the_user_gives_again_is_imported(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml({**expand_dotted(SETTINGS), "teacher_model": BIASED}))
    with pytest.raises(ConfigError, match=f"name it yourself: --teacher_model={BIASED}$"):
        BDConfig(config_file_list=[file], methods=METHODS)
    assert BDConfig(config_file_list=[file], command_line={"teacher_model": BIASED}, methods=METHODS).backbones == {
        "teacher": BIASED,
        "student": "BPR",
    }

"""Shipped property files: where they lie, and that every method has one."""

import pytest

from recbole_bd.config import property_files
from recbole_bd.config.config import BDConfig
from recbole_bd.config.property_files import file_or_shipped, method_yaml, properties_path
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS


def test_options_lie_inside_the_package_or_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "recbole_bd"
    monkeypatch.setattr(property_files, "__file__", str(package / "config" / "property_files.py"))
    with pytest.raises(ConfigError) as error:
        properties_path("overall.yaml")
    assert str(error.value) == f"properties/ is missing beside {package}: reinstall recbole-bd"
    for folder in (tmp_path / "properties", package / "properties"):  # the one inside goes first
        folder.mkdir(parents=True)
        (folder / "overall.yaml").write_text("")
        property_files._properties.cache_clear()
        assert properties_path("model", "BD.yaml") == folder / "model" / "BD.yaml"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_file(method):
    assert method_yaml(method) == properties_path("model", f"{method}.yaml")
    assert method_yaml(method).is_file()


def test_an_installed_package_finds_its_own_files(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    for name in ("bd.yaml", "model/BD-paper.yaml"):
        assert file_or_shipped(f"properties/{name}") == str(properties_path(*name.split("/")))
    file_or_shipped("./properties/bd.yaml")
    file_or_shipped("./properties/bd.yaml")
    assert caplog.text.count("properties/bd.yaml does not exist here; reading the file of this package") == 1
    (tmp_path / "properties").mkdir()
    (tmp_path / "properties" / "bd.yaml").write_text("epochs: 7")
    assert file_or_shipped("properties/bd.yaml") == "properties/bd.yaml"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("properties/tuning/BDD.yaml", " Did you mean properties/tuning/BD.yaml?"),
        ("tuning/BD.yaml", " Did you mean properties/tuning/BD.yaml?"),
        ("my-spaces.yaml", " Did you mean my-space.yaml?"),
        ("quite.other", ""),
        ("my-space.yaml,my-space.yaml", " Several files are separated by spaces."),
    ],
)
def test_a_file_that_does_not_exist_is_refused_with_the_way_out(name, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-space.yaml").write_text("")
    with pytest.raises(ConfigError) as error:
        file_or_shipped(name)
    assert str(error.value) == (
        f"configuration file {name} cannot be read: no such file.{meant} recbole-bd configs ls shows the files of this "
        "package"
    )


def test_a_run_reads_a_shipped_file_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = BDConfig(config_file_list=["properties/model/BD-paper.yaml"], methods=METHODS)
    assert (
        shipped.as_dict()
        == BDConfig(config_file_list=[properties_path("model", "BD-paper.yaml")], methods=METHODS).as_dict()
    )


ORDERS = {"paper": "paper", "notebook": "reference"}
# By model: settings of the run, of both roles, and the weight decay of the teacher's and the student's warm-up.
PUBLISHED = {
    "bpr": (
        {"lambda": 0.5, "samples_per_positive": 1, "temperature": 5.0, "eps_t": 1e-2, "eps_e": 1e-4},
        {"epochs": 1000, "learning_rate": 1e-3, "train_batch_size": 128},
        (1e-3 / 128, 0.0),
    ),
    "cdae": (
        {"lambda": 5 * 0.5, "samples_per_positive": 5, "temperature": 2.0, "eps_t": 1e-4, "eps_e": 1e-4},
        {"epochs": 1000, "learning_rate": 2e-3, "train_batch_size": 128, "loss_items": "sampled"},
        (1e-3, 1e-3),
    ),
}


@pytest.mark.parametrize("form", ORDERS)
@pytest.mark.parametrize("model", PUBLISHED)
def test_files_of_the_published_form_have_the_published_values(model, form):
    file = properties_path("reproduce", f"citeulike-{model}-{form}.yaml")
    config = BDConfig(config_file_list=[file], methods=METHODS)
    of_run, of_role, decays = PUBLISHED[model]
    assert (config["model"], config["dataset"], config["refresh_period"]) == ("BD", "citeulike", 10)
    for way in ("teacher_to_student", "student_to_teacher"):
        assert (config[f"lambda_{way}"], config[f"rank_order_{way}"]) == (of_run["lambda"], ORDERS[form])
    assert {key: config[key] for key in of_run if key != "lambda"} == {k: v for k, v in of_run.items() if k != "lambda"}
    assert config["distill_epochs"] == {"bpr": 100, "cdae": 1000}[model]
    assert config["stopping_step"] * config["eval_step"] >= 1000
    assert config["early_stopping"] == "none"
    assert config["controls"] == ["continued", "placebo"]
    for role, size, decay in zip(("teacher", "student"), (50, 5), decays, strict=True):
        own = config.role(role)
        assert {key: own[key] for key in of_role} == of_role
        assert (own["embedding_size"], own["weight_decay"], own["distill_weight_decay"]) == (size, decay, 0)
        assert own["distill_learning_rate"] == own["learning_rate"]
        assert own["negatives_leak_held_out"] == (form == "notebook")
    assert config["cf_negatives"] == ("distilled" if (model, form) == ("bpr", "notebook") else "sampled")
    assert settings_notes(config) == []

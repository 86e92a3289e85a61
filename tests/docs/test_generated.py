"""Text of the pages that is made from the package while they are built."""

import importlib
import re

import pytest

import recbole_bd
from recbole_bd.backbones.registry import recommenders
from recbole_bd.backbones.traits import NO_ROLE, RECBOLE_TRAITS
from recbole_bd.cli.main import COMMANDS
from recbole_bd.config.option import declared_options
from recbole_bd.config.property_files import method_options, package_options, properties_path
from recbole_bd.model import MODULES
from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generated():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield importlib.import_module("generated")


def page(generated, name: str) -> str:
    return generated.filled((DOCS / name).read_text(encoding="utf-8"))


def test_every_setting_is_on_the_page_with_its_type_default_and_range(generated):
    text = page(generated, "configuration.md")
    told = re.findall(r"^```\{confval\} (\S+)$", text, re.M)
    assert sorted(told) == sorted([*package_options(), *(key for method in MODULES for key in method_options(method))])
    linked = re.findall(r"^```\{confval\} (\S+)\n\n", text, re.M)
    assert len(linked) == len(set(linked)) == len(set(told))  # a name is the target of one link
    entry = text[text.index("```{confval} softmax_temperature") :].partition("```\n")[0]
    assert "*float*, default `1.0`, range `(0, inf)`" in entry
    assert "one of `both`, `teacher_to_student`, `student_to_teacher`" in text
    for key in ("eval_args", "learning_rate", "train_neg_sample_args"):
        assert f"| `{key}` |" in text


def test_every_shipped_file_is_on_the_page(generated):
    text = page(generated, "configuration.md")
    for path in properties_path().rglob("*.yaml"):
        assert f"| `{path.relative_to(properties_path()).as_posix()}` |" in text


def test_every_model_is_on_the_page_and_why_it_cannot_learn(generated):
    text = page(generated, "backbones.md")
    rows = {row[0]: row for row in re.findall(r"^\| `(\w+)` \| yes \| (yes|no) \| (yes|) \| (.+)$", text, re.M)}
    assert rows.keys() == set(recommenders()) == RECBOLE_TRAITS.keys()
    for name, (_, learns, _, rest) in rows.items():
        traits = RECBOLE_TRAITS[name]
        refused = traits.closed_form or traits.own_trainer is not None
        assert (learns == "no") == refused == ("no parameters" in rest or "does not run" in rest), name
        divided = "" if traits.closed_form else "yes" if traits.shares_batches else "no"
        assert rest.startswith(f"{divided} | "), name
    assert rows["LightGCN"][2] == rows["SASRec"][2] == "yes"
    assert rows["NeuMF"][2] == rows["BERT4Rec"][2] == ""
    for name, reason in NO_ROLE.items():
        assert f"| `{name}` | {reason} |" in text
    options = (("LightGCN", "n_layers"), ("MF", "biases"), ("CDAE", "corruption_ratio"), ("GRU4Rec", "hidden_size"))
    for model, key in options:
        assert f"| `{key}` |" in text.partition(f"\n### {model}\n")[2].partition("\n### ")[0]


def test_every_command_is_on_the_page_as_its_help(generated, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = page(generated, "cli.md")
    for command in COMMANDS:
        assert f"\n## {command}\n" in text
        assert f"usage: recbole-bd {command} " in text
    assert "--rank_precision" not in text  # they are on the page of the configuration


def test_places_of_pages_are_filled(generated):
    for path in DOCS.rglob("*.md"):
        if "_build" not in path.parts:
            assert "<!-- generated: " not in generated.filled(path.read_text(encoding="utf-8")), path
    with pytest.raises(KeyError, match="nothing"):
        generated.filled("<!-- generated: nothing -->")


def test_every_public_name_has_a_place_in_the_api():
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    for name in set(recbole_bd.__all__) - {"__version__", "BDError"}:
        assert re.search(rf"^\.\. auto\w+:: recbole_bd\.{name}$", text, re.M), name
    assert ".. automodule:: recbole_bd.errors" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b < c*d [e] $f", r"a\_b \< c\*d \[e\] \$f"),
        ("`a_b` and a_b", r"`a_b` and a\_b"),
        ("for --config_files=x.yaml.", "for `--config_files=x.yaml`."),
    ],
)
def test_plain_text_is_shown_as_it_is(text, shown, generated):
    assert generated.escaped(text) == shown


def test_options_of_a_file_keep_their_order(generated):
    keys = re.findall(r"\{confval\} (\S+)", generated.options("model/RD.yaml"))
    assert keys == list(declared_options(properties_path("model", "RD.yaml")))

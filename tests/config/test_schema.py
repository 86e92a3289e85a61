"""The JSON schema of settings: that it is current, and that it takes and refuses what a run does."""

import json

import pytest

from recbole_bd.backbones.registry import recommenders
from recbole_bd.cli.schema import as_text
from recbole_bd.config.evaluation_settings import check_protocol
from recbole_bd.config.known_options import backbone_options, recbole_options
from recbole_bd.config.option import Option
from recbole_bd.config.property_files import (
    SETTINGS_SCHEMA,
    SPACE_SCHEMA,
    method_options,
    package_options,
    properties_path,
)
from recbole_bd.config.recbole_blocks import check_clipping, check_inside
from recbole_bd.config.schema import settings_schema, value_schema
from recbole_bd.config.yaml_text import load_yaml
from recbole_bd.errors import BDError, ConfigError
from recbole_bd.model import MODULES
from tests.helpers.paths import ROOT
from tests.helpers.settings import make_config

jsonschema = pytest.importorskip("jsonschema")
SHIPPED = sorted(properties_path().rglob("*.yaml"))
SETTINGS = [path for path in SHIPPED if path.parent.name != "tuning"]


@pytest.fixture(scope="module")
def made():
    """The schema as today's declarations give it, without what other packages offer."""
    return settings_schema(MODULES, recommenders())


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(properties_path(SETTINGS_SCHEMA).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def faults(validator, settings) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(settings)]


def test_the_shipped_schema_is_current(made):
    shipped = properties_path(SETTINGS_SCHEMA).read_text()
    assert as_text(made) == shipped, "run: recbole-bd schema --out=properties"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(properties_path())))
def test_the_first_line_names_the_schema(path):
    line = path.read_text().splitlines()[0]
    assert line.startswith("# yaml-language-server: $schema=")
    named = (path.parent / line.partition("=")[2]).resolve()
    expected = SPACE_SCHEMA if path.parent.name == "tuning" else SETTINGS_SCHEMA
    assert named == properties_path(expected).resolve()


def test_every_shipped_file_is_valid(validator):
    own = ROOT / "recbole_bd" / "backbones" / "MF.yaml"
    found = sorted((ROOT / "results").glob("*/settings/*.yaml"))
    assert len(found) > 30
    for path in (*SETTINGS, own, *found):
        assert faults(validator, load_yaml(path)) == [], path


@pytest.mark.parametrize("settings", [{}, {"model": "EASE"}, {"teacher_model": "CDAE", "dataset": "citeulike"}])
def test_the_settings_of_a_run_are_valid(settings, validator):
    assert faults(validator, make_config(settings).as_dict()) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"embeding_size": 8},
        {"teacher": {"embeding_size": 8}},
        {"student.embeding_size": 8},
        {"BD": {"embeding_size": 8}},
        {"BD.embeding_size": 8},
        {"backbones": {"BPR": {"student": {"embeding_size": 8}}}},
        {"backbones.BPR.student.embeding_size": 8},
        {"eval_args": {"spilt": {"RS": [8, 1, 1]}}},
        {"train_neg_sample_args": {"uniform": 1}},
        {"teacher": {"exchange": "listwise"}},  # an option of the method
        {"teacher": {"topk": [10]}},  # an option of the run
        {"embedding_size": "8"},
        {"BD": {"guide": "teacher"}},  # a word of CD's
        {"model": "BDD"},
        {"backbones": {"BRP": {"teacher": {"embedding_size": 8}}}},
        {"neg_sampling": None},
    ],
)
def test_what_a_run_refuses_is_refused(settings, validator):
    assert faults(validator, settings)
    with pytest.raises(BDError):
        make_config(settings)


@pytest.mark.parametrize("settings", [{"BPR": {"teacher": {"embeding_size": 8}}}, {"backbones": {"BRP": {}}}])
def test_what_a_run_does_not_read_is_refused_too(settings, validator):
    assert faults(validator, settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"embedding_size": 8, "student.embedding_size": 4, "teacher": {"learning_rate": 1e-3}},
        {"BD": {"guide": "constant", "student": {"distill_learning_rate": 0.1}}, "CD": {"guide": "teacher"}},
        {"BD.temperature": 2.0, "BD.student.learning_rate": 0.1, "eval_args.mode": "uni100"},
        {"backbones": {"BPR": None, "EASE": {"teacher": {"reg_weight": 3}}}, "control": True},
        {"backbones.BPR.student.embedding_size": 4},
        {"model": "my_package.models:Mine", "my_package.models:Mine": {"width": 3}},
        {"train_neg_sample_args": None, "clip_grad_norm": {"max_norm": 5.0}, "topk": 10, "metrics": "NDCG"},
    ],
)
def test_other_ways_to_write_settings_are_valid(settings, validator):
    assert faults(validator, settings) == []


PROBES = [
    None, True, False, -1, 0, 1, 2, 10**6, 2**40, -0.5, 0.0, 0.5, 1.5, 1e9, "", "a", "all", "teacher", "both", [], [1],
    ["continued"], ["nonsense"], {}, {"a": 1},
]  # fmt: skip


def every_option() -> list[Option]:
    declared = [recbole_options(), package_options(), *map(method_options, MODULES)]
    declared += [backbone_options(name) for name in ("BPR", "NeuMF", "DiffRec", "AsymKNN", "MF")]
    return [option for options in declared for option in options.values()]


def test_the_schema_of_a_value_takes_what_the_option_takes():
    for option in every_option():
        validator = jsonschema.Draft202012Validator(value_schema(option))
        # Names are checked further: their inside is tested below.
        for value in [] if option.key == "metrics" else [*PROBES, option.default, *option.choices]:
            if type(value) is float and value == int(value) and "float" not in option.types:
                continue  # JSON has one kind of numbers
            assert validator.is_valid(value) == is_allowed(option, value), (option, value)


# What the blocks of RecBole hold, right and wrong.
INSIDE = {
    "eval_args": [
        {}, {"split": {"LS": "valid_only"}}, {"split": {"LS": "x"}}, {"split": {"RS": [0.8, 0.1]}}, {"order": "XX"},
        {"split": {"RS": [8, 1, 1], "LS": "valid_only"}}, {"split": {"RS": [1, 1, 0]}, "order": "RO"}, {"mode": "uni0"},
        {"mode": "pop100"}, {"mode": {"valid": "uni10", "test": "full"}}, {"mode": {"train": "full"}}, {"mode": 1},
        {"group_by": None}, {"group_by": "item"}, {"nothing": 1},
    ],
    "train_neg_sample_args": [
        {}, {"distribution": "popularity", "sample_num": 5, "alpha": 0.5}, {"distribution": "none"}, {"sample_num": 0},
        {"sample_num": 1.5}, {"alpha": 11}, {"dynamic": "yes"}, {"dynamic": True, "candidate_num": 3},
        {"candidate_num": -1}, {"uniform": 1},
    ],
    "load_col": [{}, {"inter": "*"}, {"inter": ["a"]}, {"inter": "a"}, {"inter": [1]}, {"own": ["a"]}],
    "unused_col": [{"inter": ["a"]}, {"inter": "*"}],
    "alias_of_user_id": [["a"], [""], [1], []],
    "val_interval": [{"rating": "[3,inf)"}, {"rating": ["a", 1]}, {"rating": [[1]]}],
    "threshold": [{"rating": 4}, {}, {"a": 1, "b": 2}, {"rating": "4"}],
    "seq_len": [{"a": 1}, {"a": 0}, {"a": "1"}],
    "preload_weight": [{"a": "b"}, {"a": 1}],
    "discretization": [
        {"a": {"method": "LD"}}, {"a": {"method": "ED", "bucket": 3}}, {"a": {"method": "ED"}}, {"a": {"bucket": 3}},
        {"a": {"method": "LD", "bins": 1}}, {"a": 1},
    ],
    "rm_dup_inter": ["first", "last", "middle", None],
    "NEG_PREFIX": ["", "neg_"],
    "metrics": ["NDCG", ["Recall", "NDCG"], [], [1], ["Recall", None]],
    "topk": [10, 0, [5, 10], [], [0], ["a"]],
    "benchmark_filename": [None, ["a", "b", "c"], ["a", "b"], [1, 2, 3]],
    "clip_grad_norm": [{}, {"max_norm": 5.0}, {"max_norm": 0}, {"norm_type": 2.0}, {"max_norm": 1, "norm": 2}],
}  # fmt: skip


@pytest.mark.parametrize("key", INSIDE)
def test_the_schema_of_a_block_takes_what_its_check_takes(key):
    validator = jsonschema.Draft202012Validator(value_schema(recbole_options()[key]))
    assert len({validator.is_valid(value) for value in INSIDE[key]}) == 2
    for value in INSIDE[key]:
        assert validator.is_valid(value) == is_allowed(recbole_options()[key], value), value


def is_allowed(option: Option, value) -> bool:
    """Whether a run takes a value of an option, as far as one value decides it."""
    try:
        option.check(value, option.key)
        check_inside(option.key, value, option.key)
        if option.key == "clip_grad_norm":
            check_clipping(value, option.key)
        if option.key in ("eval_args", "metrics", "topk", "benchmark_filename", "val_interval"):
            check_protocol({**DEFAULTS, option.key: value})
    except ConfigError:
        return False
    return True


DEFAULTS = make_config().final_config_dict

"""Whatever is written as settings is a valid configuration or an error in one line, and reads back as it was."""

import math
import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.config.yaml_text import load_yaml, parse_value, to_yaml, write_value
from recbole_bd.errors import BDError, ConfigError
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import run_hashes
from tests.helpers.bounds import tried
from tests.helpers.counts import tally
from tests.helpers.settings import make_config

# Measuring the coverage of thousands of small texts takes longer than reading them.
pytestmark = pytest.mark.no_cover

# Text that is odd as YAML: dates and numbers that are none, tags, aliases, depth.
ODD = [
    *(
        "2020-13-45",
        "2020-01-01",
        "2020-01-01 25:00:00",
        "0x_",
        "0b_",
        "1:2:3",
        "1" * 5000,
        "1e400",
        ".nan",
        "-.inf",
        "~",
    ),
    *("!!int x", "!!int ''", "!!float x", "!!bool x", "!!timestamp x", "!!binary x", "!!set {a}", "!!omap [a: 1]"),
    *(
        "!!python/object/apply:os.system [ls]",
        "!!python/name:os.system",
        "&a [*a]",
        "&a {b: *a}",
        "*a",
        "{[1]: 2}",
        "=",
        "%",
    ),
    *("[" * 1000, "{a: " * 1000, "- " * 1000, "<<", "{<<: 1}", "{<<: {a: 1}}", "? a", "@", "`", "\0", "\t", "\ud800"),
    *(
        "a: b: c",
        "'",
        '"',
        "|",
        ">",
        "--- a\n--- b",
        "[5,inf)",
        "None",
        "yes",
        "0o7",
        "1_000",
        "{1: 2}",
        "{~: 2}",
        "1e5",
    ),
    *("\ufeff1", "&a [1,2]", "[&a [0,0], &b [*a,*a], &c [*b,*b]]"),
]
BOMB = "[" + ", ".join(f"&a{n} [" + ", ".join([f"*a{n - 1}" if n else "0"] * 9) + "]" for n in range(12)) + "]"
texts = st.text(max_size=30) | st.sampled_from([*ODD, BOMB]) | st.text("[]{}:,-&*!#|>'\"%@ \n0a.~", max_size=12)

PLAIN = make_config().as_dict()
KEYS = [
    *(key for key in PLAIN if key not in ("teacher", "student")),
    *(f"{role}.{key}" for role in ("teacher", "student") for key in PLAIN[role]),
    *("teacher", "student", "backbones", "beside", "BD", "BPR", "teacher.nonsense", "teacher.a.b", ".", "", "teacher."),
    *("model.x", "config_files", "dry-run", "encoding", "benchmark_filename", "val_interval", "seq_len", "unload_col"),
]
keys = st.sampled_from(KEYS) | st.text(max_size=8)
NAMES = ["BD", "RD", "DE", "BPR", "CDAE", "MultiVAE", "ml-100k", "uniform", "cpu", "auto", "NDCG@10", "adam"]
numbers = st.integers() | st.integers(-3, 300) | st.floats() | st.floats(0, 1)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8) | st.sampled_from(NAMES)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | keys, inner, max_size=3),
    max_leaves=6,
)


def resolve(**sources) -> BDConfig | None:
    """The configuration with both roles; None where it is refused, in one line."""
    try:
        config = BDConfig(**sources, methods=METHODS)
        for role in config.backbones:
            config.role(role)
        config.as_dict()
        run_hashes(config)
    except BDError as error:
        refused = str(error)
    else:
        return config
    assert refused
    assert len(refused.splitlines()) == 1, refused
    return None


@pytest.mark.slow
@tried(200)
@given(texts | values)
@example("a\U000141c8")
@example({"a": {"\n": "\U000141c8"}, "b": "x\n"})
@example({"a": ["\U000141c8", "\x85", "1e5", ".nan", math.inf, 1e-300, "None", None]})
def test_any_value_is_written_as_it_is_read(value):
    try:
        text = write_value(value)
    except ConfigError:
        return
    assert len(text.splitlines()) <= 1 or isinstance(value, str)
    assert str(parse_value(text)) == str(value) or parse_value(text) == value


@pytest.mark.slow
@tried(300)
@given(texts)
def test_any_text_is_a_value_or_an_error_and_runs_nothing(text):
    try:
        value = parse_value(text)
    except BDError:
        return
    assert type(value).__module__ in ("builtins", "datetime")
    assert len(repr(value)) < 10 * len(text) + 10_000


@tried(150)
@given(st.text(max_size=60) | texts | st.binary(max_size=60))
def test_any_file_is_settings_or_an_error(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    try:
        loaded = load_yaml(path)
    except ConfigError as error:
        refused = str(error)
    else:
        assert all(isinstance(key, str) for key in loaded)
        return
    assert str(path) in refused
    assert len(refused.splitlines()) == 1


words = st.lists(
    st.text(max_size=10)
    | st.builds(lambda key, text: f"--{key}={text}", keys, texts)
    | st.builds(lambda key: f"--{key}", keys)
    | texts,
    max_size=4,
)


@tried(120)
@given(words)
def test_any_command_line_is_a_configuration_or_an_error(words):
    try:
        parsed, files, _ = parse_arguments(words)
    except BDError as error:
        refused = str(error)
    else:
        resolve(command_line=parsed, config_file_list=files)
        return
    assert len(refused.splitlines()) == 1


@pytest.mark.slow
@tried(150)
@given(st.dictionaries(keys, values, max_size=3))
def test_any_settings_are_a_configuration_or_an_error(given):
    resolve(config_dict=given)


# Strategy for plausible values: each key gets values like its default.
def near(value):
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(0, 50)
    if isinstance(value, float):
        return st.floats(0, 1) | st.integers(0, 3)
    if value is None:
        return scalars
    return st.just(value) | values


FLAT = {key: value for key, value in PLAIN.items() if key not in ("teacher", "student")}
FLAT |= {f"{role}.{key}": value for role in ("teacher", "student") for key, value in PLAIN[role].items()}
likely = st.lists(st.sampled_from(sorted(FLAT)), max_size=4, unique=True).flatmap(
    lambda chosen: st.fixed_dictionaries({key: near(FLAT[key]) for key in chosen})
)


@pytest.mark.slow
def test_resolved_settings_and_the_command_give_the_same_run_again(tmp_path, pytestconfig):
    valid = 0

    @tried(40)
    @given(likely)
    @example({"val_interval": {"a": "[0,inf)"}})
    @example({"user_inter_num_interval": "1e5", "dataset_save_path": "2020-01-01"})
    def read_back(given):
        nonlocal valid
        config = resolve(config_dict=given)
        tally(pytestconfig, f"settings: {'refused' if config is None else 'read back'}")
        if config is None:
            return
        valid += 1
        expected, hashes = config.as_dict(), run_hashes(config)
        file = tmp_path / "config.yaml"
        file.write_text(to_yaml(expected), encoding="utf-8")
        again = BDConfig(config_file_list=[file], methods=METHODS)
        assert again.as_dict() == expected
        assert run_hashes(again) == hashes
        program, command, *words = shlex.split(config.command)
        assert (program, command) == ("recbole-bd", "run")
        parsed, files, _ = parse_arguments(words)
        by_command = BDConfig(config_file_list=files, command_line=parsed, methods=METHODS)
        assert by_command.as_dict() == expected
        assert run_hashes(by_command) == hashes

    read_back()
    assert valid >= 8  # else it would say nothing


@pytest.mark.parametrize("text", [BOMB, "&a [*a]", "&a {b: *a}"])
def test_what_grows_without_bound_is_refused(text, tmp_path):
    with pytest.raises(ConfigError, match="larger than 100,000 values"):
        parse_value(text)
    (tmp_path / "x.yaml").write_text(f"topk: {text}")
    with pytest.raises(ConfigError, match=r"x\.yaml: .*larger than 100,000 values"):
        load_yaml(tmp_path / "x.yaml")

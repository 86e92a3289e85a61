"""Parsers of the commands."""

from argparse import ArgumentTypeError

import pytest

from recbole_bd.cli.parser import CommandParser, add_settings, model_parser, positive_integer
from recbole_bd.errors import ConfigError


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("256", 256), ("007", 7)])
def test_whole_numbers_above_0_are_read(text, number):
    assert positive_integer(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "x", "1e3", " 1"])
def test_other_text_is_no_such_number(text):
    with pytest.raises(ArgumentTypeError) as error:
        positive_integer(text)
    assert str(error.value) == f"{text!r} is not a whole number of at least 1"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--role=pupil"], "argument --role: invalid choice: 'pupil' (choose from "),
        (["--rol=teacher"], "unrecognized arguments: --rol=teacher. Did you mean --role?"),  # no abbreviations
        (["--device=cpu"], "unrecognized arguments: --device=cpu."),
        (["--allow_code=1"], "--allow_code takes no value, found '1'."),
        (["a", "b"], "unrecognized arguments: b"),
    ],
)
def test_an_error_is_one_line_that_names_the_help(words, problem):
    with pytest.raises(ConfigError) as error:
        model_parser("export", "RUN").parse_args(words)
    assert str(error.value).startswith(f"export: {problem}")
    assert str(error.value).endswith(" See recbole-bd export --help")


def test_a_model_is_named_by_its_run_and_role():
    assert vars(model_parser("export", "RUN").parse_args(["saved/RUN", "--role", "teacher"])) == {
        "run": "saved/RUN", "role": "teacher", "data_path": None, "allow_code": False,
    }  # fmt: skip
    assert vars(model_parser("export", "RUN").parse_args(["--data_path=d", "--allow_code"])) == {
        "run": None,
        "role": None,
        "data_path": "d",
        "allow_code": True,
    }


def test_the_help_keeps_its_examples_and_describes_settings():
    parser = CommandParser("tune", "--space=FILE", description="Search.\n\nexamples:\n  recbole-bd tune    one")
    add_settings(parser, "any setting")
    text = parser.format_help()
    assert text.startswith("usage: recbole-bd tune --space=FILE\n\nSearch.\n\nexamples:\n  recbole-bd tune    one\n")
    assert "--key VALUE" in text
    assert "any setting. Write --key=VALUE or --key VALUE; values are YAML" in " ".join(text.split())
    assert CommandParser("").prog == "recbole-bd"

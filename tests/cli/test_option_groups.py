"""Options of the shipped files as text for the help."""

import pytest

from recbole_bd.cli.option_groups import option_groups, option_lines
from recbole_bd.config.property_files import package_options, properties_path

TEXT = """\
# The file.
first: 1  # (int) Above all groups.

# Roles.
second: ~  # (str or ~) Of a role.
# A remark, and no title.
third: [a, b]  # (list) Of a role too.

# Empty.

# Machine:
fourth: 0.5  # (float) Of the machine.
"""


def test_a_comment_after_an_empty_line_begins_a_group(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(TEXT)
    groups = [(title, [option.key for option in options]) for title, options in option_groups(path)]
    assert groups == [("", ["first"]), ("Roles", ["second", "third"]), ("Machine:", ["fourth"])]


def test_an_option_has_a_line_with_type_and_default_and_one_with_its_meaning(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(TEXT)
    assert option_lines(option_groups(path)[1][1]).splitlines() == [
        "--second (str or ~, default ~)",
        "      Of a role.",
        "--third (list, default ['a', 'b'])",
        "      Of a role too.",
    ]


@pytest.mark.parametrize("name", ["overall.yaml", "model/BD.yaml"])
def test_no_option_is_left_out(name):
    path = properties_path(*name.split("/"))
    keys = [option.key for _, options in option_groups(path) for option in options]
    assert len(keys) == len(set(keys))
    if name == "overall.yaml":
        assert set(keys) == package_options().keys()

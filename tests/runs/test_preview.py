"""The preview of a run for `--dry-run`."""

import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from recbole_bd.data.split import load_split
from recbole_bd.data.split_warnings import split_warnings
from recbole_bd.errors import CheckpointError
from recbole_bd.runs.prepare import size_notes
from recbole_bd.runs.preview import describe
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.settings import alone, make_config


def test_settings_data_sizes_and_memory_are_described(quick):
    config = make_config({**quick, "samples_per_positive": 40, "refresh_period": 100})
    head, _, rest = describe(config).partition("\n\n")
    title, _, settings = head.partition("\n")
    assert title == "resolved configuration:"
    assert yaml.safe_load(settings) == config.as_dict()
    data, device, *roles, memory = rest.splitlines()
    assert data.startswith('data: {"users": 60, "items": 48, ')
    assert device == "device: cpu"
    assert roles == ["teacher: BPR, 880 parameters", "student: BPR, 220 parameters"]
    positives = yaml.safe_load(data.removeprefix("data: "))["split"]["train"]
    # In bytes: parameters six times, the scores of all users four times, and every sample of 100 epochs twice.
    expected = 300 * 2**20 + 1100 * 6 * 4 + 61 * 49 * 4 * 4 + positives * 40 * 100 * 2 * 8
    assert expected > 310e6
    assert memory == f"estimated memory: {expected / 2**20:,.0f} MiB (including about 300 MiB for Python and torch)"


def test_a_baseline_is_described_alone(quick):
    shown = describe(make_config({**alone(quick), "model": "BPR"})).splitlines()
    assert [line for line in shown if "parameters" in line] == ["model: BPR, 7,040 parameters"]


def test_a_checkpoint_is_read_as_the_run_would(quick, finished):
    path = Path(finished[0]["run_folder"]) / "teacher.pth"
    assert "teacher: BPR, 880 parameters" in describe(make_config({**quick, "teacher.checkpoint": str(path)}))
    with pytest.raises(CheckpointError, match="was made for different sizes"):
        describe(make_config({**quick, "student.checkpoint": str(path)}))


def test_warnings_of_the_data_are_shown(quick, tmp_path):
    write_inter(tmp_path, "again", block_pairs() + block_pairs()[::2])
    config = make_config({**quick, "dataset": "again", "data_path": str(tmp_path)})
    shown = [line for line in describe(config).splitlines() if line.startswith("warning: data: ")]
    assert [line.removeprefix("warning: data: ") for line in shown] == [
        warning.message for warning in split_warnings(load_split(config))
    ]
    assert len(shown) == 2


def test_a_student_as_large_as_its_teacher_is_told(quick):
    told = r"warning: the student has ([\d,]+) parameters and the teacher \1: for a smaller student set --student.embed"
    assert not re.search("smaller student", describe(make_config(quick)))
    assert re.search(told, describe(make_config({**quick, "student.embedding_size": quick["teacher.embedding_size"]})))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"embedding_size": 64}, "set --student.embedding_size, as in --student.embedding_size=8"),
        ({"embedding_size": 8, "hidden_size": 8}, "set --student.embedding_size, as in --student.embedding_size=4"),
        ({"hidden_size": 64}, "set --student.hidden_size, as in --student.hidden_size=8"),
        ({"mlp_hidden_size": [600]}, "set --student.mlp_hidden_size, now [600]"),
    ],
)
def test_the_setting_that_makes_a_student_smaller_is_one_that_it_has(settings, words):
    role = SimpleNamespace(config=defaultdict(lambda: None, model="BPR", **settings), parameter_count=1200)
    told = f"the student has 1,200 parameters and the teacher 1,200: for a smaller student {words}"
    assert size_notes({"teacher": role, "student": role}) == [told]

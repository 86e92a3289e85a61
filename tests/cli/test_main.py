"""The command line as a user meets it: what it accepts, what it shows, and how it refuses."""

import json
import subprocess
import sys

import pytest

import recbole_bd
from recbole_bd.cli.main import help_text, parse_arguments
from recbole_bd.config.known_options import method_options, package_options
from recbole_bd.errors import ConfigError
from recbole_bd.model import METHODS
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.paths import ROOT
from tests.helpers.settings import for_method


def words(settings: dict) -> list[str]:
    return [f"--{key}={json.dumps(value)}" for key, value in settings.items()]


@pytest.mark.parametrize(
    ("line", "settings", "files"),
    [
        (["--seed=5", "--lambda_schedule", "linear"], {"seed": 5, "lambda_schedule": "linear"}, []),
        (["--teacher.learning_rate=1e-2"], {"teacher.learning_rate": 0.01}, []),
        (["--config_files=a.yaml", "b.yaml", "--seed=1"], {"seed": 1}, ["a.yaml", "b.yaml"]),
        (["--config_files", "a.yaml", "b.yaml"], {}, ["a.yaml", "b.yaml"]),
        (["--config_files=a.yaml b.yaml"], {}, ["a.yaml", "b.yaml"]),
        (["--topk=[5,10]", "--teacher.weight_decay", "0"], {"topk": [5, 10], "teacher.weight_decay": 0}, []),
        (["--user_inter_num_interval=[5,inf)"], {"user_inter_num_interval": "[5,inf)"}, []),
        (["--data_path=a=b"], {"data_path": "a=b"}, []),
        (["--seed=1", "--seed=1"], {"seed": 1}, []),
    ],
)
def test_recboles_style_is_read(line, settings, files):
    assert parse_arguments(line) == (settings, files, False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["seed=1"], "'seed=1' is no setting"),
        (["--seed"], "--seed has no value"),
        (["--seed", "--model=BD"], "--seed has no value"),
        (["--seed=1", "--seed=2"], "given twice"),
        (["--config_files"], "names no file"),
    ],
)
def test_what_is_no_setting_is_named(line, message):
    with pytest.raises(ConfigError, match=message):
        parse_arguments(line)


def test_help_lists_every_option_with_type_default_and_meaning(cli):
    code, out, _ = cli("--help")
    assert code == 0
    assert out.strip() == help_text().strip()
    options = list(package_options().values()) + [o for name in METHODS for o in method_options(name).values()]
    for option in options:
        assert f"--{option.key} ({option.type}, default " in out
        assert option.meaning in out


def test_version(cli):
    assert cli("--version") == (0, f"recbole-bd {recbole_bd.__version__}\n", "")


def test_a_dry_run_shows_everything_and_writes_nothing(cli, quick, tmp_path):
    code, out, _ = cli("run", *words(quick), "--dry-run")
    assert code == 0
    for text in (
        "embedding_size: 8",
        '"users": 60',
        "teacher: BPR, 880 parameters",
        "student: BPR, 220",
        "estimated memory",
    ):
        assert text in out
    assert list(tmp_path.iterdir()) == []


def test_a_run_ends_with_the_table(cli, quick):
    code, out, err = cli("run", *words(quick))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.split()[1:2] == ["BPR"]] == ["teacher", "student"]
    assert sum(arm in out for arm in ("separate", "continued", "distilled")) == 3
    assert "vs separate" in out
    assert "The student ranks the held-out item higher" in out
    assert "epoch 2" in err  # plain lines, since this is no terminal
    assert "\r" not in err


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "recbole_bd", "run"], [sys.executable, str(ROOT / "run_bd.py")]]
)
def test_the_other_ways_to_call_it(command, quick, tmp_path):
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    found = subprocess.run(
        [*command, *words(quick), "--dry-run"], cwd=tmp_path, capture_output=True, text=True, env=env
    )
    assert found.returncode == 0, found.stderr
    assert "student: BPR, 220 parameters" in found.stdout


REFUSED = {
    "unknown model": (["--teacher_model=BRP"], "Did you mean BPR?"),
    "unknown method": (["--model=BDX"], "no method of this package"),
    "unknown key": (["--lamda_teacher_to_student=1"], "Did you mean lambda_teacher_to_student?"),
    "negative": (["--lambda_teacher_to_student=-1"], "must be in [0, inf)"),
    "not a number": (["--teacher.learning_rate=.nan"], "must be a finite number"),
    "unteachable teacher": (["--teacher_model=EASE"], "EASE has no parameters to train by gradient"),
    "own trainer": (["--student_model=RecVAE"], "Choose MultiVAE"),
    "unknown data set": (["--dataset=nowhere"], "nowhere does not exist"),
    "topk": (["--topk=[1000]", "--valid_metric=NDCG@1000"], "above the number of items, 48"),
    "samples": (["--samples_per_positive=1000"], "above the number of items, 48"),
    "no checkpoint": (["--teacher.checkpoint=none.pth"], "none.pth does not exist"),
    "no file": (["--config_files=none.yaml"], "none.yaml cannot be read"),
    "not writable": (["--checkpoint_dir=/dev/null/saved"], "checkpoint_dir='/dev/null/saved': cannot be written"),
    "no GPU": (["--device=cuda:7"], "cuda:7"),
    "no user left": (["--user_inter_num_interval=[99,inf)"], "no user or item is left"),
    "no run folder": (["--resume="], "--resume names no run folder"),
    "null as a run folder": (["--resume=~"], "--resume names no run folder"),
    "long checkpoint": ([f"--teacher.checkpoint={'a' * 300}"], "File name too long"),
    "long file": (["--config_files", "a" * 300], "File name too long"),
    "command": (None, "unknown command 'walk'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(case, cli, quick, tmp_path):
    given, message = REFUSED[case]
    keys = {word[2:].partition("=")[0] for word in given or ()}
    line = ["walk"] if given is None else ["run", *words({k: v for k, v in quick.items() if k not in keys}), *given]
    code, out, err = cli(*line)
    assert code == 2
    assert out == ""
    last = err.strip().splitlines()
    assert len(last) == 1, err
    assert last[0].startswith("recbole-bd: error: ")
    assert message in last[0]
    if case != "not writable":  # a dry run writes nothing and finds the rest
        assert cli(*line, "--dry-run") == (2, "", err)
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_no_memory_holds_is_one_line(cli, quick):
    code, _, err = cli("run", *words(for_method(quick, "DE")), "--model=DE", "--experts=1000000000000")
    assert (code, err.count("\n")) == (2, 1)
    assert "DE cannot be built with these settings: " in err


def test_a_truncated_checkpoint_is_one_line(cli, quick, tmp_path):
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 half a file")
    code, _, err = cli("run", *words(quick), f"--student.checkpoint={tmp_path / 'torn.pth'}")
    assert code == 2
    assert "truncated or not a torch file" in err
    assert [path.name for path in tmp_path.iterdir()] == ["torn.pth"]


def test_a_user_who_has_seen_everything_is_one_line(cli, quick, tmp_path):
    few = block_pairs(20, 12, 2, 4)
    write_inter(tmp_path / "data", "full", [*few, *(("all", f"i{item}") for item in range(12))])
    settings = {**quick, "dataset": "full", "data_path": str(tmp_path / "data")}
    code, _, err = cli("run", *words(settings))
    assert code == 2
    assert "has seen every item" in err


def test_a_terminal_gets_progress_bars(quick, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    recbole_bd.run_bd(config_dict={**quick, "show_progress": True})
    shown = capsys.readouterr().err
    for bar in ("Train", "Evaluate", "refresh", "distilled", "continued"):
        assert bar in shown
    assert "valid teacher" in shown or "teacher cf" in shown


@pytest.mark.parametrize("line", [["plots"], ["compare", "a" * 300], ["leaderboard", "--from"], ["run", "--resume"]])
def test_what_the_system_says_of_a_file_is_one_line(line, cli):
    code, _, err = cli(*line, "a" * 300)
    assert (code, err.count("\n")) == (2, 1)
    assert f"'{'a' * 200}'... (3" in err
    assert "File name too long" in err


def test_errors_without_a_file_are_not_hidden(cli, monkeypatch):
    def broken(_):
        raise OSError("a defect")

    monkeypatch.setattr("recbole_bd.cli.main.redraw", broken)
    with pytest.raises(OSError, match="a defect"):
        cli("plots", "run")


def test_ctrl_c_outside_of_a_run_is_one_line(monkeypatch, capsys):
    from recbole_bd.__main__ import main

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_bd.cli.main.redraw", interrupted)
    assert main(["plots", "run"]) == 130
    assert capsys.readouterr().err == "recbole-bd: stopped\n"

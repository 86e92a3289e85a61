"""The command line as a user meets it: what it accepts, what it shows, and how it refuses."""

import subprocess
import sys

import pytest

import recbole_bd
from recbole_bd.cli.main import COMMANDS
from tests.helpers.paths import ROOT
from tests.helpers.settings import words


def test_help_lists_the_commands_on_one_screen(cli):
    code, out, _ = cli("--help")
    assert code == 0
    assert len(out.splitlines()) <= 24
    lines = [line.split() for line in out.splitlines()]
    for command in COMMANDS:
        assert sum(words[:1] == [command] and len(words) > 1 for words in lines) == 1, command
    for line in ([], ["-h"], ["--help", "run"]):
        assert cli(*line) == (0, out, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_examples(command, cli):
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: recbole-bd {command} ")
    assert out.count(f"recbole-bd {command}") > 1
    assert cli(command, "saved/RUN", "-h") == (0, out, "")


# Modules that a command that trains needs, and modules that take time to import.
HEAVY = ("torch", "recbole", "pandas", "scipy.stats", "sklearn", "matplotlib", "optuna")


def loaded_after(*words: str) -> tuple[int, str, set[str]]:
    """Exit code, standard error, and the loaded modules of `HEAVY` and of this package after a command in a process."""
    call = f"import sys; from recbole_bd.__main__ import main; code = main({words!r}); "
    shown = f"print(code, *(name for name in sys.modules if name in {HEAVY!r} or name.startswith('recbole_bd.')))"
    done = subprocess.run([sys.executable, "-c", call + shown], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    code, *names = done.stdout.splitlines()[-1].split()
    return int(code), done.stderr, set(names)


def test_a_command_imports_only_what_it_needs():
    _, _, names = loaded_after("compare", "--help")
    assert "recbole_bd.cli.compare" in names
    assert not {"recbole_bd.cli.run", "recbole_bd.serving.recommend", "recbole_bd.leaderboard.command"} & names


@pytest.mark.parametrize("line", [(), ("--help",), ("--version",), *((command, "--help") for command in COMMANDS)])
def test_a_help_imports_nothing_heavy(line):
    code, err, names = loaded_after(*line)
    assert (code, err) == (0, "")
    assert not names.intersection(HEAVY)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["walk"], "unknown command 'walk'. Available commands: run, "),
        (["leaderbord"], "unknown command 'leaderbord'. Did you mean leaderboard? See recbole-bd --help"),
        (["compare", "--walk"], "--walk"),
        (["compare", "one"], "compare takes two runs"),
        (["run", "walk"], "'walk' is not a setting"),
        (["leaderboard", "--models"], "--models has no value"),
        (["tune", "--space=x", "--dry-run"], "--dry-run applies to a single run"),
        (["plots"], "plots takes run folders"),
        (["recommend", "--out=x.csv", "-k", "none"], "'none' is not a whole number"),
        (["recommend", "run"], "--out=FILE is missing"),
        (["export", "run"], "--format=NAME is missing"),
        (["export", "run", "--format=zip"], "--format=zip: the formats are"),
        (["serve-bench", "run", "--batch=0"], "--batch=0"),
    ],
)
def test_a_usage_error_imports_nothing_heavy(line, message):
    code, err, names = loaded_after(*line)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("recbole-bd: error: ")
    assert message in err
    assert not names.intersection(HEAVY)


@pytest.mark.parametrize("environment", [{"RANK": "3", "WORLD_SIZE": "4"}, {"RANK": "3"}, {}])
def test_an_error_names_the_process_among_several(environment, cli, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    speaker = "process 3: " if "WORLD_SIZE" in environment else ""
    assert cli("walk")[2].startswith(f"recbole-bd: {speaker}error: unknown command")


def test_version(cli):
    assert cli("--version") == (0, f"recbole-bd {recbole_bd.__version__}\n", "")


@pytest.mark.slow
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


@pytest.mark.parametrize("line", [["plots"], ["compare", "a" * 300], ["leaderboard", "--from"], ["run", "--resume"]])
def test_what_the_system_says_of_a_file_is_one_line(line, cli):
    code, _, err = cli(*line, "a" * 300)
    assert (code, err.count("\n")) == (2, 1)
    assert f"'{'a' * 200}'... (3" in err
    assert "File name too long" in err


def test_errors_without_a_file_are_not_hidden(cli, monkeypatch):
    def broken(_):
        raise OSError("a defect")

    monkeypatch.setattr("recbole_bd.runs.plots.redraw", broken)
    with pytest.raises(OSError, match="a defect"):
        cli("plots", "run")


def test_a_reader_that_ends_early_is_no_error(tmp_path):
    """As `recbole-bd --help | head -1` with more lines than the pipe takes."""
    program = (
        "from recbole_bd.cli import main\n"
        "main._dispatch = lambda words: print('x' * 10_000_000) or 0\n"
        "raise SystemExit(main.main(['run']))\n"
    )
    with (tmp_path / "err").open("w+") as errors:
        child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors)
        child.stdout.read(1)
        child.stdout.close()
        assert child.wait(60) == 141
        errors.seek(0)
        assert errors.read() == ""


def test_ctrl_c_outside_of_a_run_is_one_line(monkeypatch, capsys):
    from recbole_bd.__main__ import main

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_bd.runs.plots.redraw", interrupted)
    assert main(["plots", "run"]) == 130
    assert capsys.readouterr().err == "recbole-bd: stopped\n"

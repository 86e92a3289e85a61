"""The command line as a user meets it: what it accepts, what it shows, and how it refuses."""

import json
import subprocess
import sys

import pytest

import recbole_bd
from recbole_bd.cli.main import COMMANDS
from recbole_bd.config.known_options import method_options, package_options
from recbole_bd.model import METHODS
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.paths import ROOT
from tests.helpers.settings import for_method


def words(settings: dict) -> list[str]:
    return [f"--{key}={json.dumps(value)}" for key, value in settings.items()]


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


def test_the_help_of_run_lists_every_option_by_group_with_type_default_and_meaning(cli):
    code, out, _ = cli("run", "--help")
    assert code == 0
    options = list(package_options().values()) + [o for name in METHODS for o in method_options(name).values()]
    for option in options:
        assert f"--{option.key} ({option.type}, default " in out
        assert option.meaning in out
    titles = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles.index("Roles:") < titles.index("Machine:")
    assert titles.index("Machine:") < titles.index("options of --model=BD:")


def loaded_after(*words: str) -> tuple[int, str, set[str]]:
    """Exit code, standard error, and the loaded modules of torch and of this package after a command in a process."""
    call = f"import sys; from recbole_bd.__main__ import main; code = main({words!r}); "
    shown = "print(code, *(name for name in sys.modules if name == 'torch' or name.startswith('recbole_bd.')))"
    done = subprocess.run([sys.executable, "-c", call + shown], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    code, *names = done.stdout.splitlines()[-1].split()
    return int(code), done.stderr, set(names)


def test_a_command_imports_only_what_it_needs():
    _, _, names = loaded_after("compare", "--help")
    assert "recbole_bd.cli.compare" in names
    unneeded = {"torch", "recbole_bd.cli.run", "recbole_bd.serving.recommend", "recbole_bd.leaderboard.command"}
    assert not unneeded & names


@pytest.mark.parametrize(("line", "message"), [(["walk"], "unknown command 'walk'"), (["compare", "--walk"], "--walk")])
def test_a_usage_error_does_not_import_torch(line, message):
    code, err, names = loaded_after(*line)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("recbole-bd: error: ")
    assert message in err
    assert "torch" not in names


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


@pytest.mark.slow
def test_a_run_ends_with_the_table(cli, quick):
    code, out, err = cli("run", *words(quick))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.split()[1:2] == ["BPR"]] == ["teacher", "student"]
    assert sum(arm in out for arm in ("separate", "continued", "distilled")) == 3
    assert "vs separate" in out
    assert "The student ranks the held-out item higher" in out
    assert "epoch 2" in err  # plain lines, since this is no terminal
    assert "\r" not in err


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


@pytest.mark.slow
def test_the_help_of_run_bd_is_that_of_run(cli):
    found = subprocess.run([sys.executable, str(ROOT / "run_bd.py"), "--help"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, cli("run", "--help")[1])


REFUSED = {
    "unknown model": (["--teacher_model=BRP"], "Did you mean BPR?"),
    "unknown method": (["--model=BDX"], "is not a method of this package"),
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
    "no run folder": (["--resume="], "--resume needs a run folder"),
    "null as a run folder": (["--resume=~"], "--resume needs a run folder"),
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


@pytest.mark.slow
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

    monkeypatch.setattr("recbole_bd.cli.plots.redraw", broken)
    with pytest.raises(OSError, match="a defect"):
        cli("plots", "run")


def test_ctrl_c_outside_of_a_run_is_one_line(monkeypatch, capsys):
    from recbole_bd.__main__ import main

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_bd.cli.plots.redraw", interrupted)
    assert main(["plots", "run"]) == 130
    assert capsys.readouterr().err == "recbole-bd: stopped\n"

"""`recbole-bd run` as a user meets it."""

import subprocess
import sys

import pytest

import recbole_bd
from recbole_bd.cli import run
from recbole_bd.config.property_files import method_options, package_options
from recbole_bd.model import METHODS
from recbole_bd.runs import pipeline
from recbole_bd.runs.summary import ONE_SEED, table
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.paths import ROOT
from tests.helpers.settings import for_method, words


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
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(case, cli, quick, tmp_path):
    given, message = REFUSED[case]
    keys = {word[2:].partition("=")[0] for word in given}
    line = ["run", *words({k: v for k, v in quick.items() if k not in keys}), *given]
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


RESULT = {
    "valid_metric": "ndcg@5",
    "model": {
        "model": "Pop",
        "parameters": 1,
        "separate": {"best_epoch": 0, "valid": {"ndcg@5": 0.25}, "test": {"ndcg@5": 0.5}},
    },
    "warnings": [],
    "run_folder": "saved/run",
}


@pytest.fixture
def runs(monkeypatch):
    """Let a result stand for the run; what it was asked for."""
    asked = []

    def stand_in(result, rank=None):
        monkeypatch.setattr(pipeline, "run_bd", lambda **given: asked.append(given) or result)
        monkeypatch.setattr(run, "started_rank", lambda: rank)
        return asked

    return stand_in


@pytest.mark.parametrize(("rank", "prints"), [(None, True), (0, True), (1, False)])
def test_the_first_of_several_processes_prints_the_result(rank, prints, runs, cli):
    runs(RESULT, rank)
    code, out, err = cli("run", "--model=Pop")
    assert (code, err) == (0, "")
    assert out == (f"\n{table(RESULT)}\n\nrun folder: saved/run\n" if prints else "")


def test_warnings_and_wins_stand_below_the_table(runs, cli):
    warning = {"role": "model", "stage": "separate", "epoch": 1, "message": "the loss rises"}
    of_roles = {"ratio": 0.5, "correlation": None, "headroom": None}
    wins = {"separate": 0.1, "distilled": 0.2}
    runs({**RESULT, "warnings": [warning], "student_wins": wins, "complementarity": of_roles})
    lines = cli("run")[1].split("\n\n")
    assert lines[1:] == [
        "The student ranks the held-out item higher than the teacher on 10.0% of test interactions "
        "before distillation, on 20.0% after.\n"
        f"Before distillation the student has 50% of the teacher's validation {RESULT['valid_metric']}.\n{ONE_SEED}",
        "warning: model separate, epoch 1: the loss rises",
        "run folder: saved/run\n",
    ]


@pytest.mark.parametrize(
    ("words", "resume"), [(["--seed=1"], None), (["--resume=auto"], "auto"), (["--resume=2020"], "2020")]
)
def test_the_run_gets_the_settings_and_the_folder_to_resume(words, resume, runs, cli):
    asked = runs(RESULT)
    assert cli("run", "--config_files", "a.yaml", *words)[0] == 0
    settings = {"seed": 1} if resume is None else {}
    assert asked == [{"config_files": ["a.yaml"], "command_line": settings, "resume": resume}]


def test_a_dry_run_checks_the_flags_of_several_processes_and_starts_none(cli, quick, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    code, out, _ = cli("run", *words(quick), "--nproc=2", "--dry-run")
    assert code == 0
    assert "parameters" in out
    code, out, err = cli("run", *words(quick), "--nproc=two", "--dry-run")
    assert (code, out) == (2, "")
    assert "nproc='two'" in err


def test_a_dry_run_resumes_nothing(cli):
    message = (
        "--dry-run shows what a new run would do: it cannot be combined with --resume. What a run has done so far is "
        "in its result.json and run.log, and its settings are in its config.yaml"
    )
    assert cli("run", "--dry-run", "--resume=auto") == (2, "", f"recbole-bd: error: {message}\n")

"""The command line: `recbole-bd run`, `python -m recbole_bd run` and `python run_bd.py` are the same."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_bd import __version__
from recbole_bd.cli import launch
from recbole_bd.cli.compare import compare_runs
from recbole_bd.config.config import BDConfig
from recbole_bd.config.known_options import method_options, package_options
from recbole_bd.config.option import Option
from recbole_bd.config.yaml_text import parse_value
from recbole_bd.data.text_file import shown
from recbole_bd.errors import BDError, ConfigError, Interrupted
from recbole_bd.leaderboard.command import run_leaderboard
from recbole_bd.model import METHODS
from recbole_bd.runs.pipeline import run_bd
from recbole_bd.runs.plots import redraw
from recbole_bd.runs.preview import describe
from recbole_bd.runs.summary import table, warnings_text, wins_line
from recbole_bd.serving.command import export_command, recommend_command, serve_bench_command
from recbole_bd.system.distributed import started_rank
from recbole_bd.tuning.command import run_tuning

_USAGE = """\
usage: recbole-bd run [--config_files FILE ...] [--key=value ...] [--dry-run]
       recbole-bd compare RUN_A RUN_B [--metric=NAME] [--role=NAME] [--arm=NAME] [--json]
       recbole-bd plots RUN ...
       recbole-bd leaderboard --models=NAME,... --seeds=N,... [--jobs=N] [--out=DIR] [--reference=ROW] [--key=value ...]
       recbole-bd leaderboard --from=DIR [--out=DIR] [--reference=ROW]
       recbole-bd tune --space=FILE [--trials=N] [--jobs=N] [--objective=ROLE] [--storage=WHERE] [--key=value ...]
       recbole-bd recommend RUN --out=FILE [--users=all|FILE] [-k N] [--role=NAME] [--unknown=NAME] [--exclude=NAME]
       recbole-bd export RUN [--format=NAME,...] [--index=hnsw] [-k N] [--role=NAME] [--out=DIR]
       recbole-bd serve-bench RUN [-k N] [--batch=N,...] [--requests=N] [--threads=N]
       recbole-bd --help | --version

Trains a teacher and a student that teach each other (BD) or a student that a frozen teacher teaches (RD, CD, DE, RRD),
and measures both with RecBole's full ranking.

  recbole-bd run                                          BPR 64 and BPR 8 on ml-100k, which comes with RecBole
  recbole-bd run --dataset=ml-1m --data_path=DIR          another data set: DIR/ml-1m/ml-1m.inter
  recbole-bd run --teacher_model=LightGCN --student.embedding_size=16
  recbole-bd run --model=RRD --teacher_model=ItemKNN      a one-way method; its teacher need not learn by gradient
  recbole-bd run --model=BPR                              that RecBole model alone: a baseline for the same tables

  --key=value or --key value     any setting below, any of RecBole's, any of the chosen models'; values are YAML.
                                 A role's settings are dotted: --teacher.learning_rate=0.01
  --config_files FILE ...        yaml files of settings, the later above the earlier
  --resume=RUN_FOLDER            go on with a stopped run exactly where it was; --key=value may change how long it
                                 trains and when it stops
  --resume=auto                  the same of the newest unfinished run with the settings given here; a new run if none
  --dry-run                      resolve and check everything, load the data, show it with sizes, and stop
  --help, --version              this text; the version

Command line goes above files, files above properties/dataset/<dataset>.yaml and properties/model/<method>.yaml,
and those above RecBole's defaults.

Methods and baselines beside each other, every model with every seed:

  recbole-bd leaderboard --dataset=ml-100k --models=Pop,BPR,LightGCN,BD --seeds=2020,2021 --jobs=2
  recbole-bd leaderboard --from=saved/leaderboard-ml-100k       table and pages again, from the run folders

  --models=NAME,...              methods of this package, RecBole general recommenders
  --seeds=N,...                  one run each; runs with the same settings that have finished are reused
  --jobs=N                       processes at a time; each gets its share of the cores unless --threads says otherwise
  --out=DIR                      where table and pages go; else CHECKPOINT_DIR/leaderboard-DATASET
  --reference=ROW                the row the others are tested against; else the control of their size
  --from=DIR                     a folder of run folders, or one that a leaderboard was written to; nothing is run.
                                 --dataset, --models and --seeds choose among the runs
  --key=value                    settings of the runs. One that only some models know is passed over by the others;
                                 --BD.temperature=2 is for one model alone, as is a block `BD:` in a file

Settings searched on validation, by Optuna:

  recbole-bd tune --space=properties/tuning/BD.yaml --dataset=ml-100k --trials=20 --jobs=2
  recbole-bd run --config_files=saved/tune-BD-ml-100k/best.yaml        the best of them

  --space=FILE                   what to search, key: {choice: [...]}, {uniform: [low, high]}, {quniform: [low, high,
                                 step]}, {loguniform: [low, high]}, or key: value for all; or RecBole's hyper.test
  --trials=N                     in all, 20 by default; the same command goes on where it was stopped
  --objective=student|teacher|both         whose validation is maximised; both: the geometric mean
  --storage=WHERE                machines that name the same one search together: sqlite:///FILE, any address of
                                 SQLAlchemy's, or a FILE.journal in a shared folder; else OUT/study.db
  --study=NAME --out=DIR         the study's name in the storage; the folder of its files, else
                                 CHECKPOINT_DIR/tune-STUDY
  --engine=ray                   the same search on Ray Tune, where that is installed

Whether two runs differ, by paired tests over the users of the test part:

  recbole-bd compare saved/RUN_A saved/RUN_B               each role both have: distilled, or separate where that is all
  recbole-bd compare saved/RUN:student/continued saved/RUN:student/distilled
                                                           two arms of one run: RUN:role/arm
  recbole-bd compare saved/A1,saved/A2 saved/B1,saved/B2   the same seeds of each: over users, and over seeds

  --metric=ndcg@10,hit@10        these metrics only; else all that both measured
  --role=student --arm=separate  this role and this arm of what is named without :role/arm
  --json                         everything as JSON instead of the table

Pictures:

  recbole-bd plots RUN ...       draw the pictures of run folders anew, from their data alone

A trained model at work; RUN is a finished run's folder, or a model's file in it:

  recbole-bd recommend saved/RUN --out=recs.parquet        the best 10 items of every user, in the ids of the data
  recbole-bd recommend saved/RUN --users=users.txt -k 20 --out=recs.csv
  recbole-bd export saved/RUN --format=npz,onnx,recbole    files for other programs, and a model card: RUN/export/ROLE
  recbole-bd export saved/RUN --index=hnsw                 an approximate index of its items, with its recall
  recbole-bd serve-bench saved/RUN                         latency, throughput and bytes of teacher and student

  --role=teacher                 this role's model; else the student's
  --users=FILE                   one id a line; all: everyone in the data
  --unknown=skip|popular|error   users who are not in the data: nothing, the most popular items, or an error
  --exclude=train|known|nothing  what is not recommended: a user's training items, all their items in the data, nothing
  --out=FILE                     of recommend: .csv, .jsonl or .parquet; a row per user and item with rank and logit
  --format=NAME,...              npz, safetensors: vectors and ids, of models whose logit is their product; onnx: a
                                 graph from users to their best items; recbole: for RecBole's load_data_and_model
  --batch=1,256 --requests=200   users per request, and how many requests of each size are timed
"""
# What reads runs: each takes the words after its name and gives what to print.
_READERS = {
    "compare": compare_runs,
    "recommend": recommend_command,
    "export": export_command,
    "serve-bench": serve_bench_command,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; None reads `sys.argv`.

    Returns:
        Exit code: 0, 2 for input the user can mend, 1 for a training that diverged, 130 and 143 for a run stopped by
        SIGINT and SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except Interrupted as error:
        print(f"recbole-bd: {error}", file=sys.stderr)
        return error.exit_code
    except BDError as error:
        print(f"recbole-bd: {_whose()}error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # Whatever asks the system about a file, if only whether it is there: no permission, a name that is too long.
        if error.filename is None:
            raise
        print(f"recbole-bd: error: {shown(str(error.filename), 200)}: {error.strerror}", file=sys.stderr)
        return BDError.exit_code


def _whose() -> str:
    """Which of the processes that train one run speaks; empty where there is one."""
    rank = started_rank()
    return "" if rank is None else f"process {rank}: "


def _dispatch(words: list[str]) -> int:
    if "--help" in words or "-h" in words or not words:
        print(help_text())
        return 0
    if "--version" in words:
        print(f"recbole-bd {__version__}")
        return 0
    command, *rest = words
    commands = {"run": _run, "leaderboard": _leaderboard, "tune": _tune, "plots": _plots}
    if command in commands:
        return commands[command](rest)
    if command not in _READERS:
        there_are = ", ".join([*commands, *_READERS])
        raise ConfigError(f"unknown command {command!r}; there are: {there_are}. See recbole-bd --help")
    print(_READERS[command](rest))
    return 0


def _run(words: list[str]) -> int:
    settings, files, dry_run = parse_arguments(words)
    if "resume" in settings and settings["resume"] in (None, ""):
        raise ConfigError("--resume names no run folder: write --resume=saved/RUN or --resume=auto")
    resume = settings.pop("resume", None)
    if dry_run and resume is not None:
        raise ConfigError("--dry-run shows what a new run would do and takes no --resume")
    if dry_run:
        print(describe(BDConfig(config_file_list=files, command_line=settings, methods=METHODS)))
        return 0
    if (count := launch.wanted(settings)) is not None:
        return launch.launch(count, ["run", *words])
    result = run_bd(config_files=files, command_line=settings, resume=None if resume is None else str(resume))
    if started_rank():
        return 0  # the first of several processes shows what came of it
    print()
    print(table(result))
    if "student_wins" in result:
        print()
        print(wins_line(result))
    if result["warnings"]:
        print()
        print(warnings_text(result))
    print(f"\nrun folder: {result['run_folder']}")
    return 0


def _leaderboard(words: list[str]) -> int:
    settings, files, dry_run = parse_arguments(words)
    if dry_run:
        raise ConfigError("--dry-run is of one run: recbole-bd run --dry-run")
    print(run_leaderboard(settings, files))
    return 0


def _tune(words: list[str]) -> int:
    settings, files, dry_run = parse_arguments(words)
    if dry_run:
        raise ConfigError("--dry-run is of one run: recbole-bd run --dry-run")
    print(run_tuning(settings, files))
    return 0


def _plots(words: list[str]) -> int:
    if not words or any(word.startswith("-") for word in words):
        raise ConfigError("recbole-bd plots takes run folders and no settings: recbole-bd plots saved/RUN")
    for folder in words:
        for path in redraw(folder):
            print(path)
    return 0


def parse_arguments(words: Sequence[str]) -> tuple[dict[str, Any], list[str], bool]:
    """Read `--key=value` and `--key value` as RecBole's users write them.

    Args:
        words: the command line after `run`.

    Returns:
        Settings with values parsed as YAML, configuration files, and whether this is a dry run.

    Raises:
        ConfigError: a word that is no setting, a key without value, or one key with two values.
    """
    settings: dict[str, Any] = {}
    files: list[str] = []
    dry_run = False
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.startswith("--") or word == "--":
            raise ConfigError(f"{word!r} is no setting: write --key=value")
        key, equals, text = word[2:].partition("=")
        if key in ("dry-run", "dry_run") and not equals:
            dry_run = True
            continue
        if key == "config_files":
            following = _values_from(words, index)
            index += len(following)
            chunks = ([text] if equals else []) + following
            # RecBole's users write several files in one word; a file whose name has spaces is one file all the same.
            found = [name for chunk in chunks for name in ([chunk] if Path(chunk).is_file() else chunk.split())]
            if not found:
                raise ConfigError("--config_files names no file")
            files += found
            continue
        if not equals:
            if index == len(words) or words[index].startswith("--"):
                raise ConfigError(f"--{key} has no value: write --{key}=value")
            text = words[index]
            index += 1
        value = parse_value(text)
        if key in settings and settings[key] != value:
            raise ConfigError(f"--{key} is given twice, {settings[key]!r} and {value!r}")
        settings[key] = value
    return settings, files, dry_run


def _values_from(words: Sequence[str], index: int) -> list[str]:
    end = index
    while end < len(words) and not words[end].startswith("--"):
        end += 1
    return list(words[index:end])


def help_text() -> str:
    """The help: usage and every option of this package with type, default and meaning."""
    parts = [_USAGE, _option_lines("Options of every run", package_options())]
    parts += [_option_lines(f"Options of --model={name}", method_options(name)) for name in METHODS]
    parts.append(
        "Options of RecBole and of its models: recbole/properties/overall.yaml and model/*.yaml in your installation."
    )
    return "\n".join(parts)


def _option_lines(title: str, options: dict[str, Option]) -> str:
    lines = [f"{title}:"]
    for option in options.values():
        default = "~" if option.default is None else option.default
        lines.append(f"  --{option.key} ({option.type}, default {default})")
        lines.append(f"        {option.meaning}")
    return "\n".join(lines) + "\n"

"""`recbole-bd run`: one run, resumed or new, or the preview of one."""

from collections.abc import Sequence

from recbole_bd.cli import launch
from recbole_bd.cli.option_groups import option_groups, option_lines
from recbole_bd.cli.parser import CommandParser, add_settings
from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.property_files import method_yaml, properties_path
from recbole_bd.errors import ConfigError
from recbole_bd.model import method_names
from recbole_bd.runs.summary import report
from recbole_bd.system.startup import quick_imports
from recbole_bd.system.torchrun import started_rank

_DESCRIPTION = """\
Train a teacher and a student that teach each other (BD), or a student that a frozen teacher teaches (RD, CD, RRD, ...).
Evaluate both with RecBole's full ranking.

examples:
  recbole-bd run                                          BPR 64 and BPR 8 on ml-100k, which comes with RecBole
  recbole-bd run --dataset=ml-1m --data_path=DIR          another data set: DIR/ml-1m/ml-1m.inter
  recbole-bd run --teacher_model=LightGCN --student.embedding_size=16
  recbole-bd run --model=RRD --teacher_model=ItemKNN      a one-way method; its teacher need not learn by gradient
  recbole-bd run --model=BPR                              a RecBole model alone: a baseline for the same tables

The command line overrides files. Files override properties/dataset/<dataset>.yaml and
properties/model/<method>.yaml, and these override RecBole's defaults."""
_EPILOG = "Options of RecBole and its models: recbole/properties/overall.yaml and model/*.yaml in your installation."


def command_parser() -> CommandParser:
    """The parser, whose help lists every option of this package by group."""
    parser = CommandParser(
        "run", "[--config_files FILE ...] [--key=value ...] [--dry-run]", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument(
        "--resume",
        metavar="RUN|auto",
        help="resume a stopped run exactly where it stopped; --key=value may change how long it trains and when it "
        "stops. auto: the newest run with these settings, shown at once if finished; a new run if there is none",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check all settings, load the data, show both with model sizes, and stop"
    )
    add_settings(
        parser,
        "any setting below, any of RecBole's or of the chosen models'; a role's settings are dotted, such as "
        "--teacher.learning_rate=0.01",
    )
    for title, options in option_groups(properties_path("overall.yaml")):
        parser.add_argument_group(title, option_lines(options))
    for method in method_names():
        for title, options in option_groups(method_yaml(method)):
            about = f"options of --model={method}"
            parser.add_argument_group(f"{about}, {title}" if title else about, option_lines(options))
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd run`.

    Args:
        words: the command line after `run`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    settings, files, dry_run = parse_arguments(words)
    if "resume" in settings and settings["resume"] in (None, ""):
        raise ConfigError("--resume needs a run folder: write --resume=saved/RUN or --resume=auto")
    resume = settings.pop("resume", None)
    if dry_run and resume is not None:
        raise ConfigError(
            "--dry-run shows what a new run would do: it cannot be combined with --resume. What a run has done so far "
            "is in its result.json and run.log, and its settings are in its config.yaml"
        )
    processes = launch.wanted(settings)
    if processes is not None and not dry_run:
        return launch.launch(processes, ["run", *words])
    with quick_imports():
        from recbole_bd.config.config import BDConfig
        from recbole_bd.model import METHODS
        from recbole_bd.runs.pipeline import run_bd
        from recbole_bd.runs.preview import describe
    if dry_run:
        print(describe(BDConfig(config_file_list=files, command_line=settings, methods=METHODS)))
        return 0
    result = run_bd(config_files=files, command_line=settings, resume=None if resume is None else str(resume))
    if started_rank():
        return 0  # only the first of several processes prints the result
    print(f"\n{report(result)}")
    return 0

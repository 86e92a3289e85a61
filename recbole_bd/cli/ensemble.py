"""`recbole-bd ensemble`: two trained models and the mean of their scores."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_bd.backbones.names import ROLES
from recbole_bd.cli.chosen_model import file_of_role
from recbole_bd.cli.parser import CommandParser, add_allow_code, add_data_path
from recbole_bd.errors import ConfigError
from recbole_bd.runs.text_table import grid
from recbole_bd.system.startup import quick_imports

if TYPE_CHECKING:
    from recbole_bd.runs.ensemble import Ensemble
    from recbole_bd.runs.trained_model import Trained

_DESCRIPTION = """\
Evaluate two trained models and the mean of their scores: what serving both would give, and whether they know enough
beside each other to learn from each other.

examples:
  recbole-bd ensemble saved/RUN                            teacher and student of one run
  recbole-bd ensemble saved/RUN_A:teacher saved/RUN_B      a role of a run, and the one model of another"""
_EXPLAINED = """\
mean: of both models' scores, each standardised over the items ranked for a user. The share was chosen on the validation
part, and the test part was read once."""
_NAMES = ("first", "second")


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser(
        "ensemble", "MODEL [MODEL] [--json] [--data_path=DIR] [--allow_code]", description=_DESCRIPTION
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="folder of a finished run, RUN:role, or a model file in it"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead of the table")
    add_data_path(parser)
    add_allow_code(parser)
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd ensemble`.

    Args:
        words: the command line after `ensemble`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    options = command_parser().parse_intermixed_args(words)
    with quick_imports():
        from recbole_bd.runs.ensemble import ensemble
        from recbole_bd.runs.trained_model import load_trained
    files = _files(options)
    models = [load_trained(file, None, options.data_path, options.allow_code) for file in files]
    found = ensemble(models)
    print(_as_json(models, found) if options.json else _text(models, found))
    return 0


def _files(options: Namespace) -> list[Path]:
    """Files of the two models.

    Raises:
        ConfigError: there are not two, or a run has several models and none is named.
    """
    words = options.models
    if len(words) not in (1, 2):
        raise ConfigError(f"ensemble takes two models, or a run with a teacher and a student, found {len(words)}")
    found = [_files_of(word) for word in words]
    if len(words) == 1 and len(found[0]) == 1:
        raise ConfigError(f"ensemble takes two models, or a run with a teacher and a student; {words[0]} is one model")
    for word, files in zip(words, found, strict=True):
        if len(words) == 2 and len(files) > 1:
            raise ConfigError(f"{word} has {' and '.join(files)}: name one, such as {word}:{next(iter(files))}")
    return [file for files in found for file in files.values()]


def _files_of(word: str) -> dict[str, Path]:
    """Model files by role, of a run folder, of RUN:role, or a file."""
    from recbole_bd.runs.trained_model import model_files

    folder, colon, role = word.rpartition(":")
    if not colon or Path(word).exists() or not Path(folder).is_dir():
        return model_files(word)
    if role not in ROLES:
        raise ConfigError(f"{word}: write RUN:role, the role one of {', '.join(ROLES)}; a run keeps their final models")
    return {role: file_of_role(model_files(folder), folder, role)}


def _text(models: Sequence[Trained], found: Ensemble) -> str:
    names = [name for name in found.test[0] if all(name in test for test in found.test)]
    rows = [
        [name, f"{valid:.4f}", *_numbers(test, names)]
        for name, valid, test in zip(_NAMES, found.valid, found.test, strict=False)
    ]
    for share, valid in found.valid_by_share.items():
        tested = _numbers(found.test[2], names) if share == found.share else [""] * len(names)
        rows.append([f"mean, {share:.2f} of the first", f"{valid:.4f}", *tested])
    best = found.valid_by_share[found.share], found.test[2][found.metric]
    of_better = found.valid[found.better], found.test[found.better][found.metric]
    gains = [f"{new / old - 1:+.1%}" if old else "not defined" for new, old in zip(best, of_better, strict=True)]
    p = " (no test over users)" if found.p is None else f" (over users, p = {found.p:.2g})"
    return "\n".join(
        [
            *(
                f"{name}: {model.about['model']}, {model.role.parameter_count:,} parameters, {model.path}"
                for name, model in zip(_NAMES, models, strict=True)
            ),
            "",
            grid(["", f"validation {found.metric}", *(f"test {name}" for name in names)], rows, (0,)),
            "",
            f"{found.metric} of the mean, beside the better model: {gains[0]} on the validation part, {gains[1]} on "
            f"the test part{p}.",
            _EXPLAINED,
        ]
    )


def _numbers(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{values[name]:.4f}" for name in names]


def _as_json(models: Sequence[Trained], found: Ensemble) -> str:
    about = [
        {"file": str(model.path), "model": model.about["model"], "parameters": model.role.parameter_count}
        for model in models
    ]
    return json.dumps({"models": about, **asdict(found)}, indent=2)

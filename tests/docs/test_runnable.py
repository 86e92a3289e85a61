"""Blocks of the pages that are marked `<!-- runnable -->`, executed on ml-100k with small settings."""

import re
import shlex

import pytest

import recbole_bd
from recbole_bd.cli.main import main
from tests.helpers.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^<!-- runnable -->\n+```(bash|python)\n(.*?)^```$", re.M | re.S)
# How a command line of the pages begins.
PROGRAM = re.compile(r"(recbole-bd|python3? -m recbole_bd|python3? run_bd\.py)(?= |$)")
# Added to every training, unless the block sets them.
SMALL = {"epochs": 1, "distill_epochs": 1, "threads": 1, "show_progress": False}
# What a block shows at full size, by command.
SMALLER = {
    "run": {},
    "leaderboard": {"models": "BPR,BD", "seeds": "2020", "jobs": "1"},
    "tune": {"trials": "1", "jobs": "1"},
}
# Words of commands that train nothing: they show runs that are finished, or help.
TRAINS_NOT = ("--resume=saved", "--from=", "--help")


def blocks():
    """Page, language and text of each marked block; those of one page run in order, in one folder."""
    for page in PAGES:
        found = BLOCK.findall(page.read_text(encoding="utf-8"))
        assert len(found) == page.read_text(encoding="utf-8").count("<!-- runnable -->"), (
            f"{page}: a marker without block"
        )
        if found:
            yield pytest.param(found, id=str(page.relative_to(ROOT)))


def command_lines(text: str) -> list[list[str]]:
    """The words of each command line; comments are dropped, and `\\` continues a line."""
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def words_of(line: list[str]) -> list[str]:
    """The words after the program's name, with small settings where the command trains."""
    text = shlex.join(line)
    program = PROGRAM.match(text)
    assert program, f"{text!r} is no command of this package: mark only blocks of such"
    words = shlex.split(text[program.end() :])
    if program[0].endswith("run_bd.py"):
        words = ["run", *words]
    command, *rest = words
    if command not in SMALLER or any(word.startswith(TRAINS_NOT) for word in rest):
        return words
    smaller = SMALLER[command]
    rest = [word for word in rest if word.partition("=")[0].removeprefix("--") not in smaller]
    given = {word.partition("=")[0].removeprefix("--") for word in rest}
    added = [f"--{key}={value}" for key, value in (smaller | SMALL).items() if key not in given]
    return [command, *rest, *added]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which `saved/RUN` and `saved/OTHER_SEED` are finished runs of ml-100k: those that pages speak of."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed, name in ((2020, "RUN"), (2021, "OTHER_SEED")):
            result = recbole_bd.run_bd(dataset="ml-100k", config_dict={**SMALL, "seed": seed, "split_seed": 2020})
            (folder / result["run_folder"]).rename(folder / "saved" / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("found", blocks())
def test_marked_blocks_run(found, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    run_bd = recbole_bd.run_bd

    def small_run(*arguments, config_dict=None, **settings):
        return run_bd(*arguments, config_dict={**SMALL, **(config_dict or {})}, **settings)

    monkeypatch.setattr(recbole_bd, "run_bd", small_run, raising=False)
    for language, text in found:
        if language == "python":
            exec(compile(text, "a block of the page", "exec"), {})
            continue
        for line in command_lines(text):
            assert main(words_of(line)) == 0, f"{shlex.join(line)}: {capsys.readouterr().err}"

"""`recbole-bd completion`: what each shell's script offers, asked of the shell itself where it is installed."""

import shutil
import subprocess

import pytest

from recbole_bd.backbones.names import DIRECTION_INTO
from recbole_bd.cli.completion import SHELLS, WITH_SETTINGS, program_parser
from recbole_bd.cli.main import COMMANDS
from recbole_bd.config.property_files import package_options

shtab = pytest.importorskip("shtab")
# Words typed, and what may follow: all of it, or some of it.
OFFERED = [
    ("", {*COMMANDS}),
    ("run --exchange_", {f"--exchange_{end}" for end in ("at", "history", *DIRECTION_INTO.values())}),
    ("run --exchange ", {"pointwise", "listwise", "pairwise"}),
    ("run --epochs 3 --rank_precision s", {"sampled"}),
    ("run --softmax_cosine ", {"True", "False"}),
    ("run --student.embedding", {"--student.embedding_size"}),
    ("tune --student_model LightG", {"LightGCN"}),
    ("leaderboard --dataset cite", {"citeulike"}),
    ("configs ", {"ls", "cp"}),
    ("configs cp model/R", {"model/RCEKD.yaml", "model/RD.yaml", "model/RRD.yaml"}),
    ("completion ", {*SHELLS}),
    ("recommend --unknown ", {"skip", "popular", "error"}),
    ("run --config_files some", {"some.yaml"}),
    ("plots sav", {"saved"}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the scripts, a file and a folder."""
    folder = tmp_path_factory.mktemp("completion")
    parser = program_parser(COMMANDS)
    for shell in SHELLS:
        (folder / f"script.{shell}").write_text(shtab.complete(parser, shell))
    (folder / "some.yaml").touch()
    (folder / "saved").mkdir()
    return folder


def answers(shell: str, program: str, folder) -> list[set[str]]:
    """What a shell's program prints: a line of words for each of `OFFERED`."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    found = subprocess.run([shell, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return [{word.rstrip("/") for word in line.split()} for line in found.stdout.splitlines()]


def test_bash_completes(folder):
    asked = [f"ask recbole-bd {line!r}" for line, _ in OFFERED]
    program = (
        "source script.bash; ask() { read -ra COMP_WORDS <<< \"$1 $2\"; [[ $2 == *' ' || -z $2 ]] && COMP_WORDS+=('');"
        " COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shtab_recbole_bd; echo ${COMPREPLY[@]}; }\n" + "\n".join(asked)
    )
    assert answers("bash", program, folder) == [words for _, words in OFFERED]


def test_fish_completes(folder):
    asked = [f"echo (complete -C {f'recbole-bd {line}'!r} | string split -f1 \\t)" for line, _ in OFFERED]
    assert answers("fish", "\n".join(["source script.fish", *asked]), folder) == [words for _, words in OFFERED]


def test_zsh_reads_its_script(folder):
    assert answers("zsh", "zsh -n script.zsh", folder) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_has_every_setting_of_the_package(shell, folder):
    text = (folder / f"script.{shell}").read_text()
    for key in package_options().keys() - {"teacher", "student", "backbones"}:
        assert key in text
    for role in ("teacher", "student"):
        assert f"{role}.learning_rate" in text


def test_settings_are_options_of_the_commands_that_take_them():
    commands = program_parser(COMMANDS)._subparsers._group_actions[0].choices
    taking = {name for name, parser in commands.items() if "--student.epochs" in parser._option_string_actions}
    assert taking == set(WITH_SETTINGS)
    assert "--key" not in commands["run"]._option_string_actions


def test_the_command_prints_the_script(cli, folder):
    assert cli("completion", "bash") == (0, (folder / "script.bash").read_text() + "\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "completion: the shells are bash, zsh, fish; its name is missing"),
        (["ksh"], "completion: the shells are bash, zsh, fish; 'ksh' is none of them"),
        (["bash", "zsh"], "completion: unrecognized arguments: zsh. See recbole-bd completion --help"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, message, cli):
    assert cli("completion", *words) == (2, "", f"recbole-bd: error: {message}\n")

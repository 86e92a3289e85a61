"""`recbole-bd configs`: the shipped configuration files, listed or copied."""

import difflib
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from recbole_bd.cli.parser import CommandParser
from recbole_bd.config.property_files import SETTINGS_SCHEMA, SPACE_SCHEMA, properties_path
from recbole_bd.errors import ConfigError
from recbole_bd.system.atomic_write import write_whole

LIST, COPY = "ls", "cp"
# First line of a shipped file, which names its schema to editors.
_MODELINE = "# yaml-language-server: $schema="
_SPACES = "tuning"
_PURPOSE_WIDTH = 90
_DESCRIPTION = """\
List the shipped configuration files and search spaces, or copy one to change it.

examples:
  recbole-bd configs ls                                   names, and what each file is for
  recbole-bd configs cp dataset/ml-1m.yaml mine.yaml      then: recbole-bd run --config_files=mine.yaml
  recbole-bd configs cp tuning/BD.yaml                    to BD.yaml; then: recbole-bd tune --space=BD.yaml

A file need not be copied to be used as it is: --config_files=properties/NAME or --space=properties/NAME"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser("configs", "ls | cp NAME [DEST] [--force]", description=_DESCRIPTION)
    add = parser.add_argument
    add("action", nargs="?", metavar="ls|cp", help="ls: list the files. cp: copy one")
    add("name", nargs="?", metavar="NAME", help="file as `ls` shows it, or the end of its name if only one has it")
    add("dest", nargs="?", metavar="DEST", help="new file, or an existing folder (default: this folder)")
    add("--force", action="store_true", help="overwrite an existing file")
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd configs`.

    Args:
        words: the command line after `configs`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    options = command_parser().parse_intermixed_args(words)
    if options.action == LIST:
        if options.name or options.force:
            raise ConfigError(f"configs {LIST} takes no names: recbole-bd configs {LIST}")
        files = shipped_files()
        width = max(map(len, files))
        for name, path in files.items():
            print(f"{name:{width}}  {purpose(path)}")
        return 0
    if options.action != COPY:
        given = f"{options.action!r} is neither {LIST} nor {COPY}" if options.action else f"{LIST} or {COPY} is missing"
        raise ConfigError(f"configs: {given}. See recbole-bd configs --help")
    if not options.name:
        raise ConfigError(f"configs {COPY}: NAME is missing; recbole-bd configs {LIST} shows the names")
    _copy(find(options.name), options.dest or ".", options.force)
    return 0


def shipped_files() -> dict[str, Path]:
    """Paths of the shipped files by name, such as `model/BD.yaml`: settings first, then search spaces."""
    root = properties_path()
    paths = sorted(root.rglob("*.yaml"), key=lambda path: (path.parent.name == _SPACES, path.parent != root, path))
    return {path.relative_to(root).as_posix(): path for path in paths}


def purpose(path: Path) -> str:
    """The first sentence of the comment at the top of a file, without what is in parentheses, shortened to a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines[0].startswith(_MODELINE):
        del lines[0]
    comment: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    sentence = re.split(r"\.\s", re.sub(r" \([^)]*\)", "", " ".join(comment)), maxsplit=1)[0]
    return textwrap.shorten(sentence.rstrip("."), _PURPOSE_WIDTH, placeholder=" ...")


def find(name: str) -> str:
    """Complete the name of a shipped file.

    Args:
        name: as the user wrote it, such as `model/BD`, `properties/model/BD.yaml` or `BD-paper.yaml`.

    Returns:
        The name as `shipped_files` has it.

    Raises:
        ConfigError: no file has the name, or several have; with the most similar names.
    """
    files = shipped_files()
    wanted = re.sub(r"^(\./)?(properties/)?", "", name)
    wanted = wanted if wanted.endswith(".yaml") else f"{wanted}.yaml"
    if wanted in files:
        return wanted
    found = [file for file in files if file.endswith(f"/{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"configs {COPY}: several files are called {name}: write {' or '.join(found)}")
    stems = {file.removesuffix(".yaml").lower(): file for file in files}
    stems = {stem.rpartition("/")[2]: file for stem, file in reversed(stems.items())} | stems
    near = difflib.get_close_matches(wanted.removesuffix(".yaml").lower(), stems, n=3, cutoff=0.6)
    similar = dict.fromkeys(stems[stem] for stem in near)
    hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
    raise ConfigError(f"configs {COPY}: no file {name!r} is shipped.{hint} recbole-bd configs {LIST} shows the names")


def _copy(name: str, dest: str, force: bool) -> None:
    """Copy a shipped file. The copy names the schema by its whole path, since it lies in another folder."""
    path = Path(dest, name.rpartition("/")[2]) if dest.endswith("/") or Path(dest).is_dir() else Path(dest)
    if not path.parent.is_dir():
        raise ConfigError(f"configs {COPY}: the folder {path.parent} does not exist: make it, or name another")
    is_space = name.startswith(f"{_SPACES}/")
    text = properties_path(name).read_text(encoding="utf-8")
    _, _, rest = text.partition("\n") if text.startswith(_MODELINE) else ("", "", text)
    schema = properties_path(SPACE_SCHEMA if is_space else SETTINGS_SCHEMA).resolve()
    copied = f"{_MODELINE}{schema.as_posix()}\n{rest}"
    if force:
        write_whole(path, copied)
    else:
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(copied)
        except FileExistsError as error:
            raise ConfigError(
                f"configs {COPY}: {path} exists: name another file, or overwrite it with --force"
            ) from error
    command = f"tune --space={path}" if is_space else f"run --config_files={path}"
    print(f"{path}: a copy of {name}. Use it by: recbole-bd {command}")

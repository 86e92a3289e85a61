"""`recbole-bd schema`: a JSON schema of all settings, by which editors complete and check files."""

import json
from collections.abc import Sequence
from pathlib import Path

from recbole_bd.cli.parser import CommandParser
from recbole_bd.config.property_files import SETTINGS_SCHEMA, SPACE_SCHEMA, properties_path
from recbole_bd.errors import ConfigError
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.system.startup import quick_imports

_DESCRIPTION = f"""\
Print a JSON schema (draft 2020-12) of all settings, by which editors complete and check configuration files.

examples:
  recbole-bd schema > settings.schema.json
  recbole-bd schema --path          where the shipped schema is; name it in the first line of a file of yours:
                                    # yaml-language-server: $schema=PATH
  recbole-bd schema --out=DIR       two files: {SETTINGS_SCHEMA}, and {SPACE_SCHEMA} for `tune`
  recbole-bd schema --also=my_package.models:BiasMF      with the settings of a model of your own

Methods and models that installed packages offer are described too; the shipped schema is without them."""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser("schema", "[--also=NAME,...] [--out=DIR] | --path", description=_DESCRIPTION)
    add = parser.add_argument
    add("--also", metavar="NAME,...", help="models of your own, each as my_package.module:Class, which is imported")
    add("--out", type=Path, metavar="DIR", help="folder for both files, instead of printing one")
    add("--path", action="store_true", help="print the path of the shipped schema of settings")
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd schema`.

    Args:
        words: the command line after `schema`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    options = command_parser().parse_args(words)
    if options.path:
        if options.also or options.out:
            raise ConfigError("schema: --path names a shipped file, so it cannot be combined with --also and --out")
        print(properties_path(SETTINGS_SCHEMA).resolve())
        return 0
    with quick_imports():
        from recbole_bd.backbones.registry import own_backbones, recommenders
        from recbole_bd.config.schema import settings_schema
        from recbole_bd.model import method_names
        from recbole_bd.tuning.space_schema import space_schema
    also = options.also.split(",") if options.also else []
    settings = settings_schema(method_names(), dict.fromkeys([*recommenders(), *own_backbones(), *also]))
    if options.out is None:
        print(as_text(settings), end="")
        return 0
    for name, schema in ((SETTINGS_SCHEMA, settings), (SPACE_SCHEMA, space_schema(settings))):
        write_whole(options.out / name, as_text(schema))
        print(options.out / name)
    return 0


def as_text(schema: dict) -> str:
    """The text of a schema's file."""
    return json.dumps(schema, indent=1) + "\n"

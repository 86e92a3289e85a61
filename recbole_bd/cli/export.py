"""`recbole-bd export`: a trained model as files for other programs, with a model card."""

from collections.abc import Sequence
from pathlib import Path

from recbole_bd.cli.chosen_model import chosen_model
from recbole_bd.cli.parser import CommandParser, model_parser, positive_integer
from recbole_bd.errors import ConfigError
from recbole_bd.runs.records import read_result
from recbole_bd.serving.names import EXPORT_FORMATS, HNSW
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.system.startup import quick_imports

MODEL_CARD = "MODEL_CARD.md"
_DESCRIPTION = """\
Write a trained model as files for other programs, with a model card, to RUN/export/ROLE.

examples:
  recbole-bd export saved/RUN --format=npz,onnx,recbole    files for other programs
  recbole-bd export saved/RUN --index=hnsw                 an approximate index of the items, with its recall"""


# Endings of exported files: a name with one is meant as a file.
_FILES = (".faiss", ".npz", ".onnx", ".pth", ".safetensors")


def command_parser() -> CommandParser:
    """The parser."""
    parser = model_parser(
        "export",
        "RUN (--format=NAME,... and/or --index=hnsw) [-k N] [--role=NAME] [--out=DIR] [--data_path=DIR] [--allow_code]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add(
        "--format",
        dest="formats",
        metavar="NAME,...",
        help="npz, safetensors: ids and vectors, for models whose logit is their inner product; onnx: a graph from "
        "users to their best items; recbole: a file for RecBole's load_data_and_model",
    )
    add("--index", choices=[HNSW], help="also write an approximate index of the items")
    add("-k", "--k", type=positive_integer, default=10, metavar="N", help="number of items per user (default: 10)")
    add("--out", type=Path, metavar="DIR", help="folder for the files (default: RUN/export/ROLE)")
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd export`.

    Args:
        words: the command line after `export`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    options = command_parser().parse_intermixed_args(words)
    formats = [name for part in (options.formats or "").split(",") if (name := part.strip())]
    if unknown := [name for name in formats if name not in EXPORT_FORMATS]:
        raise ConfigError(f"export: --format={unknown[0]}: the formats are {', '.join(EXPORT_FORMATS)}")
    if not formats and not options.index:
        raise ConfigError(
            f"export: --format=NAME is missing: {', '.join(EXPORT_FORMATS)}, or several separated by commas"
        )
    if options.out and options.out.suffix in _FILES and not options.out.is_dir():
        raise ConfigError(f"export: --out={options.out}: name the folder of the files, such as {options.out.stem}")
    with quick_imports():
        from recbole_bd.serving.export import FORMATS, export_index
        from recbole_bd.serving.model_card import model_card
    trained = chosen_model(options, "export", device="cpu")
    folder = options.out or trained.path.parent / "export" / trained.role.name
    written = {name: FORMATS[name](trained, folder, options.k) for name in formats}
    notes = []
    if options.index:
        path, recall = export_index(trained, folder, options.k)
        written["faiss"] = [path]
        notes.append(f"The index `{path.name}` finds {recall:.1%} of the exact {options.k} best items.")
    result = read_result(trained.path.parent) if (trained.path.parent / "result.json").is_file() else None
    files = {name: paths[0].name for name, paths in written.items()}
    write_whole(folder / MODEL_CARD, model_card(trained, files, result, notes))
    for line in (*notes, *(path for paths in written.values() for path in paths), folder / MODEL_CARD):
        print(line)
    return 0

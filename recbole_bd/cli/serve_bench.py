"""`recbole-bd serve-bench`: latency, throughput and bytes of teacher and student."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from recbole_bd.cli.chosen_model import required_run
from recbole_bd.cli.parser import CommandParser, add_allow_code, add_data_path, positive_integer
from recbole_bd.errors import ConfigError
from recbole_bd.system.startup import quick_imports

_DESCRIPTION = """\
Measure latency, throughput and size in bytes of teacher and student.

example:
  recbole-bd serve-bench saved/RUN"""


def command_parser() -> CommandParser:
    """The parser."""
    parser = CommandParser(
        "serve-bench",
        "RUN [-k N] [--batch=N,...] [--requests=N] [--threads=N] [--data_path=DIR] [--allow_code]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add("run", nargs="?", metavar="RUN", help="folder of a finished run, or a model file in it")
    add("-k", "--k", type=positive_integer, default=10, metavar="N", help="number of items per user (default: 10)")
    add("--batch", default="1,256", metavar="N,...", help="users per request (default: 1,256)")
    add(
        "--requests",
        type=positive_integer,
        default=200,
        metavar="N",
        help="number of timed requests of each size (default: 200)",
    )
    add("--threads", type=positive_integer, metavar="N", help="CPU threads of torch (default: torch's choice)")
    add_data_path(parser)
    add_allow_code(parser)
    return parser


def execute(words: Sequence[str]) -> int:
    """Run `recbole-bd serve-bench`.

    Args:
        words: the command line after `serve-bench`.

    Returns:
        Exit code.

    Raises:
        BDError: an error that the user can fix, in one line.
    """
    options = command_parser().parse_intermixed_args(words)
    try:
        batches = [positive_integer(size.strip()) for size in options.batch.split(",")]
    except ArgumentTypeError as error:
        raise ConfigError(f"serve-bench: --batch={options.batch}: {error}; separate several sizes by commas") from error
    run = required_run(options.run, "serve-bench")
    with quick_imports():
        import torch

        from recbole_bd.runs.trained_model import load_trained, model_files
        from recbole_bd.serving import latency
    if options.threads:
        torch.set_num_threads(options.threads)
    files = model_files(run)
    models = [load_trained(path, data_path=options.data_path, allow_code=options.allow_code) for path in files.values()]
    record = latency.measure(models, options.k, batches, options.requests)
    paths = latency.write_record(record, models[0].path.parent)
    threads = record["machine"]["threads"]
    top = f"top {record['k']} without the items that the test leaves out"
    about = f"{top}, {options.requests} requests of each size, {threads} thread{'s' * (threads > 1)}"
    fewer = [f"-k {options.k} is above the number of items, {record['k']:,}"] if record["k"] < options.k else []
    for line in (about, *fewer, latency.bench_table(record), *_compression(record), *paths):
        print(line)
    return 0


def _compression(record: dict[str, Any]) -> list[str]:
    """The compression in one sentence; nothing where there is only one model."""
    if not {"teacher", "student"} <= record["models"].keys():
        return []
    teacher, student = (record["models"][role] for role in ("teacher", "student"))
    faster = [
        f"{teacher['batches'][size]['p50_ms'] / student['batches'][size]['p50_ms']:.1f} times as fast at {size}"
        for size in student["batches"]
    ]
    share = student["bytes"] / teacher["bytes"]
    return [f"The student has {share:.1%} of the teacher's bytes and is {', '.join(faster)} (median latency)."]

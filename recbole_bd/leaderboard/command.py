"""`recbole-bd leaderboard`: runs models x seeds or finds their runs, and shows them; or shows existing run folders."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_bd.config.arguments import count_of
from recbole_bd.config.chosen_loggers import require_loggers
from recbole_bd.config.config import BDConfig
from recbole_bd.data.split import load_split
from recbole_bd.errors import ConfigError, LeaderboardError
from recbole_bd.leaderboard.figure import parameters_picture, picture
from recbole_bd.leaderboard.formats import latex, markdown, terminal, tidy_csv
from recbole_bd.leaderboard.page import page
from recbole_bd.leaderboard.run_reader import Run, read_run, read_runs, runs_below, runs_jsonl
from recbole_bd.leaderboard.schedule import Entry, done, run_entries
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from recbole_bd.model import METHODS
from recbole_bd.runs.hashes import opening_record
from recbole_bd.runs.records import read_json
from recbole_bd.system.atomic_write import write_whole
from recbole_bd.system.child_processes import cores, environment_of

# Options of the leaderboard; every other key is a setting of the runs.
OPTIONS = ("models", "seeds", "jobs", "out", "reference", "from")
_MANIFEST = "leaderboard.json"


def run_leaderboard(settings: Mapping[str, Any], config_files: Sequence[str] = ()) -> str:
    """Run the missing runs, and write table, page and pictures.

    Args:
        settings: `models` and `seeds` (lists, or text with commas), `jobs`, `out`, `reference`, and any setting of a
            run; or `from`, with `dataset`, `models` and `seeds` to choose among its runs.
        config_files: yaml files of settings of a run.

    Returns:
        Text to print: the table and the paths of the files.

    Raises:
        LeaderboardError: no run has finished. The table is written all the same.
        BDError: an error that the user can fix, in one line; a failed run beside others is a row of the table.
    """
    own = {key: settings[key] for key in OPTIONS if key in settings}
    rest = {key: value for key, value in settings.items() if key not in OPTIONS}
    models = _names(own.get("models"))
    seeds = _numbers("seeds", own.get("seeds"))
    if "from" in own:
        if own["from"] in (None, ""):
            raise ConfigError("--from is empty: name a folder of run folders, such as --from=saved")
        return _from_folder(Path(str(own["from"])), own, rest, models, seeds, config_files)
    _refuse_keys_of_one_run(rest)
    if not models:
        raise ConfigError("--models is missing: write e.g. --models=Pop,BPR,BD")
    if not seeds:
        raise ConfigError("--seeds is missing: write e.g. --seeds=2020,2021")
    jobs = count_of("jobs", own.get("jobs", 1))
    configs = _resolved(models, seeds, {"threads": max(1, cores() // jobs), **rest}, config_files)
    first = configs[0]
    runs_folder = Path(first["checkpoint_dir"])
    out = _out(own, runs_folder, first["dataset"])
    if not Path(first["data_path"]).exists():
        load_split(first)  # downloads the data once, not in every process
    entries = [entry_of(config) for config in configs]
    if len(done(entries, runs_folder)) < len(entries):
        require_loggers(first)
        load_split(first)  # reports unusable data once, before anything starts
    runs = run_entries(entries, runs_folder, out / "logs", jobs, environment_of(first["threads"]))
    manifest = {"reference": own.get("reference"), "runs": [os.path.relpath(run.folder, out) for run in runs]}
    write_whole(out / _MANIFEST, json.dumps(manifest, indent=2))
    shown = write_outputs(runs, out, own.get("reference"))
    if all(run.result["status"] != "finished" for run in runs):
        raise LeaderboardError(f"no run has finished; the first failed: {runs[0].result['error']}; see {out}")
    return shown


KINDS = ("md", "csv", "tex", "html", "png", "parameters.png", "jsonl")


def write_outputs(runs: Sequence[Run], out: Path, reference: str | None = None, kinds: Sequence[str] = KINDS) -> str:
    """Write the leaderboard in its forms; the same bytes for the same runs.

    Args:
        runs: runs to show.
        out: the folder that receives `leaderboard.md`, `.csv`, `.tex`, `.png`, `.parameters.png`, `.html` and, with
            the runs themselves, `.jsonl`.
        reference: name of the row that the others are compared with.
        kinds: the forms, of `KINDS`.

    Returns:
        The table as text and where the files are.

    Raises:
        LeaderboardError: runs that do not make one table, or no such reference.
        CheckpointError: a file cannot be written.
    """
    board = judge(build(runs), reference)
    makers: dict[str, Callable[[], str | bytes]] = {
        "md": lambda: markdown(board),
        "csv": lambda: tidy_csv(board),
        "tex": lambda: latex(board),
        "html": lambda: page(board),
        "png": lambda: picture(board),
        "parameters.png": lambda: parameters_picture(board),
        "jsonl": lambda: runs_jsonl(runs),
    }
    contents = {kind: makers[kind]() for kind in kinds}
    for kind, content in contents.items():
        write_whole(out / f"leaderboard.{kind}", content)
    return f"{terminal(board)}\n\n{out / 'leaderboard'}.{{{','.join(kinds)}}}"


def _from_folder(
    folder: Path,
    own: Mapping[str, Any],
    rest: Mapping[str, Any],
    models: list[str],
    seeds: list[int],
    config_files: Sequence[str],
) -> str:
    """Everything again from a folder of run folders, from the folder that a leaderboard was written to, or from a
    `leaderboard.jsonl`."""
    extra = sorted({*rest, *own.keys() & {"jobs"}} - {"dataset"}) + ["config_files"] * bool(config_files)
    if extra:
        raise ConfigError(f"--from only shows runs that exist: it cannot be combined with --{extra[0]}")
    if not folder.exists():
        raise LeaderboardError(f"--from={folder}: no such file or folder; name a folder of run folders, such as saved")
    manifest, named = _manifest(folder), folder
    if folder.is_file():
        if folder.suffix != ".jsonl":
            raise LeaderboardError(f"--from={folder} is no leaderboard.jsonl: name such a file, or a folder")
        found, folder = read_runs(folder), folder.parent
    elif manifest:
        found = []
        for path in manifest["runs"]:
            run = read_run(folder / path)
            if run is None:
                raise LeaderboardError(f"--from={folder}: the run folder {path} is missing or damaged")
            found.append(run)
    else:
        found = runs_below(folder)
    wanted = {"dataset": [rest["dataset"]] if "dataset" in rest else [], "method": models, "seed": seeds}
    runs = [run for run in found if all(run.result[key] in some for key, some in wanted.items() if some)]
    if not runs:
        raise LeaderboardError(f"--from={named}: no run found{_why_none(folder, found, wanted)}")
    datasets = sorted({run.result["dataset"] for run in runs})
    if len(datasets) > 1:
        raise LeaderboardError(f"--from={folder}: runs on {', '.join(datasets)}; choose one with --dataset")
    out = folder if manifest and "out" not in own else _out(own, folder, datasets[0])
    return write_outputs(runs, out, own.get("reference", (manifest or {}).get("reference")))


def _why_none(folder: Path, found: Sequence[Run], wanted: Mapping[str, list[Any]]) -> str:
    """What was asked for and what there is; or that the folder is itself a run."""
    if not found:
        is_run = (folder / "result.json").is_file()
        return f"; it is a run folder itself: name the folder that holds it, --from={folder.parent}" if is_run else ""
    chosen = ", ".join(f"{key} {', '.join(map(str, some))}" for key, some in wanted.items() if some)
    there = {key: sorted({run.result[key] for run in found}) for key, some in wanted.items() if some}
    have = "; ".join(f"{key} {', '.join(map(str, some))}" for key, some in there.items())
    return f" with {chosen}; its runs have {have}"


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / _MANIFEST
    if not path.is_file():
        return None
    manifest = read_json(path, LeaderboardError)
    reference, runs = manifest.get("reference"), manifest.get("runs")
    if not isinstance(reference, str | None) or not isinstance(runs, list) or not all(isinstance(r, str) for r in runs):
        raise LeaderboardError(f"{path} is damaged: run the leaderboard again, or use --from=CHECKPOINT_DIR")
    return {"reference": reference, "runs": runs}


def _refuse_keys_of_one_run(settings: Mapping[str, Any]) -> None:
    for key in ("model", "seed", "beside"):
        if key in settings:
            plural = f"{key.replace('beside', 'model')}s"
            raise ConfigError(f"--{key} applies to a single run; a leaderboard takes --{plural}")


def _resolved(models: list[str], seeds: list[int], rest: Mapping[str, Any], files: Sequence[str]) -> list[BDConfig]:
    """Settings of every entry, model by model, so that neighbours, which run side by side, need other warm-ups."""
    configs = []
    for model in models:
        beside = [other for other in models if other != model]
        for seed in seeds:
            given = {**rest, "model": model, "seed": seed, "beside": beside, "show_progress": False}
            config = BDConfig(config_file_list=files, command_line=given, methods=METHODS)
            for role in config.backbones:
                config.role(role)
            configs.append(config)
    return configs


def entry_of(config: BDConfig) -> Entry:
    """Entry of a leaderboard: the command of its settings, which resumes a stopped run.

    Args:
        config: its settings.
    """
    record = opening_record(config, "failed")
    words = [*shlex.split(config.command)[1:], "--resume=auto"]  # resumes a stopped run
    return Entry(record, (sys.executable, "-m", "recbole_bd", *words))


def _out(own: Mapping[str, Any], runs_folder: Path, dataset: str) -> Path:
    return Path(str(own["out"])) if own.get("out") else runs_folder / f"leaderboard-{dataset}"


def _words(value: Any) -> list[Any]:
    """`a,b` or [a, b] as a list without repetitions; a number is a list of one."""
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    words = [word.strip() if isinstance(word, str) else word for word in words if word not in (None, "")]
    if not all(isinstance(word, str | int | float) for word in words):
        raise ConfigError(f"{value!r}: expected names or numbers separated by commas, such as --models=Pop,BD")
    return list(dict.fromkeys(words))


def _names(value: Any) -> list[str]:
    return [str(word) for word in _words(value)]


def _numbers(key: str, value: Any) -> list[int]:
    numbers = []
    for word in _words(value):
        text = str(word)
        if not text.isdecimal():
            raise ConfigError(f"{key}={value!r}: {text!r} is not a seed; write e.g. --{key}=2020,2021")
        numbers.append(int(text))
    return list(dict.fromkeys(numbers))

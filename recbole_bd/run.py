"""The pipeline of a run in order: settings, data, roles, warm-ups, distillation, control, test, records."""

import json
import logging
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pandas
import recbole
import scipy
import torch
import yaml
from recbole.utils import init_seed
from tqdm.contrib.logging import logging_redirect_tqdm

from recbole_bd import discrepancy, evaluation, plots, wins
from recbole_bd.atomic import exclusively, write_atomically
from recbole_bd.checkpoint import Snapshot, load_model, load_warmup, restore_snapshot, save_model
from recbole_bd.config import BDConfig
from recbole_bd.data import Split, batch_stream, load_split, train_loader
from recbole_bd.errors import BDError, CheckpointError, ConfigError
from recbole_bd.identity import opening_record, warmup_hash
from recbole_bd.journal import Journal
from recbole_bd.model import METHODS
from recbole_bd.roles import Role, build_role
from recbole_bd.trainer import CONTINUED, DISTILLED, WARMUP, BDTrainer, warm_up
from recbole_bd.version import VERSION

logger = logging.getLogger(__name__)


def run_bd(
    model: str | None = None,
    dataset: str | None = None,
    config_files: Iterable[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Warm up teacher and student, let a method distil, and measure what it taught against honest controls.

    Args:
        model: a method of this package (`BD`, `RD`, ...) or a RecBole general recommender to train alone; None reads it
            from the settings, whose default is `BD`.
        dataset: name of the data set; None reads it from the settings, whose default is `ml-100k`.
        config_files: yaml files, the later above the earlier.
        config_dict: settings above the files; keys may be dotted, `{"student.embedding_size": 8}`.
        command_line: settings above everything.

    Returns:
        The content of `result.json`; `run_folder` says where the run's files are.

    Raises:
        BDError: whatever the user can mend, in one line.
    """
    return _Run(BDConfig(model, dataset, config_files, config_dict, command_line, methods=METHODS)).execute()


def describe(config: BDConfig) -> str:
    """What a run would do, after loading the data and building both roles, as text.

    Args:
        config: settings of the run.
    """
    split, roles = _prepare(config)
    users, items = split.n_users, split.n_items
    lines = ["resolved configuration:", yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True).rstrip()]
    lines += ["", f"data: {json.dumps(split.statistics())}", f"device: {config['device']}"]
    parameters = 0
    for role in roles.values():
        parameters += role.parameter_count
        lines.append(f"{role.name}: {role.config['model']}, {role.parameter_count:,} parameters")
    # Weights, gradients and Adam's two moments, best states; scores of one evaluation batch and RecBole's masks of it.
    batch_users = max(config["eval_batch_size"] // items, 1)
    scores = min(batch_users, users) * items
    samples = len(split.train) * (config["samples_per_positive"] or 0) * (config["refresh_period"] or 0)
    estimate = 300e6 + parameters * 4 * 6 + scores * 4 * 4 + samples * 2 * 8
    lines.append(f"estimated memory: {estimate / 2**20:,.0f} MiB (about 300 of it are Python and torch)")
    return "\n".join(lines)


def _prepare(config: BDConfig) -> tuple[Split, dict[str, Role]]:
    """Everything that can fail on bad input, before anything is written."""
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    split = load_split(config)
    roles = {}
    for name in config.backbones:
        role_config = config.role(name)
        init_seed(config["seed"], config["reproducibility"])
        roles[name] = build_role(name, role_config, split.train)
    return split, roles


class _Run:
    """One run: its settings, its folder, and what it has found so far."""

    def __init__(self, config: BDConfig):
        self.config = config
        self.started = time.perf_counter()
        self.split, self.roles = _prepare(config)
        given = [role for role in self.roles.values() if role.config["checkpoint"]]
        self.checkpoints = {role.name: self._read_checkpoint(role) for role in given}
        self.show_progress = bool(config["show_progress"]) and sys.stderr.isatty()
        if config.method_class is not None:
            # Built once here so that contradicting options are refused before anything is written.
            self._distiller(control=False)
        record = opening_record(config, "running")
        self.folder = new_run_folder(config)
        self.journal = Journal(self.folder)
        self.kept: dict[str, Snapshot] = {}
        self.result: dict[str, Any] = {
            **record,
            "data": self.split.statistics(),
            "run_folder": str(self.folder),
            "pid": os.getpid(),
            "versions": _versions(),
            "machine": _machine(config),
        }

    def execute(self) -> dict[str, Any]:
        """Run every stage and leave the records."""
        with _logging_to(self.folder / "run.log", self.config, self.show_progress):
            settings = yaml.safe_dump(self.config.as_dict(), sort_keys=False, allow_unicode=True)
            write_atomically(self.folder / "config.yaml", lambda stream: stream.write(settings.encode()))
            self._write_result()
            logger.info("run folder %s, device %s", self.folder, self.config["device"])
            logger.info("data: %s", self.result["data"])
            try:
                self._stages()
            except BDError as error:
                self._leave("failed", error=str(error))
                raise
            self._leave("finished")
            logger.info("finished in %.0f s; everything is in %s", self.result["timing"]["total_s"], self.folder)
        return self.result

    # --- stages ----------------------------------------------------------------------------------------------------
    def _stages(self) -> None:
        for name, role in self.roles.items():
            logger.info("%s: %s, %s parameters", name, role.config["model"], f"{role.parameter_count:,}")
            self.result[name] = {"model": role.config["model"], "parameters": role.parameter_count}
        start = {name: self._warmed_up(role) for name, role in self.roles.items()}
        self.kept = dict(start)
        arms = {WARMUP: start}
        if self.config.method_class is not None:
            arms[DISTILLED] = self._trained_on(start, control=False)
            self.kept = {**start, **arms[DISTILLED]}
            if self.config["control"]:
                arms[CONTINUED] = self._trained_on(start, control=True)
        self._test(arms)

    def _warmed_up(self, role: Role) -> Snapshot:
        """The best state of a role alone: from its checkpoint, from the cache, or trained now by RecBole's Trainer."""
        if role.name in self.checkpoints:
            return self._from_checkpoint(role)
        if not self.config["warmup_cache"]:
            return self._trained_alone(role)
        name = warmup_hash(role.config, self.split.fingerprint)
        cache = Path(self.config["checkpoint_dir"]) / "warmup" / f"{name}.pth"
        # Runs side by side that need the same warm-up: one trains it, the others wait for it.
        with exclusively(cache.with_suffix(".lock"), f"warm-up of the {role.name}"):
            if cache.is_file():
                return self._from_cache(role, cache)
            snapshot = self._trained_alone(role)
            save_model(cache, snapshot, {**self._about(role), "validations": self.journal.of(WARMUP, role.name)})
        return snapshot

    def _from_cache(self, role: Role, cache: Path) -> Snapshot:
        with self.journal.timed(f"warmup_{role.name}"):
            snapshot, about = load_warmup(cache)
            restore_snapshot(role.model, snapshot, str(cache))
        self.journal.replay([{**row, "role": role.name} for row in about["validations"]])
        logger.info("%s: warm-up reused from %s", role.name, cache)
        return snapshot

    def _trained_alone(self, role: Role) -> Snapshot:
        init_seed(self.config["seed"], self.config["reproducibility"])
        loader = train_loader(role.config, self.split)
        with self.journal.timed(f"warmup_{role.name}"):
            snapshot = warm_up(role, loader, self.split.valid_loader, self.journal, self.show_progress)
        self.journal.write_metrics()
        return snapshot

    def _read_checkpoint(self, role: Role) -> Snapshot:
        path = role.config["checkpoint"]
        snapshot, about = load_model(path)
        if about.get("fingerprint", self.split.fingerprint) != self.split.fingerprint:
            raise CheckpointError(f"checkpoint {path} was trained on other data or another split ({about['dataset']})")
        for key in ("model", "dataset"):
            if about.get(key, role.config[key]) != role.config[key]:
                raise CheckpointError(
                    f"checkpoint {path} is of {key} {about[key]}, this run's {role.name} of {role.config[key]}"
                )
        restore_snapshot(role.model, snapshot, f"checkpoint {path}")
        return snapshot

    def _from_checkpoint(self, role: Role) -> Snapshot:
        snapshot = self.checkpoints[role.name]
        with self.journal.timed(f"warmup_{role.name}"):
            restore_snapshot(role.model, snapshot)
            snapshot.valid = evaluation.evaluate(role, self.split, self.split.valid_loader, self.journal, WARMUP)
        self.journal.validation(WARMUP, role.name, snapshot.epoch, snapshot.valid)
        logger.info("%s: starts from %s", role.name, role.config["checkpoint"])
        return snapshot

    def _distiller(self, control: bool):
        return self.config.method_class(self.config, self.split.train, self.roles, control=control).to(
            self.config["device"]
        )

    def _trained_on(self, start: dict[str, Snapshot], control: bool) -> dict[str, Snapshot]:
        """Every learner after the distillation stage or its control, from the same states, batches and negatives."""
        for name, role in self.roles.items():
            restore_snapshot(role.model, start[name])
            role.forget()
        init_seed(self.config["seed"], self.config["reproducibility"])
        distiller = self._distiller(control)
        # Whatever the method drew for itself: the control is the same beside every method with these learners.
        init_seed(self.config["seed"], self.config["reproducibility"])
        configs = {name: self.roles[name].config for name in distiller.learners}
        stream = batch_stream(configs, self.split, lambda name: self.roles[name].model)
        trainer = BDTrainer(self.config, distiller, self.journal)
        try:
            trainer.fit(stream, self.split.valid_loader, show_progress=self.show_progress)
        finally:
            if not control:
                self.kept |= trainer.best
        self.journal.write_metrics()
        return {name: trainer.best.get(name, start[name]) for name in distiller.learners}

    def _test(self, arms: dict[str, dict[str, Snapshot]]) -> None:
        """Read the test part, once, from each role's best state of each arm."""
        ranks: dict[tuple[str, str], torch.Tensor] = {}
        per_user = evaluation.PerUser(self.split)
        for arm, snapshots in arms.items():
            for name, snapshot in snapshots.items():
                role = self.roles[name]
                restore_snapshot(role.model, snapshot)
                test = evaluation.evaluate(
                    role, self.split, self.split.test_loader, self.journal, arm, self.show_progress, per_user
                )
                self.result[name][arm] = {"valid": snapshot.valid, "test": test, "best_epoch": snapshot.epoch}
                if arm != CONTINUED and len(self.roles) == 2:
                    ranks[arm, name] = evaluation.test_ranks(role, self.split)
        per_user.write(self.folder / "per_user.npz")
        if ranks:
            # A role that does not learn is compared as its warm-up left it.
            self.result["student_wins"] = {
                arm: evaluation.share_of_wins(
                    *(ranks.get((arm, name), ranks[WARMUP, name]) for name in ("student", "teacher"))
                )
                for arm in (WARMUP, DISTILLED)
            }
            self._keep("test_ranks.npz", wins.test_ranks_record(self.split, ranks))
            self._keep("discrepancy.npz", self._discrepancies(arms[WARMUP]))

    def _discrepancies(self, start: dict[str, Snapshot]) -> dict[str, numpy.ndarray]:
        """Rank discrepancies before distillation, and draws; at the end, where nothing random comes after them."""
        began = time.perf_counter()
        for name, role in self.roles.items():
            restore_snapshot(role.model, start[name])
        sampler = self._distiller(control=False).sampler
        record = discrepancy.count_discrepancies(self.roles, self.split, sampler, self.config["seed"])
        seconds, users = time.perf_counter() - began, len(record["user"])
        logger.info("rank discrepancies of %d users counted in %.1f s", users, seconds)
        return record

    def _keep(self, name: str, arrays: dict[str, numpy.ndarray]) -> None:
        """Write plain arrays, which `numpy.load(path, allow_pickle=False)` reads, into the run folder."""
        write_atomically(self.folder / name, lambda stream: numpy.savez_compressed(stream, **arrays))

    # --- records -----------------------------------------------------------------------------------------------------
    def _leave(self, status: str, error: str | None = None) -> None:
        """Write everything the run leaves: models, metrics, pictures, and last the result that vouches for them."""
        seconds = self.journal.seconds
        self.result["timing"] = {
            **{f"warmup_{name}_s": sum(seconds.get(f"warmup_{name}", [])) for name in self.roles},
            "distill_epoch_s": seconds.get("distill_epoch", []),
            "control_epoch_s": seconds.get("control_epoch", []),
            "refresh_s": seconds.get("refresh", []),
            "eval_s": seconds.get("eval", []),
            "total_s": round(time.perf_counter() - self.started, 2),
        }
        self.result["peak_rss_mb"] = _peak_memory()
        self.result["status"] = status
        if error:
            self.result["error"] = error
        for name, snapshot in self.kept.items():
            save_model(self.folder / f"{name}.pth", snapshot, self._about(self.roles[name]))
        if status == "finished":
            plots.draw(self.folder, self.result, self.journal.validations)
        self.journal.close()
        self._write_result()

    def _write_result(self) -> None:
        text = json.dumps(self.result, indent=2, ensure_ascii=False)
        write_atomically(self.folder / "result.json", lambda stream: stream.write(text.encode()))

    def _about(self, role: Role) -> dict[str, Any]:
        return {
            "model": role.config["model"],
            "role": role.name,
            "method": self.config["model"],
            "dataset": self.config["dataset"],
            "fingerprint": self.split.fingerprint,
            "settings": self.config.as_dict(),
        }


def load_data_and_model(path: str | Path) -> tuple:
    """Load a model that a run left, with its data, as RecBole's function of the same name does.

    Args:
        path: a run's `teacher.pth` or `student.pth`.

    Returns:
        (config, model, dataset, train_data, valid_data, test_data), the model in evaluation mode.

    Raises:
        CheckpointError: the file is damaged, not of this package, or the data has changed since.
    """
    snapshot, about = load_model(path)
    if "settings" not in about:
        raise CheckpointError(
            f"{path} is not a model of this package; RecBole's own files have no safe way to be loaded whole"
        )
    config = BDConfig(config_dict=about["settings"], methods=METHODS)
    if about.get("role") not in config.backbones:
        raise CheckpointError(f"{path} is damaged: its role is {about.get('role')!r}")
    if not Path(config["data_path"]).is_dir():  # a path that a file names is read, and never downloaded to
        raise CheckpointError(f"{path}: its data set {about['dataset']} is not at {config['data_path']}")
    split = load_split(config)
    if split.fingerprint != about["fingerprint"]:
        raise CheckpointError(
            f"{path}: the data set {about['dataset']} or its split is not the one this model was trained on"
        )
    role = build_role(about["role"], config.role(about["role"]), split.train)
    restore_snapshot(role.model, snapshot, str(path))
    role.model.eval()
    return (
        role.config,
        role.model,
        split.dataset,
        train_loader(role.config, split),
        split.valid_loader,
        split.test_loader,
    )


def new_run_folder(config: BDConfig) -> Path:
    """Make the folder of a run: its model, data set and time, and a number where that name is taken.

    Raises:
        ConfigError: `checkpoint_dir` cannot be written.
    """
    stem = f"{config['model']}-{config['dataset']}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(1000):
        folder = Path(config["checkpoint_dir"]) / (f"{stem}-{attempt}" if attempt else stem)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(
                f"checkpoint_dir={config['checkpoint_dir']!r}: cannot be written ({error.strerror})"
            ) from error
        return folder
    raise ConfigError(f"checkpoint_dir={config['checkpoint_dir']!r}: no free name for a run folder")


@contextmanager
def _logging_to(path: Path, config: BDConfig, redirect: bool) -> Iterator[None]:
    """Send this package's and RecBole's log lines to the run folder and to standard error for one run."""
    root = logging.getLogger()
    level = getattr(logging, str(config["state"] or "INFO").upper(), logging.INFO)
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8"), logging.StreamHandler()]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
        root.addHandler(handler)
    before = root.level
    root.setLevel(level)
    try:
        if redirect:
            with logging_redirect_tqdm():
                yield
        else:
            yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _versions() -> dict[str, str]:
    modules = {"torch": torch, "numpy": numpy, "scipy": scipy, "pandas": pandas, "recbole": recbole}
    return {"recbole_bd": VERSION, "python": platform.python_version()} | {n: m.__version__ for n, m in modules.items()}


def _machine(config: BDConfig) -> dict[str, Any]:
    device = config["device"]
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})",
    }


def _peak_memory() -> float:
    """Peak resident memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2**20 if sys.platform == "darwin" else peak / 2**10, 1)

"""Files that a run writes into its folder: settings, test results, arrays, models, pictures, and `result.json`."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from recbole.utils import init_seed

from recbole_bd.backbones.checkpoint import save_model
from recbole_bd.backbones.names import DISTILLED, SEPARATE
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot
from recbole_bd.config.config import BDConfig
from recbole_bd.config.yaml_text import to_yaml
from recbole_bd.data.split import Split
from recbole_bd.evaluator import rank_discrepancy, student_wins
from recbole_bd.evaluator.diversity import redefined
from recbole_bd.evaluator.held_out_ranks import test_ranks
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.runs import plots
from recbole_bd.runs.folder import machine, peak_memory, versions
from recbole_bd.runs.objectives import objectives
from recbole_bd.runs.other_columns import columns_entry, columns_of_run, data_of_role
from recbole_bd.runs.per_user import VALIDATION_VALUES
from recbole_bd.runs.prepare import build_distiller
from recbole_bd.runs.progress import Progress
from recbole_bd.runs.records import is_less_better
from recbole_bd.runs.teachability import teachability, validation_values
from recbole_bd.system.atomic_write import write_atomically, write_whole
from recbole_bd.system.distributed import alone
from recbole_bd.trainer.evaluation import evaluate
from recbole_bd.trainer.journal import Journal

logger = logging.getLogger(__name__)


class RunOutputs:
    """Results of one run, and the files that hold them.

    Args:
        config: settings of the run.
        split: its data.
        roles: its models by role.
        folder: the run folder.
        is_first_process: whether this process writes; the others of a distributed run write nothing.

    Attributes:
        result: content of `result.json` so far.

    Raises, in every method that writes:
        CheckpointError: the folder cannot be written.
    """

    def __init__(
        self, config: BDConfig, split: Split, roles: dict[str, Role], folder: Path, is_first_process: bool
    ) -> None:
        self.config, self.split, self.roles, self.folder = config, split, roles, folder
        self.is_first_process = is_first_process
        self.result: dict[str, Any] = {}

    def open(self, progress: Progress) -> None:
        """Fill `result` with what is known before anything is trained.

        Args:
            progress: progress of the run, which holds its opening record and changed settings.
        """
        self.result = {
            **progress.record,
            **({"changes": progress.changes} if progress.changes else {}),
            "data": self.split.statistics() | columns_entry(columns_of_run(self.roles, self.split)),
            "run_folder": str(self.folder),
            "pid": os.getpid(),
            "versions": versions(),
            "machine": machine(self.config),
        }

    def add_roles(self) -> None:
        """Log each role's model, size, seed and loss; add model, size and the losses of all arms to `result`."""
        for name, role in self.roles.items():
            seed = role.config["seed"]
            is_double = seed != self.config["seed"]
            other_seed = f"; its settings equal the teacher's, so it starts from seed {seed}" if is_double else ""
            logger.info("%s: %s, %s parameters%s", name, role.config["model"], f"{role.parameter_count:,}", other_seed)
            self.result[name] = {"model": role.config["model"], "parameters": role.parameter_count}
        if names := redefined(self.config):
            about = "as they are defined, which is not as RecBole computes them (metrics_as: recbole is)"
            logger.info("%s: %s", ", ".join(names), about)
        self.result["objective"] = objectives(self.config)
        for text in self.result["objective"][SEPARATE].values():
            logger.info("%s: %s", SEPARATE, text)

    def write_config(self) -> None:
        """Write the resolved settings to `config.yaml`."""
        if self.is_first_process:
            write_whole(self.folder / "config.yaml", to_yaml(self.config.as_dict()))

    def write_result(self) -> None:
        """Write `result.json`."""
        if self.is_first_process:
            write_whole(self.folder / "result.json", json.dumps(self.result, indent=2, ensure_ascii=False))

    def model_record(self, role: Role) -> dict[str, Any]:
        """Metadata that a model's file holds beside its state."""
        return {
            "model": role.config["model"],
            "role": role.name,
            "method": self.config["model"],
            "dataset": self.config["dataset"],
            **data_of_role(role.config, self.split),
            "settings": self.config.as_dict(),
        }

    def test(self, arms: Mapping[str, Mapping[str, Snapshot]], journal: Journal, show_progress: bool) -> None:
        """Evaluate the best state of each role and arm on the test part, once, and write what the test shows.

        Args:
            arms: best states by arm and role; `separate` holds every role.
            journal: record of the durations; its loggers receive the test metrics.
            show_progress: whether to draw progress bars.
        """
        if len(self.roles) == 2:
            self._compare_roles(arms[SEPARATE], journal)
        # A model that scores with noise must not depend on earlier draws: a cached warm-up has drawn nothing.
        init_seed(self.config["seed"], self.config["reproducibility"])
        ranks: dict[tuple[str, str], torch.Tensor] = {}
        per_user = PerUser(self.split)
        for arm, snapshots in arms.items():
            for name, snapshot in snapshots.items():
                role = self.roles[name]
                is_start = arm != SEPARATE and snapshot.epoch < 0  # no later state was better: it has been tested
                if is_start:
                    test = dict(self.result[name][SEPARATE]["test"])
                    per_user.copy(f"{name}/{SEPARATE}", f"{name}/{arm}")
                else:
                    restore_snapshot(role.model, snapshot)
                    test = evaluate(role, self.split, self.split.test_loader, journal, arm, show_progress, per_user)
                self.result[name][arm] = {"valid": snapshot.valid, "test": test, "best_epoch": snapshot.epoch}
                journal.test(arm, name, snapshot.epoch, test)
                if arm in (SEPARATE, DISTILLED) and len(self.roles) == 2 and self.is_first_process:
                    ranks[arm, name] = ranks[SEPARATE, name] if is_start else test_ranks(role, self.split)
        if self.is_first_process:
            with alone():  # the other processes are done
                self._write_test_records(arms, ranks, per_user)

    def _compare_roles(self, start: Mapping[str, Snapshot], journal: Journal) -> None:
        """Say whether the student can teach, from the validation part, and write its per-user values."""
        metric = self.result["valid_metric"]
        per_user, means = validation_values(self.roles, self.split, start, journal, metric)
        less_is_better = is_less_better(self.result, metric)
        self.result["complementarity"] = teachability(per_user, means, metric, less_is_better)
        if self.is_first_process:
            per_user.write(self.folder / VALIDATION_VALUES)

    def _write_test_records(
        self,
        arms: Mapping[str, Mapping[str, Snapshot]],
        ranks: dict[tuple[str, str], torch.Tensor],
        per_user: PerUser,
    ) -> None:
        """Write per-user values; for two roles also held-out ranks, the student's wins and rank discrepancies."""
        per_user.write(self.folder / "per_user.npz")
        if ranks:
            record = student_wins.test_ranks_record(self.split, ranks)
            self.result["student_wins"] = student_wins.shares(record)
            trained = student_wins.of_trained_items(record)
            if len(trained["user"]):
                self.result["student_wins_trained"] = student_wins.shares(trained)
            _write_arrays(self.folder / "test_ranks.npz", record)
            _write_arrays(self.folder / "discrepancy.npz", self._discrepancies(arms[SEPARATE]))

    def _discrepancies(self, start: Mapping[str, Snapshot]) -> dict[str, numpy.ndarray]:
        """Count rank discrepancies before distillation, and the sampler's draws.

        This is the last step of a run, so its random draws change no other result.
        """
        began = time.perf_counter()
        for name, role in self.roles.items():
            restore_snapshot(role.model, start[name])
        distiller = build_distiller(self.config, self.split, self.roles)
        record = rank_discrepancy.count_discrepancies(
            self.roles, self.split, distiller.sampler, self.config["seed"], rankings=distiller.rankings()
        )
        seconds, users = time.perf_counter() - began, len(record["user"])
        logger.info("ranks by both roles compared for %d of %d users in %.1f s", users, self.split.n_users - 1, seconds)
        return record

    def close(
        self,
        status: str,
        kept: Mapping[str, Snapshot],
        journal: Journal,
        duration: Callable[[], float],
        error: str | None = None,
    ) -> None:
        """Write models and pictures, and last `result.json`, whose status vouches for the other files.

        Args:
            status: `finished` or `failed`.
            kept: the state of each role to write, by role.
            journal: record of the run.
            duration: gives the seconds of the run so far, earlier processes included; asked again at the end.
            error: message of the error that ended it.
        """
        seconds = journal.seconds
        self.result["timing"] = {
            **{f"warmup_{name}_s": sum(seconds.get(f"warmup_{name}", [])) for name in self.roles},
            "distill_epoch_s": seconds.get("distill_epoch", []),
            "control_epoch_s": seconds.get("control_epoch", []),
            **({"placebo_epoch_s": seconds["placebo_epoch"]} if "placebo_epoch" in seconds else {}),
            "refresh_s": seconds.get("refresh", []),
            "eval_s": seconds.get("eval", []),
            "total_s": duration(),
        }
        self.result["warnings"] = journal.warnings
        self.result["peak_rss_mb"] = peak_memory()
        self.result["status"] = status
        if error:
            self.result["error"] = error
        if not self.is_first_process:
            return
        for name, snapshot in kept.items():
            save_model(self.folder / f"{name}.pth", snapshot, self.model_record(self.roles[name]))
        if status == "finished":
            plots.draw(self.folder, self.result, journal.validations)
        journal.write_metrics()
        self.result["timing"]["total_s"] = duration()
        self.write_result()

    def close_interrupted(self, journal: Journal) -> None:
        """Write metrics.csv, and the status `interrupted` to `result.json`."""
        self.result["status"] = "interrupted"
        journal.write_metrics()
        self.write_result()


def _write_arrays(path: Path, arrays: dict[str, numpy.ndarray]) -> None:
    """Write plain arrays, which `numpy.load(path, allow_pickle=False)` reads."""
    named: dict[str, Any] = arrays
    write_atomically(path, lambda stream: numpy.savez_compressed(stream, **named))

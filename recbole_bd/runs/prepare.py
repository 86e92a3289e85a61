"""Preparation of a run: every step that can fail on bad input, before anything is written."""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.backbones.names import CONTINUED, DISTILLED, PAIR, PLACEBO, TEACHER
from recbole_bd.backbones.recorded_split import check_recorded_split, recorded_validation, split_seed_option
from recbole_bd.backbones.registry import learns_by_gradient
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.snapshot import Snapshot, restore_snapshot
from recbole_bd.config.config import BDConfig
from recbole_bd.config.training_settings import needs_labels
from recbole_bd.data.labels import missing_labels
from recbole_bd.data.split import Split, load_split, load_split_of
from recbole_bd.errors import CheckpointError, ConfigError
from recbole_bd.model.base import Distiller
from recbole_bd.runs.hashes import role_configs
from recbole_bd.runs.other_columns import differing, other_columns

# Settings that are the size of a model, in the order in which one is named.
_SIZES = (
    "dims_dnn", "embedding_size", "hidden_size", "mf_embedding_size", "ui_embedding_size", "hidden_dimension",
    "mlp_hidden_size",
)  # fmt: skip


def prepare(config: BDConfig, fingerprint: str | None = None) -> tuple[Split, dict[str, Role]]:
    """Load the data and build the roles.

    Args:
        config: settings of the run.
        fingerprint: fingerprint of the data of a run that is resumed.

    Returns:
        The split data, and the models by role.

    Raises:
        BDError: the settings, the data or the models do not fit together.
    """
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    split = load_split_of(config, fingerprint) if fingerprint else load_split(config)
    roles = {}
    for name, role_config in role_configs(config).items():
        init_seed(role_config["seed"], config["reproducibility"])
        label = role_config["LABEL_FIELD"]
        if needs_labels(role_config["model"], role_config) and label not in split.train.inter_feat:
            raise missing_labels(f"{name}: without negatives {role_config['model']} learns from", config)
        roles[name] = build_role(name, role_config, split.train)
    if config.method_class is not None:
        try:
            for arm in (DISTILLED, *(arm for arm in (PLACEBO,) if arm in config["controls"])):
                build_distiller(config, split, roles, arm)  # raises where options contradict each other or the models
        except (RuntimeError, MemoryError) as error:
            problem = str(error).split("\n")[0] or "out of memory"
            raise ConfigError(f"{config['model']} cannot be built with these settings: {problem}") from error
    return split, roles


def size_notes(roles: Mapping[str, Role]) -> list[str]:
    """Say that the student is not smaller than a teacher trained by gradient, with the settings to change.

    Args:
        roles: the models of the run by role.
    """
    teacher, student = (roles.get(role) for role in PAIR)
    if teacher is None or student is None or not learns_by_gradient(teacher.config["model"]):
        return []
    if student.parameter_count < teacher.parameter_count:
        return []
    return [
        f"the student has {student.parameter_count:,} parameters and the teacher {teacher.parameter_count:,}: "
        f"{_way_to_smaller(student.config)}"
    ]


def _way_to_smaller(student: Any) -> str:
    """Name the setting by which a student becomes smaller, with a value below the one it has.

    Args:
        student: settings of the role by name.
    """
    name = next((name for name in _SIZES if student[name]), None)
    if name is None:
        return "choose smaller sizes for the student"
    value = student[name]
    known = isinstance(value, int) and value > 1
    return f"for a smaller student set --student.{name}, " + (
        f"as in --student.{name}={min(8, value // 2)}" if known else f"now {value}"
    )


def kept_states(config: BDConfig, role: str) -> int:
    """Number of states of a role's warm-up that the method asks for, from early to best; 1 for the best alone.

    Args:
        config: settings of the run.
        role: name of the role.
    """
    return config.method_class.states_of_teacher(config) if role == TEACHER and config.method_class else 1


def read_checkpoint(role: Role, split: Split, wanted_states: int = 1) -> Snapshot:
    """Read the checkpoint that a role starts from, and check that its model can load it.

    Args:
        role: the role.
        split: the data of the run.
        wanted_states: result of `kept_states`.

    Returns:
        The state. Its `valid` is what this run should measure: the validation that a file of RecBole records, see
        `recorded_validation`.

    Raises:
        CheckpointError: the file is damaged, or comes from another model, data set or split. A file of RecBole has no
            fingerprint of its data: its settings are compared instead. Or it lacks the earlier states that the method
            asks for.
    """
    path = role.config["checkpoint"]
    snapshot, about = load_model(path)
    has_other_columns = differing(about.get("columns", {}), other_columns(role.config, split))
    if about.get("fingerprint", split.fingerprint) != split.fingerprint or has_other_columns:
        option = split_seed_option(about.get("settings") or {}, split.dataset.config.final_config_dict)
        raise CheckpointError(
            f"checkpoint {path} was trained on different data or another split ({about['dataset']}): use the data and "
            f"settings of its run{option}, or a checkpoint of this split"
        )
    for key in ("model", "dataset"):
        if about.get(key, role.config[key]) != role.config[key]:
            raise CheckpointError(
                f"checkpoint {path} has {key} {about[key]}, but this run's {role.name} has {key} {role.config[key]}"
            )
    snapshot.valid = {}
    if "fingerprint" not in about:
        own = {**split.dataset.config.final_config_dict, "checkpoint_split": role.config["checkpoint_split"]}
        check_recorded_split(f"checkpoint {path}", about["recbole"]["settings"], own, role.name)
        snapshot.valid = recorded_validation(about["recbole"], own)
    restore_snapshot(role.model, snapshot, f"checkpoint {path}")
    if wanted_states > 1 and not snapshot.earlier:
        raise CheckpointError(
            f"checkpoint {path} holds one state of the {role.name}, but kept_states={wanted_states} asks for earlier "
            f"ones: leave {role.name}.checkpoint out, name the {role.name}.pth of a run with kept_states, or set "
            "kept_states=1"
        )
    return snapshot


def settings_of(config: BDConfig, arm: str) -> BDConfig:
    """Return the settings of an arm, which are the run's but for the guides of the placebo.

    Raises:
        ConfigError: the method has no such placebo.
    """
    return config.with_values(config.method_class.placebo_settings(config)) if arm == PLACEBO else config


def build_distiller(config: BDConfig, split: Split, roles: dict[str, Role], arm: str = DISTILLED) -> Distiller:
    """Build the method of a run on the run's device.

    Args:
        config: settings of the run.
        split: its data.
        roles: teacher and student.
        arm: `continued` leaves the distillation terms out; `placebo` puts placebos in the place of the other role.
    """
    settings = settings_of(config, arm)
    distiller = config.method_class(settings, split.train, roles, control=arm == CONTINUED).to(config["device"])
    distiller.arm = arm
    return distiller

"""Settings that are in no hash change no number: each is varied, and the whole run compared."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.config.option import ONLY_ROUNDING, WITHOUT_EFFECT, Option
from recbole_bd.config.property_files import method_options
from recbole_bd.errors import ConfigError
from recbole_bd.runs import hashes
from recbole_bd.runs.hashes import role_configs, run_hashes, warmup_hash
from recbole_bd.runs.progress import MAY_CHANGE, PROGRESS_FILE
from recbole_bd.runs.records import read_validations
from tests.helpers.finished import ROLES, log_of
from tests.helpers.resuming import Killed, differences, run_differences, writes_counted
from tests.helpers.settings import QUICK, alone, make_config
from tests.helpers.tools import fake_wandb

# Another value of each setting; the paths are made in the test's folder.
VARIED = {
    "checkpoint_dir": "elsewhere",
    "checkpoint_every": 2,
    "checkpoint_seconds": 0.001,
    "checkpoint_split": "trusted",
    "config_file": "settings.yaml",
    "cuda_graphs": False,
    "data_path": "moved",
    "dataloaders_save_path": "loaders.pth",
    "dataset_save_path": "dataset.pth",
    "device": "auto",
    "eval_batch_size": 70,
    "gpu_id": "1",
    "label": "another name",
    "log_wandb": True,
    "loggers": ["wandb"],
    "loss_decimal_place": 1,
    "save_dataloaders": True,
    "save_dataset": True,
    "show_progress": True,
    "state": "ERROR",
    "threads": 2,
    "use_gpu": False,
    "wandb_project": "mine",
    "warmup_cache": False,
}
# Entries of RecBole's Config that are no settings; a user cannot set them.
NO_SETTINGS = {"local_rank", "single_spec"}
PATHS = ("checkpoint_dir", "data_path")
# Keys of result.json that tell which machine, which time and which name.
OF_THE_RECORD = ("label", "machine")


@pytest.fixture(autouse=True)
def _one_thread_afterwards():
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb())


def small(settings: dict, **more) -> dict:
    return {**settings, "epochs": 2, "distill_epochs": 2, **more}


@pytest.fixture(scope="module")
def plain(block_data, tmp_path_factory):
    """Results of runs without any variation, by kind: a pair, one model, and a pair ranked among sampled items."""
    settings = small({**QUICK, "data_path": str(block_data), "student_model": "NeuMF"})
    del settings["student.embedding_size"]
    settings |= {"student.mf_embedding_size": 4, "student.mlp_embedding_size": 4, "student.mlp_hidden_size": [8]}
    kinds = {
        "pair": settings,
        "alone": {**small(alone({**QUICK, "data_path": str(block_data)})), "model": "BPR"},
        "sampled": {**settings, "eval_args": {"mode": "uni10"}},
    }
    kinds = {name: {**kind, "checkpoint_dir": str(tmp_path_factory.mktemp(name))} for name, kind in kinds.items()}
    made: dict = {}

    def of(kind: str) -> tuple[dict, dict]:
        if kind not in made:
            made[kind] = run_bd(config_dict=kinds[kind]), kinds[kind]
        return made[kind]

    return of


def varied(keys, settings: dict, folder) -> dict:
    """The settings with the other value of some keys, in a folder of their own."""
    more = {key: VARIED[key] for key in keys}
    if "data_path" in more:
        shutil.copytree(settings["data_path"], folder / "moved")
    more |= {key: str(folder / more[key]) for key in PATHS if key in more}
    return {**settings, "checkpoint_dir": str(folder / "saved"), **more}


def test_every_setting_without_effect_is_varied():
    assert {*VARIED, *NO_SETTINGS} == WITHOUT_EFFECT
    assert ONLY_ROUNDING < WITHOUT_EFFECT


@pytest.mark.parametrize("key", sorted(NO_SETTINGS))
def test_what_is_no_setting_cannot_be_set(key, quick):
    with pytest.raises(ConfigError, match=f"unknown setting '{key}'|{key}"):
        make_config(quick, **{key: 1})


@pytest.mark.parametrize("kind", ["pair", "alone"])
@pytest.mark.parametrize("key", sorted(WITHOUT_EFFECT - NO_SETTINGS))
def test_a_setting_that_is_in_no_hash_changes_no_number(key, kind, plain, tmp_path):
    result, settings = plain(kind)
    other = run_bd(config_dict=varied([key], settings, tmp_path))
    assert other["config_hash"] == result["config_hash"]
    assert other["hashes"] == result["hashes"]
    if key == "threads" and kind == "pair":
        assert nearly(result, other)
    else:
        assert run_differences(result, other, aside=[key, *OF_THE_RECORD]) == []


def nearly(first: dict, second: dict) -> bool:
    """Whether the models of two runs differ by no more than rounding."""
    states = [load_model(f"{result['run_folder']}/{role}.pth")[0].state for result in (first, second) for role in ROLES]
    pairs = [
        (one[name], other[name]) for one, other in ((states[0], states[2]), (states[1], states[3])) for name in one
    ]
    return all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in pairs)


@pytest.mark.parametrize("size", [1, 70, 4096000])
def test_the_users_at_a_time_change_no_number_among_sampled_items(size, plain, tmp_path):
    result, settings = plain("sampled")
    other = run_bd(config_dict={**settings, "eval_batch_size": size, "checkpoint_dir": str(tmp_path)})
    assert run_differences(result, other, aside=["eval_batch_size"]) == []


def test_all_of_them_may_differ_on_resume(plain, tmp_path):
    result, settings = plain("alone")
    keys = sorted(VARIED.keys() - {"checkpoint_dir", "state"})
    with writes_counted(2, Killed()), pytest.raises(Killed):
        run_bd(config_dict={**settings, "warmup_cache": False, "checkpoint_dir": str(tmp_path / "killed")})
    (folder,) = {path.parent for path in (tmp_path / "killed").glob(f"*/{PROGRESS_FILE}")}
    given = {key: value for key, value in varied(keys, settings, tmp_path).items() if key in keys}
    other = run_bd(config_dict=given, resume=folder)
    assert "changes" not in other
    assert run_differences(result, other, aside=[*keys, *OF_THE_RECORD]) == []
    assert "threads was None and is 2: sums may be rounded differently from here on" in log_of(other)


# --- settings that one part of a run does not read: they are in no hash of that part ---------------------------------
OTHERS = {
    "controls": [], "distill_batch_size": 64, "distill_epochs": 5, "distill_learning_rate": 0.5,
    "distill_learning_rate_decay": 0.5, "distill_weight_decay": 0.5, "placebo": "untrained",
    "early_stopping": "none", "rank_precision": "exact", "ranked_items": 50, "rest_at_best": False,
    "stop_on": "student", "student_model": "LightGCN", "teacher_model": "NeuMF",
}  # fmt: skip


def test_what_only_two_roles_read_changes_no_number_of_a_baseline(plain, tmp_path):
    assert {*OTHERS, "control"} == hashes._OF_TWO_ROLES, "control is what records of earlier versions have"
    result, settings = plain("alone")
    other = run_bd(config_dict={**settings, **OTHERS, "checkpoint_dir": str(tmp_path)})
    assert other["hashes"] == result["hashes"]
    assert run_differences(result, other, aside=OTHERS) == []


def test_what_only_distillation_reads_changes_no_number_of_a_warm_up(plain, tmp_path):
    result, settings = plain("pair")
    more = {key: OTHERS[key] for key in hashes._OF_DISTILLATION}
    other = run_bd(config_dict={**settings, **more, "warmup_cache": False, "checkpoint_dir": str(tmp_path)})
    for role in ROLES:
        assert other["hashes"][role] == result["hashes"][role]
        assert differences(result[role]["separate"], other[role]["separate"]) == []
    assert other["hashes"]["control"] != result["hashes"]["control"]


def another(option: Option) -> object:
    """Another value of an option than its default."""
    if option.range.startswith("One of"):
        names = [name.strip() for name in option.range.removeprefix("One of:").strip(" .").split(",")]
        return next(name for name in names if name != option.default)
    if isinstance(option.default, bool):
        return not option.default
    is_probability = option.range.startswith("Range: (0, 1)")
    return option.default / 2 if is_probability else 2 * (option.default or 1)


def test_what_only_distillation_items_depend_on_changes_no_number_of_the_control(block_data, tmp_path):
    excluding = {"directions", "pause"}  # another value excludes values of other options
    own = {key: another(option) for key, option in method_options("BD").items() if key not in excluding}
    own |= {key: OTHERS[key] for key in hashes._OF_RANKING} | {"lambda_student_to_teacher": 5.0}
    settings = small({**QUICK, "data_path": str(block_data), "checkpoint_dir": str(tmp_path)})
    result, other = run_bd(config_dict=settings), run_bd(config_dict={**settings, **own})
    assert other["config_hash"] != result["config_hash"]
    assert other["hashes"]["control"] == result["hashes"]["control"]
    rows, others = (read_validations(Path(run["run_folder"]) / "metrics.csv") for run in (result, other))
    for role in ROLES:
        trained = [
            [row for row in found if (row["stage"], row["role"]) == ("distilled", role)] for found in (rows, others)
        ]
        assert trained[0][0] == trained[1][0], "the start"
        assert trained[0] != trained[1]
        assert differences(result[role]["continued"], other[role]["continued"]) == []


# --- settings that may change on resume: the run counts as another from then on ---------------------------------------
CHANGED = {
    "epochs": 3, "distill_epochs": 3, "stopping_epochs": 5, "stopping_step": 5, "early_stopping": "all",
    "stop_on": "student", "eval_step": 2,
}  # fmt: skip


@pytest.mark.parametrize("key", MAY_CHANGE)
def test_a_setting_that_may_change_on_resume_is_hashed(key, quick):
    plain, changed = (run_hashes(make_config(small(quick), **more)) for more in ({}, {key: CHANGED[key]}))
    assert plain["config"] != changed["config"]


# --- loader processes: they draw negatives with random states of their own --------------------------------------------
def test_loader_processes_are_hashed_and_none_is_as_before(quick):
    hashes_of = {}
    for count in (0, 1, 2):
        config = make_config(quick, worker=count)
        hashes_of[count] = run_hashes(config), [warmup_hash(role, "data") for role in role_configs(config).values()]
    for name in hashes_of[0][0]:
        assert len({hashes_of[count][0][name] for count in (0, 1, 2)}) == 3, name
    for place in range(2):
        assert len({hashes_of[count][1][place] for count in (0, 1, 2)}) == 3
    without = make_config(quick).as_dict()
    assert without.pop("worker") == 0  # a run from before that had it in no hash
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_bd.config.config.BDConfig.as_dict", lambda _: without)
        assert run_hashes(make_config(quick)) == hashes_of[0][0]


@pytest.mark.parametrize(("before", "now"), [(0, 2), (2, 0)])
def test_another_number_of_loader_processes_is_another_run(before, now, block_data, tmp_path):
    settings = small(alone({**QUICK, "data_path": str(block_data)}), model="BPR", epochs=1)
    settings |= {"checkpoint_dir": str(tmp_path), "worker": before}
    result = run_bd(config_dict=settings)
    other = run_bd(config_dict={**settings, "worker": now})  # does not reuse the warm-up
    assert "reused" not in log_of(other)
    assert differences(result["model"]["separate"]["test"], other["model"]["separate"]["test"]) != []
    with writes_counted(2, Killed()), pytest.raises(Killed):
        run_bd(config_dict={**settings, "checkpoint_dir": str(tmp_path / "killed")})
    (folder,) = {path.parent for path in (tmp_path / "killed").glob(f"*/{PROGRESS_FILE}")}
    with pytest.raises(ConfigError, match=f"cannot resume with worker={now}: it was started with {before}"):
        run_bd(config_dict={"worker": now}, resume=folder)
    assert run_differences(result, run_bd(config_dict={"worker": before}, resume=folder)) == []

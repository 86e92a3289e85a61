"""Hashes of settings: what makes two runs, or parts of runs, the same."""

import shutil

import pytest
import torch

from recbole_bd import run_bd
from recbole_bd.backbones.checkpoint import load_model
from recbole_bd.runs import hashes
from recbole_bd.runs.hashes import file_hash, own_split_seed, role_configs, run_hashes, warmup_hash
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.finished import ROLES, log_of
from tests.helpers.resuming import without, without_times
from tests.helpers.settings import alone, for_method, make_config


def hash_of(settings, **more) -> str:
    return run_hashes(make_config(settings, **more))["config"]


@pytest.mark.slow
def test_what_cannot_change_the_numbers_does_not_change_the_hash(quick, tmp_path):
    expected = hash_of(quick)
    shutil.copytree(quick["data_path"], tmp_path / "moved")
    for more in (
        {"checkpoint_dir": "elsewhere"}, {"threads": 1}, {"warmup_cache": False}, {"show_progress": True},
        {"state": "ERROR"}, {"eval_batch_size": 1000}, {"use_gpu": False}, {"data_path": str(tmp_path / "moved")},
        {"beside": ["Pop"]}, {"distill_epochs": 3}, {"teacher": {"embedding_size": 8}},
    ):  # fmt: skip
        assert hash_of(quick, **more) == expected, more
    baseline = hash_of(alone(quick), model="BPR")
    for more in ({"distill_epochs": 9}, {"teacher_model": "LightGCN"}, {"control": False}, {"stop_on": "student"}):
        assert hash_of(alone(quick), model="BPR", **more) == baseline, more


@pytest.mark.slow
def test_what_can_change_the_numbers_changes_the_hash(quick, tmp_path):
    changes = [
        {}, {"seed": 1}, {"learning_rate": 0.02}, {"student.learning_rate": 0.02}, {"student.embedding_size": 3},
        {"topk": [5, 10]}, {"metrics": ["NDCG"]}, {"temperature": 2.0}, {"control": False}, {"epochs": 4},
        {"distill_epochs": 4}, {"teacher_model": "LINE"}, {"stop_on": "student"}, {"model": "RD"},
        {"rank_precision": "exact"}, {"eval_args": {"split": {"RS": [0.7, 0.2, 0.1]}}},
        {"teacher.distill_learning_rate": 0.1}, {"teacher.distill_batch_size": 50}, {"learning_rate_decay": 0.5},
        {"distill_learning_rate_decay": 0.5},
    ]  # fmt: skip
    hashes = []
    for more in changes:
        drop = {"refresh_period"} if more.get("model") == "RD" else set()
        hashes.append(hash_of({key: value for key, value in quick.items() if key not in drop}, **more))
    write_inter(tmp_path, "blocks", block_pairs(seed=1))
    hashes.append(hash_of(quick, data_path=str(tmp_path)))
    for content in (b"one", b"two"):
        (tmp_path / "start.pth").write_bytes(content)
        hashes.append(hash_of(quick, **{"teacher.checkpoint": str(tmp_path / "start.pth")}))
    assert len(set(hashes)) == len(changes) + 3


def test_parts_of_runs_are_found_by_what_they_share(quick):
    settings = {key: value for key, value in quick.items() if key != "refresh_period"}
    one, other = (run_hashes(make_config(settings, model=model)) for model in ("RD", "CD"))
    assert one["config"] != other["config"]
    assert all(one[key] == other[key] for key in ("teacher", "student", "control"))
    another_seed = run_hashes(make_config(settings, model="RD", seed=7))
    assert another_seed["config"] != one["config"]
    assert all(another_seed[key] == one[key] for key in ("settings", "teacher", "student", "control"))
    changed = run_hashes(make_config(settings, model="RD", **{"student.learning_rate": 0.5}))
    assert changed["teacher"] == one["teacher"]
    assert changed["student"] != one["student"]
    assert changed["control"] != one["control"]


def test_seeds_of_one_split_seed_make_one_row_and_share_warm_ups_where_they_can(quick):
    def both(**more):
        config = make_config(quick, **more)
        warm_ups = [
            warmup_hash(role, "data", split_seed=own_split_seed(config)) for role in role_configs(config).values()
        ]
        return run_hashes(config), warm_ups

    plain, same = both(seed=1), both(seed=1, split_seed=1)
    shared, other = both(seed=2, split_seed=1), both(seed=2)
    assert same[1] == plain[1]
    assert not set(shared[1]) & set(other[1])
    found = [hashes["config"] for hashes, _ in (plain, same, shared, other)]
    assert len(set(found)) == 4
    for name in ("settings", "teacher", "student", "control"):
        assert same[0][name] == shared[0][name] != plain[0][name] == other[0][name]


@pytest.mark.slow
def test_a_student_with_its_teachers_settings_is_another_model(quick, tmp_path):
    settings = {**quick, "epochs": 0, "distill_epochs": 0, "student.embedding_size": 8, "seed": 7}
    result = run_bd(config_dict=settings)
    teacher, student = (load_model(f"{result['run_folder']}/{role}.pth")[0].state for role in ROLES)
    assert all(not torch.equal(teacher[name], student[name]) for name in teacher)
    assert "student: BPR, 880 parameters; its settings equal the teacher's, so it starts from seed 65543" in log_of(
        result
    )
    other = run_bd(config_dict={**settings, "seed": 65543, "student.embedding_size": 2})
    there = load_model(f"{other['run_folder']}/teacher.pth")[0].state
    assert all(torch.equal(there[name], student[name]) for name in there)
    again = run_bd(config_files=[f"{result['run_folder']}/config.yaml"], config_dict={"checkpoint_dir": str(tmp_path)})
    assert without_times(again) == without_times(result)


def test_a_student_that_is_a_double_has_hashes_of_its_own(quick):
    def hashes(**more):
        return run_hashes(make_config({**quick, "student.embedding_size": 8, **more}))

    double, of_lightgcn = hashes(), hashes(teacher_model="LightGCN")
    assert double["student"] not in (double["teacher"], of_lightgcn["student"])
    assert hashes(seed=3)["settings"] == double["settings"] != of_lightgcn["settings"]
    assert hashes(seed=3)["student"] == double["student"]
    checkpoint = {"student.checkpoint": "there/is/none.pth"}
    assert hashes(**checkpoint)["student"] == hashes(**checkpoint, teacher_model="LightGCN")["student"]


def test_patience_in_epochs_and_in_validations_have_one_hash(quick):
    def found(**more):
        config = make_config({**quick, "eval_step": 5, **more})
        return run_hashes(config, 1), warmup_hash(config.role("student"), "data")

    assert found(stopping_epochs=25) == found(stopping_epochs=29) == found(stopping_step=5)
    assert found(stopping_epochs=30) == found(stopping_step=6) != found(stopping_step=5)
    role = {"student.stopping_epochs": 30}
    assert found(stopping_step=5, **role) == found(stopping_step=5, **{"student.stopping_step": 6})
    assert found(stopping_step=5, **role)[1] == found(stopping_step=6)[1]


def test_a_schema_changes_the_hashes_of_stages_and_of_nothing_else(quick):
    old, new = (run_hashes(make_config(quick), schema) for schema in (1, 2))
    assert run_hashes(make_config(quick)) == new
    assert {name for name in new if old[name] != new[name]} == {"config", "settings", "control"}
    later = make_config(quick, early_stopping="all")
    assert run_hashes(later, 1) == old
    assert run_hashes(later)["control"] != new["control"]
    baseline = make_config(alone(quick), model="BPR")
    assert run_hashes(baseline, 1) == run_hashes(baseline, 2)
    assert hashes.opening_record(baseline, "running")["schema"] == 2


def test_an_option_that_came_later_leaves_the_hashes_of_runs_of_before(quick, monkeypatch):
    later = {"exchange_student_to_teacher": "pointwise"}
    plain, changed = (run_hashes(make_config({**quick, **more})) for more in ({}, later))
    assert plain["config"] != changed["config"]
    resolved = make_config(quick).as_dict()
    before = without(resolved, hashes._SINCE)
    assert len(before) == len(resolved) - len(hashes._SINCE.keys() & resolved.keys())
    assert "own_loss" in resolved["student"]
    assert "own_loss" not in before["student"]
    monkeypatch.setattr("recbole_bd.config.config.BDConfig.as_dict", lambda _: before)
    assert run_hashes(make_config(quick)) == plain


@pytest.mark.parametrize(
    ("method", "student", "before"), [("BD", "GRU4Rec", "rows"), ("RRD", "GRU4Rec", "users"), ("RRD", "BPR", "rows")]
)
def test_sequential_learners_keep_the_hashes_of_numbers_that_stay(method, student, before, quick, monkeypatch):
    """Before `exchange_at` was an option of other methods than BD, their sequential learners learned at users."""
    pair = {"model": method, "teacher_model": "GRU4Rec", "student_model": student}
    settings = for_method({**quick, **pair}, method)
    found = {at: run_hashes(make_config(settings, exchange_at=at))["config"] for at in ("rows", "users")}
    assert found["rows"] != found["users"]
    resolved = without(make_config(settings).as_dict(), ("exchange_at",))
    monkeypatch.setattr("recbole_bd.config.config.BDConfig.as_dict", lambda _: resolved)
    assert run_hashes(make_config(settings))["config"] == found[before]
    assert hashes.settings_of_before(resolved)["exchange_at"] == before


def test_negatives_that_leak_are_another_warm_up(quick):
    plain, leaking = (
        run_hashes(make_config(quick, **more)) for more in ({}, {"student.negatives_leak_held_out": True})
    )
    assert plain["teacher"] == leaking["teacher"]
    assert all(plain[key] != leaking[key] for key in ("student", "config", "settings", "control"))


def test_a_pretrained_file_counts_by_its_content_wherever_it_is(quick, tmp_path):
    def both(name, content, **more):
        (tmp_path / name).write_text(content)
        config = make_config({**alone(quick), "model": "NAIS", "pretrain_path": str(tmp_path / name), **more})
        return run_hashes(config)["config"], warmup_hash(config.role("model"), "")

    first = both("a.pth", "1")
    assert both("b.pth", "1") == first
    assert not {*both("a.pth", "2")} & {*first}
    assert both("a.pth", "1", checkpoint_split="trusted") == first
    bare = {**alone(quick), "model": "NAIS"}
    assert first[1] != warmup_hash(make_config(bare).role("model"), "")
    assert run_hashes(make_config(bare)) == run_hashes(make_config(bare, pretrain_path=None))


def test_a_file_that_a_model_reads_beside_the_data_counts(quick, tmp_path):
    shutil.copytree(quick["data_path"], tmp_path / "moved")
    settings = {**alone(quick), "data_path": str(tmp_path / "moved"), "n_cate": 2}

    def both(model):
        config = make_config({key: value for key, value in settings.items() if model == "LDiffRec" or key != "n_cate"},
                             model=model)  # fmt: skip
        return run_hashes(config)["config"], warmup_hash(config.role("model"), "")

    before = both("LDiffRec"), both("BPR")
    (tmp_path / "moved" / "blocks" / "item_emb.npy").write_bytes(b"1")
    assert not {*both("LDiffRec")} & {*before[0]}
    assert both("BPR") == before[1]


def test_only_runs_that_measure_otherwise_than_before_have_other_hashes(quick, monkeypatch):
    """Sampled evaluation, diversity metrics and models with noise; `metrics_as: recbole` is as before."""
    lists = {"metrics": ["Hit", "ItemCoverage"], "valid_metric": "Hit@5"}
    sampled, noisy = {"eval_args": {"mode": {"valid": "full", "test": "pop5"}}}, {"model": "Random"}
    labeled = {"eval_args": {"mode": "labeled"}, "metrics": ["AUC"], "valid_metric": "AUC",
               "load_col": {"inter": ["user_id", "item_id", "label"]}}  # fmt: skip
    cases = [
        ({}, {}), (lists, {"diversity": "defined"}), ({**lists, "metrics_as": "recbole"}, {}),
        ({"metrics_as": "recbole"}, {}), (sampled, {"candidates": "shared"}), (labeled, {}),
        (noisy, {"noise": "shared"}),
    ]  # fmt: skip
    now = []
    for more, version in cases:
        config = make_config({**alone(quick), "model": "BPR", **more})
        assert hashes.evaluation_version(config) == version, more
        assert hashes.opening_record(config, "running").get("evaluation", {}) == version
        now.append(run_hashes(config))
    monkeypatch.setattr(hashes, "_evaluation_of_role", lambda _: {})
    for (more, version), found in zip(cases, now, strict=True):
        before = run_hashes(make_config({**alone(quick), "model": "BPR", **more}))
        assert (before == found) == (not version), more
    plain, recboles = now[0], now[3]
    assert plain == recboles


def test_controls_are_hashed_as_control_was_and_a_placebo_by_its_guide(quick):
    def hashes_with(**more):
        return run_hashes(make_config({**quick, **more}))

    plain = hashes_with()
    assert hashes_with(control=True) == hashes_with(controls=["continued"]) == plain
    assert hashes_with(placebo="constant") == plain, "no arm reads it"
    assert hashes_with(control=False) == hashes_with(controls=[]) != plain
    placebos = [hashes_with(controls=["continued", "placebo"], placebo=guide) for guide in ("auto", "constant")]
    assert len({one["config"] for one in (plain, *placebos)}) == 3
    assert {one["control"] for one in placebos} == {plain["control"]}
    assert hashes_with(controls=["placebo", "continued"]) == placebos[0]


def test_a_name_that_is_too_long_for_a_file_has_a_hash():
    """The run refuses such a checkpoint later, with its name."""
    assert file_hash("1" * 5000) == file_hash("1" * 5000) != file_hash("2" * 5000)

"""Tests on a CUDA device, skipped if there is none."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from recbole_bd import run_bd
from recbole_bd.model import METHODS
from recbole_bd.runs.progress import Progress
from recbole_bd.runs.trained_model import load_trained
from recbole_bd.sampler.ranks import Ranks
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.trainer import captured_step
from tests.helpers.histories import SHORT, write_chains
from tests.helpers.references import DIRECTIONS, N_ITEMS, N_USERS, mask_of, probabilities_by_hand, seen_items, tables
from tests.helpers.settings import alone, for_method, roughly

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize(
    ("teacher", "student"), [("BPR", "BPR"), ("LightGCN", "NeuMF"), ("CDAE", "BPR"), ("MultiVAE", "LightGCN")]
)
@pytest.mark.parametrize("amp", [False, True])
def test_runs_finish_on_the_device(teacher, student, amp, quick):
    settings = {**alone(quick), "teacher_model": teacher, "student_model": student, "device": "cuda", "enable_amp": amp}
    settings["enable_scaler"] = amp
    result = run_bd(config_dict={**settings, "epochs": 2, "distill_epochs": 2})
    assert result["machine"]["device"].startswith("cuda")
    for role in ("teacher", "student"):
        for arm in ("separate", "continued", "distilled"):
            assert 0 <= result[role][arm]["test"]["ndcg@5"] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_the_device(method, quick):
    result = run_bd(method, config_dict={**for_method(quick, method), "device": "cuda"})
    assert result["machine"]["device"].startswith("cuda")
    assert 0 <= result["student"]["distilled"]["test"]["ndcg@5"] <= 1


@pytest.mark.parametrize(
    ("method", "more"),
    [("BD", {}), ("BD", {"ranks_at": "rows", "exchange_history": "allowed"}), ("CE", {"items": "all"}), ("DE", {})],
)
def test_rows_of_sequential_models_are_exchanged_on_the_device(method, more, tmp_path):
    settings = {**SHORT, "data_path": str(write_chains(tmp_path)), "checkpoint_dir": str(tmp_path / "saved")}
    pair = {"teacher_model": "GRU4Rec", "student_model": "GRU4Rec", "device": "cuda", **more}
    result = run_bd(method, config_dict=for_method({**settings, **pair}, method))
    assert result["machine"]["device"].startswith("cuda")
    assert 0 <= result["student"]["distilled"]["test"]["ndcg@5"] <= 1


@pytest.mark.parametrize(
    ("teacher", "student", "more"),
    [
        ("BPR", "BPR", {}),
        ("BPR", "BPR", {"enable_amp": True}),
        ("MF", "MF", {"weights_average": 0.9}),
        ("LightGCN", "NeuMF", {}),
        ("SimpleX", "SpectralCF", {}),
    ],
)
def test_captured_steps_train_as_plain_ones(teacher, student, more, quick):
    """Sums of a GPU are taken in any order, so that losses agree but for rounding."""
    settings = {**alone(quick), "teacher_model": teacher, "student_model": student, "device": "cuda", **more}
    settings |= {"epochs": 2, "distill_epochs": 2, "train_batch_size": 64, "warmup_cache": False}
    rows = {}
    for captured in (False, True):
        result = run_bd(config_dict={**settings, "cuda_graphs": captured})
        rows[captured] = Progress.load(Path(result["run_folder"])).journal["losses"]
    assert len(rows[True]) > 4
    for plain, own in zip(rows[False], rows[True], strict=True):
        assert own == roughly(plain, 1e-2)


def test_steps_are_captured(quick, monkeypatch):
    made = []
    original = captured_step.CudaGraph.__init__
    monkeypatch.setattr(captured_step.CudaGraph, "__init__", lambda *a: (made.append(1), original(*a))[1])
    run_bd(config_dict={**quick, "device": "cuda", "train_batch_size": 64, "warmup_cache": False})
    assert len(made) >= 4, "two warm-ups, the control and the distillation"


def test_a_step_that_waits_for_the_device_names_the_way_out():
    """In a process of its own: the device's random generator stays with a capture that failed."""
    code = (
        "import torch; from recbole_bd.trainer.captured_step import CudaGraph\n"
        "from recbole_bd.errors import TrainingError\n"
        "with torch.cuda.stream(torch.cuda.Stream()):\n"
        "    try: CudaGraph(lambda: torch.ones(3, device='cuda').sum().item(), [])\n"
        "    except TrainingError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("a step cannot be captured as a CUDA graph (")
    assert found.rstrip().endswith("use cuda_graphs=False")


def test_equal_seeds_give_equal_results_with_deterministic_kernels(quick):
    settings = {**quick, "device": "cuda", "warmup_cache": False}
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        first, second = (run_bd(config_dict=settings) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for role in ("teacher", "student"):
        assert first[role] == second[role]


def test_warm_ups_are_those_of_the_cpu(quick, tmp_path):
    """Random draws of a warm-up do not depend on the device. Later stages draw samples on their own device."""
    found = {}
    for device in ("cpu", "cuda"):
        settings = {**quick, "device": device, "checkpoint_dir": str(tmp_path / device), "warmup_cache": False}
        result = run_bd(config_dict=settings)
        losses = Progress.load(Path(result["run_folder"])).journal["losses"]
        found[device] = result, [row for row in losses if row["stage"] in ("separate", "continued")]
    (expected, on_cpu), (result, on_gpu) = found.values()
    assert len(on_cpu) == len(on_gpu) > 0
    for before, after in zip(on_cpu, on_gpu, strict=True):
        assert after == roughly(before, 1e-4)
    for role in ("teacher", "student"):
        for arm in ("separate", "continued"):
            assert result[role][arm]["test"] == pytest.approx(expected[role][arm]["test"], abs=1e-4)


def test_what_was_trained_on_the_device_is_served_alike_by_the_cpu(quick, cli, monkeypatch, tmp_path):
    folder = run_bd(config_dict={**quick, "device": "cuda:0"})["run_folder"]
    rows = {}
    for device in ("cuda", "cpu"):
        with monkeypatch.context() as patch:
            if device == "cpu":
                patch.setattr(torch.cuda, "is_available", lambda: False)
            assert load_trained(Path(folder) / "student.pth").role.device.type == device
            code, _, error = cli("recommend", folder, f"--out={tmp_path / device}.csv", "-k", "5")
        assert code == 0, error
        rows[device] = [line.split(",")[:3] for line in (tmp_path / f"{device}.csv").read_text().splitlines()]
    assert rows["cpu"] == rows["cuda"]


def test_ranks_are_those_of_the_cpu():
    scores = torch.randn(20, 500, generator=torch.Generator().manual_seed(0))
    excluded = (torch.rand(20, 500, generator=torch.Generator().manual_seed(1)) < 0.1).nonzero(as_tuple=True)
    expected = Ranks(scores, excluded, "exact").everywhere()
    found = Ranks(scores.cuda(), tuple(ids.cuda() for ids in excluded), "exact").everywhere().cpu()
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())


@pytest.mark.parametrize("name", DIRECTIONS)
def test_frequencies_are_those_of_the_formulas(name):
    scores = tables()
    sampler = DistillationSampler(
        seen_items(), {"student": DIRECTIONS[name]}, torch.full((N_USERS,), 4000), seed=3, device="cuda"
    )
    sampler.refresh({role: table.cuda().__getitem__ for role, table in scores.items()})
    pool = sampler.pools["student"].cpu().numpy()
    for user in range(1, N_USERS):
        excluded = mask_of(seen_items(), torch.tensor([user]))[0].numpy()
        own, guide = (scores[role][user].numpy() for role in ("student", "teacher"))
        expected = probabilities_by_hand(own, guide, excluded, DIRECTIONS[name])
        counts = np.bincount(pool[int(sampler.starts["student"][user]) :][:4000], minlength=N_ITEMS)
        assert counts[expected == 0].sum() == 0
        assert stats.chisquare(counts[expected > 0], 4000 * expected[expected > 0]).pvalue > 1e-4

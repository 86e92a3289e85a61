"""Time of an epoch here and under RecBole's own Trainer, alternately in one process (A B A B ...).

    python benchmarks/epoch_cost.py --dataset=citeulike --data_path=DIR --pair=BPR,BPR --threads=1 [--key=value ...]

`--model=METHOD` measures another method than BD in its place.

Prints a table and, with --json=FILE, writes the same as JSON. The ratio is
(bd_epoch + refresh / P) / (recbole_teacher_epoch + recbole_student_epoch), of medians after an uncounted pass. With
P = 1 the refresh is a part of the epoch.
RecBole's side is its unmodified Trainer, loaders and negative sampler, with the same batch size, negatives and data.
"""

import argparse
import json
import platform
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import recbole_bd  # as in a command, before NumPy: see `avoid_slow_sorts`

# isort: split
import torch
from recbole.data.dataset.sequential_dataset import SequentialDataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.trainer import Trainer
from recbole.utils import get_trainer, init_seed

from recbole_bd.backbones.build_role import build_role
from recbole_bd.backbones.names import PAIR, SEPARATE
from recbole_bd.backbones.registry import is_sequential, recommender_class
from recbole_bd.backbones.role import Role
from recbole_bd.cli.settings_words import parse_arguments
from recbole_bd.config.config import BDConfig
from recbole_bd.data.batches import batch_stream, train_loader
from recbole_bd.data.split import load_split
from recbole_bd.model import METHODS
from recbole_bd.model.exchange import option_of_direction
from recbole_bd.trainer.distillation_trainer import BDTrainer
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import role_trainer

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def build(config: BDConfig, split) -> dict[str, Role]:
    """Both roles, freshly initialised from the seed."""
    roles = {}
    for name in config.backbones:
        init_seed(config["seed"], config["reproducibility"])
        roles[name] = build_role(name, config.role(name), split.train)
    return roles


def host_trainer(config, split, folder: str) -> Trainer:
    """RecBole's own trainer of its own model, which writes its files to `folder`."""
    init_seed(config["seed"], config["reproducibility"])
    config["checkpoint_dir"] = folder
    model = recommender_class(config["model"])(config, split.train).to(config["device"])
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model)


def host_loader(config, split):
    """RecBole's own training loader with its own sampler, and its own rows for a sequential model."""
    parts = (
        SequentialDataset(config).build() if is_sequential(config["model"]) else [split.train, split.valid, split.test]
    )
    sampler = create_samplers(config, split.dataset, parts)[0]
    return get_dataloader(config, "train")(config, parts[0], sampler, shuffle=config["shuffle"])


def measures(config: BDConfig, host: BDConfig, split, folder: str) -> dict[str, Callable[[int], None]]:
    """Timed steps by name, RecBole's with the settings `host`; each callable takes the number of the pass."""
    device = config["device"]
    found: dict[str, Callable[[int], None]] = {}
    warm, both = build(config, split), build(config, split)
    host_trainers = {name: host_trainer(host.role(name), split, folder) for name in host.backbones}
    warm_trainers = {name: role_trainer(role, Journal(), SEPARATE) for name, role in warm.items()}
    for name in config.backbones:
        theirs, ours = host_loader(host.role(name), split), train_loader(warm[name].config, split)
        found[f"recbole_{name}_epoch"] = lambda n, name=name, loader=theirs: host_trainers[name]._train_epoch(loader, n)
        found[f"warmup_{name}_epoch"] = lambda n, name=name, loader=ours: warm_trainers[name]._train_epoch(loader, n)

    method = config.method_class(config, split.train, both).to(device)
    trainer = BDTrainer(config, method, Journal())
    stream = batch_stream({n: both[n].config for n in method.learners}, split, lambda n: both[n].model)
    found["refresh"] = lambda n: method.refresh(0)

    def bd_epoch(n: int) -> None:
        # Epochs between two refreshes: epoch numbers of one period without its first.
        trainer._train_epoch(stream, 1 + n % max(_period(config) - 1, 1))

    found["bd_epoch"] = bd_epoch

    def evaluate(trainers, loader) -> None:
        for one in trainers.values():
            one.evaluate(loader, load_best_model=False)

    sampler = create_samplers(config, split.dataset, [split.train, split.valid, split.test])[1]
    host_valid = get_dataloader(config, "valid")(config, split.valid, sampler, shuffle=False)
    for one in (*host_trainers.values(), *warm_trainers.values()):
        one.eval_collector.data_collect(stream)
    found["recbole_evaluation"] = lambda n: evaluate(host_trainers, host_valid)
    found["evaluation"] = lambda n: evaluate(warm_trainers, split.valid_loader)
    return found


def run(config: BDConfig, host: BDConfig, repeats: int, with_evaluation: bool, clock: str) -> dict:
    """Time all steps alternately, `repeats` times each, and take medians; RecBole's with the settings `host`."""
    now = CLOCKS[clock]
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    device = config["device"]
    split = load_split(config)
    with tempfile.TemporaryDirectory() as folder:
        timed = measures(config, host, split, folder)
        if not with_evaluation:
            timed = {name: action for name, action in timed.items() if "evaluation" not in name}
        seconds: dict[str, list[float]] = {name: [] for name in timed}
        for number in range(repeats + 1):
            for name, action in timed.items():
                _wait(device)
                start = now()
                action(number)
                _wait(device)
                if number:
                    seconds[name].append(now() - start)
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ours = medians["bd_epoch"] + (medians["refresh"] / _period(config) if _period(config) > 1 else 0)
    apart = medians["recbole_teacher_epoch"] + medians["recbole_student_epoch"]
    ratios = {
        "bd / recbole apart": ours / apart,
        "warmup / recbole, teacher": medians["warmup_teacher_epoch"] / medians["recbole_teacher_epoch"],
        "warmup / recbole, student": medians["warmup_student_epoch"] / medians["recbole_student_epoch"],
    }
    if with_evaluation:
        ratios["evaluation / recbole"] = medians["evaluation"] / medians["recbole_evaluation"]
    return {
        "dataset": config["dataset"],
        "pair": [f"{model} {_size(config.role(name))}" for name, model in config.backbones.items()],
        "batch_size": config.role("teacher")["train_batch_size"],
        "method": config["model"],
        "refresh_period": _period(config),
        "samples_per_positive": _samples(config),
        "seconds": medians,
        "spread": {name: [min(values), max(values)] for name, values in seconds.items()},
        "ratios": ratios,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "gpu_peak_mb": torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "clock": clock,
        "versions": {
            "recbole_bd": recbole_bd.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _period(config) -> int:
    """Epochs between two refreshes; methods without the setting prepare every epoch. With 1, epochs refresh."""
    return config["refresh_period"] or 1


def _samples(config) -> str | None:
    """Items drawn per positive, for the teacher and for the student if these differ."""
    own = [config[option_of_direction("samples_per_positive", learner, config)] for learner in PAIR]
    return " and ".join(map(str, dict.fromkeys(own))) if any(own) else None


def _size(config) -> int:
    return (
        config["hidden_size"] or config["embedding_size"] or config["mf_embedding_size"] or config["latent_dimension"]
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def table(result: dict) -> str:
    """The result as text."""
    samples = f"{result['samples_per_positive']} sample(s), " if result["samples_per_positive"] else ""
    lines = [
        f"{result['dataset']}, {result['method']}, {' / '.join(result['pair'])}, batch {result['batch_size']}, "
        f"P {result['refresh_period']}, {samples}{result['threads']} thread(s), {result['device']}",
        f"{result['processor']}; torch {result['versions']['torch']}; medians of {result['repeats']}",
        "",
        f"{'what':<26}{'median s':>10}{'min':>10}{'max':>10}",
    ]
    for name, value in result["seconds"].items():
        low, high = result["spread"][name]
        lines.append(f"{name:<26}{value:>10.3f}{low:>10.3f}{high:>10.3f}")
    lines += ["", *(f"{name:<26}{value:>10.3f}" for name, value in result["ratios"].items())]
    lines.append(f"{'peak memory, MB':<26}{result['peak_mb']:>10.0f}")
    if result["gpu_peak_mb"]:
        lines.append(f"{'peak GPU memory, MB':<26}{result['gpu_peak_mb']:>10.0f}")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--pair", default="BPR,BPR", help="teacher and student model")
    parser.add_argument(
        "--recbole-pair", help="models that RecBole trains beside, by their own losses; by default the same pair"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--without-evaluation", action="store_true", help="do not time evaluation, which takes longest for NeuMF"
    )
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="wall: time that passes; cpu: time of all threads of this process, for a machine that others use too",
    )
    parser.add_argument("--json", help="file for the result")
    known, rest = parser.parse_known_args()
    settings, files, _ = parse_arguments(rest)
    teacher, student = known.pair.split(",")
    chosen = {"teacher_model": teacher, "student_model": student, "dataset": known.dataset, "device": known.device}
    fixed = {"threads": known.threads, "show_progress": False, "distill_epochs": 100}
    config = BDConfig(config_file_list=files, command_line={**fixed, **chosen, **settings}, methods=METHODS)
    host = config
    if not known.recbole_pair and any(config.role(name)["own_loss"] == "softmax" for name in PAIR):
        parser.error("RecBole has no softmax as own loss: name models of its own, as in --recbole-pair=BPR,BPR")
    if known.recbole_pair:
        teacher, student = known.recbole_pair.split(",")
        shared = {key: value for key, value in settings.items() if not re.search(r"(^|\.)(own_loss|softmax_\w+)$", key)}
        chosen |= {"teacher_model": teacher, "student_model": student}
        host = BDConfig(config_file_list=files, command_line={**fixed, **chosen, **shared}, methods=METHODS)
    result = run(config, host, known.repeats, not known.without_evaluation, known.clock)
    print(table(result))
    if known.json:
        Path(known.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

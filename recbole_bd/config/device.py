"""The device that a run uses: the CPU, or one of this machine's GPUs for each process."""

import os
import re

import torch

from recbole_bd.errors import ConfigError
from recbole_bd.system.distributed import group, has_gpu_for_each
from recbole_bd.system.torchrun import local_rank, processes_here


def choose_device(wanted: str, use_gpu: bool, gpu_id: str | int | None) -> torch.device:
    """Choose the device of this process.

    Args:
        wanted: the setting `device`: cpu, cuda, cuda:N or auto.
        use_gpu: whether auto may choose a GPU.
        gpu_id: the GPU that auto chooses, if given and CUDA_VISIBLE_DEVICES is not set. Several processes ignore it.

    Raises:
        ConfigError: no such device, or fewer GPUs than processes on this machine.
    """
    several_processes = group().size > 1  # each process on a machine has a GPU of its own
    if wanted == "auto":
        if not use_gpu or not torch.cuda.is_available():
            return torch.device("cpu")
        # A preset CUDA_VISIBLE_DEVICES already names the GPU, and changes the numbers that gpu_id counts by.
        named = gpu_id is not None and "CUDA_VISIBLE_DEVICES" not in os.environ and not several_processes
        wanted = f"cuda:{gpu_id}" if named else "cuda"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
        raise ConfigError(f"device={wanted!r}: expected cpu, cuda, cuda:N or auto")
    if wanted == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(f"device={wanted!r}: torch finds no GPU; use --device=cpu")
    if several_processes and (":" in wanted or not has_gpu_for_each()):
        raise ConfigError(
            f"device={wanted!r}: this machine runs {processes_here()} processes and has {torch.cuda.device_count()} "
            "GPU(s), but each process needs its own: use --device=cuda with no more processes than GPUs, or "
            "--device=cpu"
        )
    if several_processes:
        return torch.device("cuda", local_rank())
    if ":" in wanted and int(wanted.split(":")[1]) >= torch.cuda.device_count():
        raise ConfigError(f"device={wanted!r}: this machine has {torch.cuda.device_count()} GPU(s)")
    return torch.device(wanted)

"""RecBole's flags for several processes (`--nproc`, `--ip`, `--port`, `--world_size`), handed to torch's launcher."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from recbole_bd.config.arguments import count_of
from recbole_bd.errors import ConfigError
from recbole_bd.system.torchrun import started_rank

_FLAGS = ("nproc", "ip", "port", "world_size", "group_offset")


@dataclass(frozen=True)
class Processes:
    """Processes to start.

    Attributes:
        here: number of processes on this machine.
        machines: number of machines.
        machine: number of this one, from 0.
        ip, port: address of the first machine.
    """

    here: int
    machines: int
    machine: int
    ip: str
    port: int


def wanted(settings: MutableMapping[str, Any]) -> Processes | None:
    """Remove RecBole's flags from the settings and return the processes they ask for; None for one process.

    Args:
        settings: settings of the command line. As in RecBole, `nproc` counts the processes on this machine,
            `world_size` those on all machines, and `group_offset` those on the machines before this one.

    Raises:
        ConfigError: the numbers contradict each other.
    """
    given = {flag: settings.pop(flag) for flag in _FLAGS if flag in settings}
    if started_rank() is not None:
        return None
    here = count_of("nproc", given.get("nproc", 1))
    everywhere = here if given.get("world_size", -1) == -1 else count_of("world_size", given["world_size"])
    offset = given.get("group_offset", 0)
    if everywhere == 1:
        return None
    if everywhere % here or not isinstance(offset, int) or offset % here or not 0 <= offset < everywhere:
        raise ConfigError(
            f"world_size={everywhere}, nproc={here}, group_offset={offset}: every machine has nproc processes, and "
            "group_offset is the number of processes on the machines before it"
        )
    port = given.get("port", 5678)
    port = count_of("port", int(port) if str(port).isdecimal() else port)  # RecBole's default is a string
    return Processes(here, everywhere // here, offset // here, str(given.get("ip", "localhost")), port)


def launch(processes: Processes, words: list[str]) -> int:
    """Start the processes of a run with torch's launcher, which ends all when one fails.

    Args:
        processes: processes to start.
        words: the command line of each.

    Returns:
        Exit code: exit code of the first process that failed, or 0.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    where = (
        ["--standalone"]
        if processes.machines == 1
        else [
            f"--nnodes={processes.machines}",
            f"--node_rank={processes.machine}",
            f"--master_addr={processes.ip}",
            f"--master_port={processes.port}",
        ]
    )
    try:
        main([*where, f"--nproc_per_node={processes.here}", "-m", "recbole_bd", *without_flags(words)])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SystemExit as error:
        return int(error.code or 0) if not isinstance(error.code, str) else 1
    return 0


def without_flags(words: list[str]) -> list[str]:
    """The words without `--nproc=2` and the like, and without a value that follows as a separate word."""
    kept: list[str] = []
    is_value = False
    for word in words:
        key, equals, _ = word.partition("=")
        is_flag = key.startswith("--") and key[2:] in _FLAGS
        if not is_flag and not (is_value and not word.startswith("--")):
            kept.append(word)
        is_value = is_flag and not equals
    return kept

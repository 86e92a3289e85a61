"""Entries of a leaderboard that small programs run in the place of real runs."""

import sys
from pathlib import Path

from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.schedule import Entry

# Stand-in for a run: it makes its folder, writes the status `running`, sleeps, and finishes.
CHILD = """
import json, os, pathlib, sys, time
folder, hash_, seconds, how = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
if how == "refuse":
    sys.exit("some warning\\nrecbole-bd: error: no such thing")
mine = folder / f"{hash_}-{os.getpid()}"
if how == "was there":
    mine = folder / f"{hash_}-of-another"
mine.mkdir(parents=True)
record = {"schema": 2, "status": "running", "method": hash_, "dataset": "toys", "seed": 1, "config_hash": hash_,
          "hashes": {"settings": hash_, "model": hash_}, "learners": [], "valid_metric": "ndcg@5", "command": "",
          "data": {"fingerprint": "f"}, "started": time.time(), "pid": os.getpid()}
def write(**more):
    (mine / "part").write_text(json.dumps({**record, **more}))
    (mine / "part").replace(mine / "result.json")
write()
time.sleep(seconds)
if how == "beside":
    other = folder / f"{hash_}-of-another"
    other.mkdir()
    (other / "result.json").write_text(json.dumps({**record, "pid": 1}))
if how == "crash":
    raise RuntimeError("it broke")
if how == "die":
    os.kill(os.getpid(), 9)
if how == "fail":
    write(status="failed", error="the loss is not finite")
    sys.exit(1)
if how == "was there":
    record["pid"] = 1
entry = {"valid": {"ndcg@5": .5}, "test": {"ndcg@5": .5}, "best_epoch": 0}
write(status="finished", ended=time.time(), timing={"total_s": seconds},
      model={"model": "Pop", "parameters": 1, "separate": entry})
"""


def entry(folder: Path, name: str, seconds: float = 0.05, how: str = "finish") -> Entry:
    record = {
        "schema": 2,
        "method": name,
        "dataset": "toys",
        "seed": 1,
        "config_hash": name,
        "hashes": {"settings": name, "model": name},
        "learners": [],
        "valid_metric": "ndcg@5",
        "command": "recbole-bd run",
    }
    return Entry(record, (sys.executable, "-S", "-c", CHILD, str(folder), name, str(seconds), how))


def entries_of(folder: Path, count: int, seconds: float = 0.05) -> list[Entry]:
    return [entry(folder, f"m{number}", seconds) for number in range(count)]


def finished(folder: Path) -> list[str]:
    return [run.result["config_hash"] for run in runs_below(folder) if run.result["status"] == "finished"]

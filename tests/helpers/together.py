"""Jobs of several processes in `test_distributed.py`: `torchrun tests/helpers/together.py SETTINGS OUT`.

The test itself does every job in the same way with one process. The first process writes the result of each job.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from recbole_bd import run_bd
from recbole_bd.evaluator.per_user import PerUser
from recbole_bd.runs.progress import Progress
from recbole_bd.runs.trained_model import load_trained
from recbole_bd.sampler.direction import Direction
from recbole_bd.sampler.sampler import DistillationSampler
from recbole_bd.sampler.seen_items import SeenItems
from recbole_bd.system.distributed import alone, group, joined, with_gradient_all_reduce
from recbole_bd.trainer.evaluation import evaluate as evaluate_role
from recbole_bd.trainer.journal import Journal
from tests.helpers.pictures import undrawn


def run(settings: dict) -> dict:
    """A run: its losses, and its result."""
    result = run_bd(config_dict=settings)
    if not group().is_first:
        return {}
    losses = Progress.load(Path(result["run_folder"])).journal["losses"]
    kept = {name: result[name] for name in ("teacher", "student", "model", "run_folder") if name in result}
    return {**kept, "losses": losses}


def evaluate(path: str) -> dict:
    """Metrics and the users' own values of a model that is there."""
    trained = load_trained(path)
    per_user = PerUser(trained.split)
    metrics = {}
    for part in ("valid", "test"):
        loader = getattr(trained.split, f"{part}_loader")
        metrics[part] = evaluate_role(trained.role, trained.split, loader, Journal(), part, per_user=per_user)
    users = per_user.users.tolist()
    return {"metrics": metrics, "users": users, "values": {key: v.tolist() for key, v in per_user.values.items()}}


def scores_of(table: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Logits of all items, of some, or of each user's own."""

    def scores(users: torch.Tensor, items: torch.Tensor | None = None) -> torch.Tensor:
        if items is None:
            return table[users].clone()
        return table[users].gather(1, items if items.dim() == 2 else items.expand(len(users), -1))

    return scores


def draw(ranks: str, users: int = 700, items: int = 400) -> dict:
    """Two refreshes, the second of some users only, and a batch's items, shared out."""
    generator = torch.Generator().manual_seed(3)
    pairs = torch.randint(1, users, (6000,), generator=generator), torch.randint(1, items, (6000,), generator=generator)
    seen = SeenItems(*pairs, users, items)
    tables = {name: torch.randn(users, items, generator=generator) for name in ("teacher", "student")}
    directions = {"student": Direction("own_top"), "teacher": Direction("rank_discrepancy", "tanh", 0.01)}
    sampler = DistillationSampler(seen, directions, (2 * seen.counts).clamp(min=1), ranks, 100, seed=5)
    scores = {name: scores_of(table) for name, table in tables.items()}
    sampler.refresh(scores)
    pools = {f"first {name}": pool.tolist() for name, pool in sampler.pools.items()}
    sampler.refresh(scores, users=torch.arange(1, users)[::3])
    pools |= {f"second {name}": pool.tolist() for name, pool in sampler.pools.items()}
    if sampler.candidates:
        pools |= {f"known {name}": known.tolist() for name, known in sampler.candidates.known.items()}
    batch = torch.arange(1, 11)
    part = group().part(10)
    items = group().all_gather(sampler.sample("student", batch[part], 4, (part.start, 10)))
    pools["batch"] = torch.cat(items).tolist()
    pools["state"] = sampler.generator.get_state().tolist()
    return pools


def gradients() -> dict:
    """Sums of gradients, of parameters that a process's rows do not reach too, and what others get of the first."""
    own = group()
    used, unused, some = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    loss = (used * (own.rank + 1)).sum() + (some.sum() if own.rank == 1 else 0.0)
    with_gradient_all_reduce(loss, [used, unused, some]).backward()
    with alone():
        assert group().size == 1
    told = own.broadcast(lambda: {"rank": own.rank})
    return {
        "used": used.grad.tolist(),
        "unused": unused.grad,
        "some": None if some.grad is None else some.grad.tolist(),
        "told": own.all_gather(told),
        "greatest": own.all_max(7 * own.rank),
        "parts": own.all_gather((own.part(10).start, own.part(10).stop)),
    }


def jobs(settings: dict) -> dict:
    """Everything, by name."""
    done = {"draw": {ranks: draw(ranks) for ranks in ("binned", "sampled")}, "gradients": gradients()}
    for name, one in settings["runs"].items():
        done[name] = run(one)
    done["evaluate"] = {role: evaluate(path) for role, path in settings["models"].items()}
    return done


def threads() -> list[str]:
    """Names of this process's threads, those that libraries started too; none where the system does not say."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def main() -> None:
    """Do the jobs together."""
    torch.set_num_threads(1)
    settings, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    with joined() as own, undrawn():
        done = jobs(settings)
    if own.is_first:
        out.write_text(json.dumps({**done, "threads after": threads()}))


if __name__ == "__main__":
    main()

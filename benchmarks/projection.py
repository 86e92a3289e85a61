"""Quality of a model of embeddings that keeps only a few directions of each of its two tables.

    python benchmarks/projection.py RUN/teacher.pth [--sizes=5,25]

Users' vectors, and items' vectors, are projected onto the directions of their largest variance (PCA); the mean is kept.
Nothing is trained. This is the least squared distance that vectors of so few numbers can be restored with linearly, the
target of DE. Prints the share of variance that is kept, and the validation metric of the projected model.
"""

import argparse

import torch

from recbole_bd import load_data_and_model
from recbole_bd.backbones.names import SEPARATE
from recbole_bd.backbones.role import Role
from recbole_bd.trainer.journal import Journal
from recbole_bd.trainer.role_trainer import role_trainer


def projected(vectors: torch.Tensor, size: int) -> tuple[torch.Tensor, float]:
    """Project rows onto the directions of their largest variance; row 0, padding, does not count.

    Args:
        vectors: [N, d].
        size: directions to keep.

    Returns:
        [N, d], and the share of variance that is kept.
    """
    mean = vectors[1:].mean(dim=0)
    centred = (vectors - mean).double()
    values, directions = torch.linalg.eigh(centred[1:].T @ centred[1:])
    kept = directions[:, -size:]
    return (centred @ kept @ kept.T).to(vectors.dtype) + mean, float(values[-size:].sum() / values.sum())


def main() -> None:
    """Read the command line, project, validate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="teacher.pth or student.pth of a run whose model is BPR or MF")
    parser.add_argument("--sizes", default="5,25")
    known = parser.parse_args()
    config, model, _, _, valid, _ = load_data_and_model(known.file)
    trainer = role_trainer(Role("model", model, config), Journal(), SEPARATE)
    trainer.eval_collector.data_collect(valid)
    tables = [table.weight for table in (model.user_embedding, model.item_embedding)]
    whole = [table.detach().clone() for table in tables]
    for size in [None, *(int(word) for word in known.sizes.split(","))]:
        found = [(table, 1.0) if size is None else projected(table, size) for table in whole]
        for table, (values, _) in zip(tables, found, strict=True):
            table.data.copy_(values)
        score = trainer.evaluate(valid, load_best_model=False)[trainer.valid_metric]
        shares = ", ".join(f"{share:.0%} of {kind}" for (_, share), kind in zip(found, ("users", "items"), strict=True))
        print(f"{size or 'all'} directions: variance {shares}; {trainer.valid_metric} {score:.4f}")


if __name__ == "__main__":
    main()

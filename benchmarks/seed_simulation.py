"""How often tests call two equal methods different, where the seed of a run decides part of its quality.

    python benchmarks/seed_simulation.py [--users=300] [--repeats=2000]

Two methods without a difference are compared again and again, at the level of 5 %. The difference of user u under seed
s is U(u) + S(s) + E(u, s), all normal with mean 0. *seed effect* is the standard deviation of S as a multiple of the
standard error that the users leave in one seed's mean. In the records of CiteULike it is .6 to 2.7.
"""

import argparse

import numpy as np

from recbole_bd.evaluator.crossed import crossed_test
from recbole_bd.evaluator.significance import t_test

LEVEL = 0.05
# Standard deviations of U and E, about those of differences of NDCG@50 on CiteULike, up to a common factor.
OF_USERS, OF_REST = 0.3, 1.0


def rejected(users: int, seeds: int, seed_effect: float, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Simulate comparisons of equal methods.

    Args:
        users, seeds: numbers of each.
        seed_effect: standard deviation of S, in standard errors of one seed's mean over users.
        repeats: number of comparisons.
        seed: of the draws.

    Returns:
        Share of comparisons whose p value is below 5 %: by the paired t test over users, whose values are averaged
        over seeds, and with users and seeds crossed.
    """
    generator = np.random.default_rng(seed)
    of_seeds = seed_effect * np.hypot(OF_USERS, OF_REST) / users**0.5
    found = np.zeros(2)
    for _ in range(repeats):
        differences = OF_USERS * generator.normal(size=(users, 1)) + of_seeds * generator.normal(size=(1, seeds))
        differences = differences + OF_REST * generator.normal(size=(users, seeds))
        nothing = np.zeros_like(differences)
        found += t_test(nothing[:, 0], differences.mean(axis=1)) < LEVEL, crossed_test(nothing, differences) < LEVEL
    over_users, crossed = found / repeats
    return float(over_users), float(crossed)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=2000)
    known = parser.parse_args()
    print("| seeds | seed effect | over users alone | users and seeds crossed |")
    print("|---:|---:|---:|---:|")
    for seeds in (2, 3, 5, 10):
        for seed_effect in (0, 1, 2, 4):
            over_users, crossed = rejected(known.users, seeds, seed_effect, known.repeats)
            print(f"| {seeds} | {seed_effect} | {over_users:.1%} | {crossed:.1%} |", flush=True)


if __name__ == "__main__":
    main()

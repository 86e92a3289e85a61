"""Words that a pair of tests allows. Nothing here needs SciPy, torch or RecBole."""

# Level of the tests, after Holm's correction.
ALPHA = 0.05
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"


def verdict(difference: float | None, users_p: float | None, crossed_p: float | None, seeds: int) -> str:
    """State which of two methods is better, or with one seed which of two trained models.

    A statement about methods needs both tests. Over users it says that the models differ on such users; with users and
    seeds crossed, that other seeds would show it too.

    Args:
        difference: mean difference, above 0 where the second is better.
        users_p: p value over users, whose values are averaged over seeds; None where no test was possible.
        crossed_p: p value with users and seeds crossed (`crossed`); None with one seed. Both are corrected by Holm's
            method within their family.
        seeds: number of seeds that both sides have.

    Returns:
        `better`, `worse` or `no difference shown`; with one seed `these two models: better` or `... worse`.
    """
    known = [p for p in (users_p, crossed_p if seeds > 1 else users_p) if p is not None]
    if difference is None or len(known) < 2 or max(known) >= ALPHA:
        return NO_DIFFERENCE
    word = BETTER if difference > 0 else WORSE
    return word if seeds > 1 else f"these two models: {word}"

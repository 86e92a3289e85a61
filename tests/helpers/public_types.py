"""Use of the public names as a checker of types sees it. `mypy` checks this file with the package; nothing runs it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import recbole_bd
from recbole_bd import (
    BDError,
    Distiller,
    compare,
    compare_crossed,
    holm,
    load_data_and_model,
    paired,
    per_user,
    run_bd,
)
from recbole_bd.evaluator.crossed import Crossed
from recbole_bd.evaluator.significance import Comparison
from recbole_bd.testing import check_backbone

assert_type(recbole_bd.__version__, str)
assert_type(run_bd(dataset="ml-100k", config_dict={"student.embedding_size": 16}), dict[str, Any])
assert_type(compare([0.1, 0.2], [0.2, 0.3]), Comparison)
assert_type(compare([0.1, 0.2], [0.2, 0.3]).t_p, float | None)
assert_type(compare_crossed(np.zeros((2, 2)), np.ones((2, 2))), Crossed)
assert_type(holm([0.1, None]), list[float | None])
assert_type(BDError("one line").exit_code, int)
users, values = per_user("saved/RUN")
assert_type(values, dict[str, NDArray[Any]])
assert_type(paired("saved/A", "saved/B")[1], dict[str, NDArray[Any]])
config, model, dataset, train_data, valid_data, test_data = load_data_and_model("saved/RUN/student.pth")
check: Callable[..., None] = check_backbone


class Mine(Distiller):
    """A method of a user's own."""

    learners = ("student",)


recbole_bd.no_such_name  # type: ignore[attr-defined]  # noqa: B018
run_bd(datset="ml-100k")  # type: ignore[call-arg]

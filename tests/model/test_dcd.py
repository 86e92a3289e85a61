"""DCD: its terms written out, on both sides, and the items it takes."""

import itertools
import math

import pytest
import torch

from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.config.unread_keys import settings_notes
from recbole_bd.errors import ConfigError
from tests.helpers.rankings import ranking, score
from tests.helpers.references import own_items
from tests.helpers.scenes import Scene, pair
from tests.helpers.settings import make_config

OPTIONS = {
    "list_length": 12, "corrected_items": 4, "interesting_items": 4, "uninteresting_items": 6, "rank_temperature": 2.0,
    "lambda_teacher_to_student": 0.3,
}  # fmt: skip


def relaxed(above: list[float], below: list[float]) -> float:
    own, others = ([math.exp(z) for z in logits] for logits in (above, below))
    return -sum(math.log(own[k] / (sum(own[k:]) + sum(others))) for k in range(len(own)))


def users_ranking(scene: Scene, role: str, item: int) -> list[int]:
    """The users who have not seen an item as a role ranks them for it, the best first."""
    left = [user for user in range(1, scene.split.n_users) if item not in own_items(scene.method.seen, user)]
    return sorted(left, key=lambda user: -score(scene, role, user, item))


def check_drawn(under: list[int], over: list[int], order: list[int], own: list[int]) -> None:
    """Drawn from the head of the order, distinct and in it; such whose ranks differ in this direction come first."""
    head = order[:12]
    lower = [one for place, one in enumerate(head) if own.index(one) > place]
    higher = [one for place, one in enumerate(head) if own.index(one) < place]
    for drawn, wanted in ((under, lower), (over, higher)):
        places = [head.index(one) for one in drawn]
        assert places == sorted(set(places))
        assert len(set(drawn) & set(wanted)) == min(4, len(wanted))  # the others have weight 1e-5


@pytest.mark.parametrize(
    "weights", [(1.0, 1.0, 0.0), (0.0, 2.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.0, 2.0), (0.5, 1.0, 2.0)]
)
def test_dcd_is_its_equation_once_per_user_and_item(weights, quick):
    order_weight, user_weight, item_weight = weights
    named = {"order_weight": order_weight, "user_side_weight": user_weight, "item_side_weight": item_weight}
    scene = Scene(quick, model="DCD", **OPTIONS, **named)
    method, batch, total = scene.method, scene.batch_of(STUDENT), 0.0
    users, items = (sorted(set(ids.tolist())) for ids in (batch.users, batch.positives))
    assert len(users) < len(batch.users)

    def logits(user, listed):
        return [score(scene, STUDENT, user, item) for item in listed]

    for user in users:
        if order_weight:
            listed, rest = (table[user].tolist() for table in (method.interesting, method.uninteresting))
            total += order_weight * relaxed(logits(user, listed), logits(user, rest)) / len(users)
        if user_weight:
            under, over = method.under_user[user].tolist(), method.over_user[user].tolist()
            check_drawn(under, over, ranking(scene, TEACHER, user), ranking(scene, STUDENT, user))
            total += user_weight * relaxed(logits(user, under), logits(user, over)) / len(users)
    for item in items if item_weight else ():
        under, over = method.under_item[item].tolist(), method.over_item[item].tolist()
        check_drawn(under, over, users_ranking(scene, TEACHER, item), users_ranking(scene, STUDENT, item))
        of_users = ([score(scene, STUDENT, user, item) for user in some] for some in (under, over))
        total += item_weight * relaxed(*of_users) / len(items)
    assert float(method.loss(STUDENT, batch)["distill"].detach()) == pytest.approx(0.3 * total, rel=1e-5)


def test_the_correction_raises_what_is_ranked_too_low(quick):
    scene = Scene(quick, model="DCD", order_weight=0.0, **OPTIONS)
    users = scene.batch_of(STUDENT).users.unique()
    under, over = (getattr(scene.method, f"{kind}_user")[users].long() for kind in ("under", "over"))
    columns = torch.cat([under, over], dim=1)
    logits = scene.roles[STUDENT].pair_logits(users, columns).detach().requires_grad_()
    scene.roles[STUDENT].pair_logits = lambda *_: logits
    scene.method.transfer(users, scene.batch_of(STUDENT)).backward()
    last = logits.grad[:, 3]  # below all other underestimated items, above the overestimated
    assert (last < 0).any()
    assert (logits.grad[:, 0] < 0).all()
    assert (logits.grad[:, 4:] > 0).all()


def test_the_student_is_ranked_every_refresh_period(quick):
    scene = Scene(quick, model="DCD", **OPTIONS, refresh_period=3)
    found = []
    for epoch in range(5):
        assert scene.method.refresh(epoch)
        found.append((scene.method.under_user.clone(), scene.method.uninteresting.clone()))
    changed = [[not torch.equal(a, b) for a, b in zip(*two, strict=True)] for two in itertools.pairwise(found)]
    assert changed == [[False, True], [False, True], [True, True], [False, True]]


def test_batches_of_users_take_a_training_item_of_each(quick):
    scene = Scene(pair(quick, "BPR", "ENMF"), model="DCD", **OPTIONS, item_side_weight=1.0, user_side_weight=0.0)
    assert scene.batch_of(STUDENT).positives is None
    assert scene.gradients(STUDENT)[STUDENT] > 0


def test_without_a_weight_nothing_is_taught(quick):
    with pytest.raises(
        ConfigError, match="order_weight, user_side_weight, item_side_weight: all are 0, so nothing is t"
    ):
        Scene(quick, model="DCD", order_weight=0, user_side_weight=0)


def test_options_of_a_term_without_weight_are_told(quick):
    settings = {"dataset": "ml-100k", "model": "DCD"}
    config = make_config(settings, order_weight=0, rank_temperature=3)
    assert any("rank_temperature" in note and "order_weight is 0" in note for note in settings_notes(config))
    config = make_config(settings, user_side_weight=0, list_length=30)
    assert any("list_length" in note and "item_side_weight are 0" in note for note in settings_notes(config))
    assert not any("list_length" in note for note in settings_notes(make_config(settings, list_length=30)))

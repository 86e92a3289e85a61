"""New bests of several learners, counted for early stopping."""

from recbole_bd.trainer.improvements import Improvements


def test_a_best_is_new_only_above_the_one_before():
    found = Improvements(["teacher", "student"], ["teacher"])
    assert [found.is_new_best("teacher", score) for score in (-5.0, -5.0, -4.0, 1.0, 0.5)] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert found.best_scores["teacher"] == 1.0
    assert found.waits == {"teacher": 1, "student": 0}
    assert not found.is_new_best("teacher", float("nan"))
    assert found.waits["teacher"] == 2


def test_the_start_is_the_first_to_beat_and_no_improvement():
    found = Improvements(["teacher", "student"], ["teacher", "student"])
    assert found.begins_at("teacher", 0.5)
    assert not found.begins_at("student", float("nan"))
    assert [found.is_new_best("teacher", score) for score in (0.25, 0.5, 0.75)] == [False, False, True]
    assert found.waits == {"teacher": 0, "student": 0}
    assert found.is_new_best("student", -1.0)
    assert found.count == 0


def test_only_bests_of_watched_roles_count():
    found = Improvements(["teacher", "student"], ["teacher"])
    assert [found.counted(improved) for improved in (["student"], ["teacher"], [], ["student", "teacher"])] == [
        -1,
        1,
        -1,
        2,
    ]
    assert found.count == 2


def test_kept_counts_are_gone_on_with():
    first, second = (Improvements(["teacher", "student"], ["student"]) for _ in range(2))
    for score in (0.5, 0.25):
        first.is_new_best("student", score)
    first.counted(["student"])
    state = first.state_dict()
    second.load_state_dict({**state, "resting": []})
    first.is_new_best("student", 0.75)
    assert second.state_dict() == state
    assert state == {
        "best_scores": {"teacher": float("-inf"), "student": 0.5},
        "improvements": 1,
        "waits": {"teacher": 0, "student": 1},
    }
    assert not second.is_new_best("student", 0.5)
    assert second.counted(["student"]) == 2

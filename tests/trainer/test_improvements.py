"""New bests of several learners, counted for early stopping."""

from recbole_bd.trainer.improvements import Improvements


def test_a_best_is_new_only_above_the_one_before():
    found = Improvements(["teacher", "student"], ["teacher"])
    scores = (-5.0, -5.0, -4.0, 1.0, 0.5, float("nan"))
    found_new = [found.is_new_best("teacher", score, 5 * number) for number, score in enumerate(scores)]
    assert found_new == [True, False, True, True, False, False]
    assert found.best_scores["teacher"] == 1.0
    assert found.best_epochs == {"teacher": 15, "student": -1}


def test_the_start_is_the_first_to_beat_and_no_improvement():
    found = Improvements(["teacher", "student"], ["teacher", "student"])
    assert found.begins_at("teacher", 0.5)
    assert not found.begins_at("student", float("nan"))
    assert [found.is_new_best("teacher", score, 0) for score in (0.25, 0.5)] == [False, False]
    assert found.best_epochs == {"teacher": -1, "student": -1}
    assert found.is_new_best("teacher", 0.75, 1)
    assert found.is_new_best("student", -1.0, 1)
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
        first.is_new_best("student", score, 4)
    first.counted(["student"])
    state = first.state_dict()
    second.load_state_dict({**state, "resting": []})
    first.is_new_best("student", 0.75, 9)
    assert second.state_dict() == state
    assert state == {
        "best_scores": {"teacher": float("-inf"), "student": 0.5},
        "improvements": 1,
        "best_epochs": {"teacher": -1, "student": 4},
        "to_beat": {},
        "first_epochs": {},
    }
    assert not second.is_new_best("student", 0.5, 9)
    assert second.counted(["student"]) == 2


def test_patience_counts_from_the_first_epoch_of_a_turn():
    found = Improvements(["teacher", "student"], ["student"])
    found.begins_at("student", 0.5)
    assert found.waited("student", 3) == 4
    for epoch in (4, 5):
        found.begins_in("student", epoch)
    assert [found.waited("student", epoch) for epoch in (4, 7)] == [1, 4]
    other = Improvements(["teacher", "student"], ["student"])
    other.load_state_dict(found.state_dict())
    assert other.waited("student", 7) == 4
    found.is_new_best("student", 0.75, 6)
    assert found.waited("student", 7) == 1


def test_a_role_that_begins_anew_improves_below_its_warm_up():
    found = Improvements(["teacher", "student"], ["student"])
    found.begins_at("student", 0.5, anew=True)
    for epoch, score in enumerate((0.1, 0.2, 0.15, 0.4, 0.6)):
        is_best = found.is_new_best("student", score, epoch)
        assert is_best == (score > 0.5)
        assert (found.best_epochs["student"] == epoch) == (score != 0.15)
    assert (found.best_epochs["student"], found.best_scores["student"]) == (4, 0.6)
    assert found.waited("student", 6) == 2
    resumed = Improvements(["teacher", "student"], ["student"])
    resumed.load_state_dict(found.state_dict())
    assert resumed.state_dict() == found.state_dict()
    assert resumed.to_beat == {"student": 0.5}
    resumed.load_state_dict({key: value for key, value in found.state_dict().items() if key != "to_beat"})
    assert resumed.to_beat == {}  # earlier versions had none

"""The record of a run: rows, durations, warnings, and what is written of it."""

import logging

import pytest

from recbole_bd.trainer import journal as module
from recbole_bd.trainer.journal import ROWS, Journal


def filled(journal: Journal) -> Journal:
    journal.loss("separate", "student", 0, {"cf": 0.5}, learning_rate=0.001)
    journal.validation("separate", "student", 0, {"ndcg@5": 0.25, "hit@5": 0.5})
    journal.validation("distilled", "student", 0, {"ndcg@5": 0.75, "hit@5": 1.0})
    journal.warn("zero", "separate", "student", 0, "no hits")
    return journal


def test_rows_have_their_place_first():
    journal = filled(Journal())
    assert journal.losses == [{"stage": "separate", "role": "student", "epoch": 0, "cf": 0.5}]
    assert journal.of("distilled", "student") == [
        {"stage": "distilled", "role": "student", "epoch": 0, "ndcg@5": 0.75, "hit@5": 1.0}
    ]
    assert journal.of("distilled", "teacher") == []


def test_a_warning_of_a_kind_is_kept_once_for_each_role_and_arm(caplog):
    journal = filled(Journal())
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        journal.warn("zero", "separate", "student", 3, "again")
        journal.warn("scores", "separate", "student", 3, "large")
        journal.warn("zero", "distilled", "student", 3, "no hits")
    assert [record.getMessage() for record in caplog.records] == [
        "student separate: epoch 3, large",
        "student distilled: epoch 3, no hits",
    ]
    assert [(one["kind"], one["epoch"]) for one in journal.warnings_of("separate", "student")] == [
        ("zero", 0),
        ("scores", 3),
    ]


def test_a_warning_of_the_data_is_kept_once_for_each_part(caplog):
    journal = Journal()
    for part in ("valid", "test", "test"):
        journal.warn("repeated", "data", part, -1, f"7 of the {part} part")
    again = Journal()
    again.load_state_dict(journal.state_dict())
    again.warn("repeated", "data", "test", -1, "7 of the test part")
    assert again.warnings == [
        {"kind": "repeated", "stage": "data", "role": part, "epoch": -1, "message": f"7 of the {part} part"}
        for part in ("valid", "test")
    ]
    assert caplog.messages == ["data: 7 of the valid part", "data: 7 of the test part"]


def test_every_validation_is_watched_by_a_copy():
    seen = []
    journal = Journal(watch=seen.append)
    filled(journal)
    assert seen == journal.validations
    seen[0]["epoch"] = 99
    assert journal.validations[0]["epoch"] == 0


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    times = {"now": 100.0}
    monkeypatch.setattr(module.time, "perf_counter", lambda: times["now"])
    return times


def test_durations_are_listed_by_name_and_broken_blocks_are_not(clock):
    journal = Journal()
    for seconds in (2.0, 0.12344):
        with journal.timed("epoch"):
            clock["now"] += seconds
    with pytest.raises(KeyError), journal.timed("epoch"):
        raise KeyError
    assert journal.seconds == {"epoch": [2.0, 0.1234]}


def test_the_time_before_a_stop_is_added_to_the_block_that_goes_on(clock):
    first, second = Journal(), Journal()
    with first.timed("epoch"):
        clock["now"] += 5.0
        state = first.state_dict()
    assert state["unfinished"] == {"epoch": 5.0}
    second.load_state_dict(state)
    with second.timed("epoch"):
        clock["now"] += 3.0
        assert second.state_dict()["unfinished"] == {"epoch": 8.0}
    with second.timed("epoch"):
        clock["now"] += 1.0
    assert second.seconds == {"epoch": [8.0, 1.0]}


def test_a_record_goes_on_where_it_was():
    first, second = filled(Journal()), Journal()
    first.seconds["eval"] = [1.0]
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    second.loss("separate", "student", 1, {"cf": 0.25})
    second.seconds["eval"].append(2.0)
    assert (len(first.losses), first.seconds) == (1, {"eval": [1.0]})


def test_rows_of_an_earlier_warm_up_are_recorded_again():
    seen, first = [], filled(Journal())
    second = Journal(watch=seen.append)
    rows = {name: [row for row in getattr(first, name) if row["stage"] == "separate"] for name in ROWS}
    second.replay(first.rows_of("separate", "student"))
    assert {name: getattr(second, name) for name in ROWS} == rows
    assert all(rows.values()), "a list without a row shows nothing"
    assert seen == rows["validations"]


def test_metrics_are_a_table_of_all_columns(tmp_path):
    journal = filled(Journal(tmp_path))
    journal.validation("distilled", "teacher", 1, {"ndcg@5": 0.5, "mrr@5": 0.125})
    journal.write_metrics()
    assert (tmp_path / "metrics.csv").read_text() == (
        "stage,role,epoch,ndcg@5,hit@5,mrr@5\n"
        "separate,student,0,0.25,0.5,\n"
        "distilled,student,0,0.75,1.0,\n"
        "distilled,teacher,1,0.5,,0.125\n"
    )


@pytest.mark.parametrize("recorded", [False, True])
def test_nothing_is_written_without_rows_or_a_folder(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = filled(Journal()) if recorded else Journal(tmp_path)
    journal.write_metrics()
    assert list(tmp_path.iterdir()) == []


class Kept:
    def __init__(self):
        self.numbers = []

    def log_metrics(self, step, values):
        self.numbers.append((step, values))

    def close(self, status):
        pass


LOSSES = [(0, {"loss/separate/student/cf": 0.5})]
RATES = [(0, {"train/separate/student/learning_rate": 0.001})]
VALIDATIONS = [
    (0, {"valid/separate/student/ndcg@5": 0.25, "valid/separate/student/hit@5": 0.5}),
    (0, {"valid/distilled/student/ndcg@5": 0.75, "valid/distilled/student/hit@5": 1.0}),
]


def test_every_number_goes_to_the_loggers_as_it_is_recorded():
    journal, kept = Journal(), Kept()
    journal.attach(kept)
    filled(journal)
    assert kept.numbers == LOSSES + RATES + VALIDATIONS
    del kept.numbers[:]
    journal.loss("placebo", "teacher", 3, {"cf": 0.5, "distill": 0.25}, learning_rate=0.01)
    journal.test("placebo", "teacher", -1, {"ndcg@5": 0.5})
    assert kept.numbers == [
        (3, {"loss/placebo/teacher/cf": 0.5, "loss/placebo/teacher/distill": 0.25}),
        (3, {"train/placebo/teacher/learning_rate": 0.01}),
        (-1, {"test/placebo/teacher/ndcg@5": 0.5}),
    ]


def test_a_logger_receives_what_was_recorded_before():
    first, second, kept = filled(Journal()), Journal(), Kept()
    first.loss("separate", "student", 1, {"cf": 0.25}, learning_rate=0.01)
    second.load_state_dict(first.state_dict())
    second.attach(kept)
    later = [(1, {"loss/separate/student/cf": 0.25})], [(1, {"train/separate/student/learning_rate": 0.01})]
    assert kept.numbers == [*LOSSES, *later[0], *RATES, *later[1], *VALIDATIONS]


def test_a_record_of_an_earlier_version_has_no_learning_rates():
    state = filled(Journal()).state_dict()
    del state["learning_rates"]
    journal = Journal()
    journal.load_state_dict(state)
    assert journal.learning_rates == []

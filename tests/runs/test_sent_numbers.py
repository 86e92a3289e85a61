"""What was sent to a tool is sent once, whatever processes a run has."""

import pytest

from recbole_bd.errors import CheckpointError
from recbole_bd.runs.sent_numbers import OnlyNew, SentNumbers

RUN = {"id": "one"}
LOSS, VALID = (
    {"loss/separate/teacher/cf": 0.5},
    {"valid/separate/teacher/ndcg@5": 0.25, "valid/separate/teacher/hit@5": 1},
)


class Tool:
    def __init__(self):
        self.calls = []

    def log_metrics(self, step, values):
        self.calls.append((step, values))

    def close(self, status):
        self.calls.append(status)


def process(path, run, numbers, arrived=None) -> list:
    """What a process passes on to the tool."""
    sent, tool = SentNumbers(path), Tool()
    sent.begin(run, arrived)
    one = OnlyNew(tool, sent)
    for step, values in numbers:
        one.log_metrics(step, values)
    one.close("finished")
    return tool.calls[:-1]


def test_a_new_process_passes_on_only_what_is_new(tmp_path):
    path = tmp_path / "sent.jsonl"
    first = [(0, LOSS), (0, VALID), (1, LOSS)]
    assert process(path, RUN, first) == first
    assert process(path, RUN, [*first, (1, VALID), (2, LOSS)]) == [(1, VALID), (2, LOSS)]
    assert process(path, {"id": "another"}, first) == first


def test_what_did_not_arrive_is_passed_on_again(tmp_path):
    path = tmp_path / "sent.jsonl"
    first = [(0, LOSS), (0, VALID), (1, LOSS)]
    process(path, RUN, first)
    assert process(path, RUN, first, arrived=1) == first[1:]
    assert process(path, RUN, first, arrived=3) == []


def test_a_line_that_a_kill_has_cut_off_does_not_count(tmp_path):
    path = tmp_path / "sent.jsonl"
    process(path, RUN, [(0, LOSS), (0, VALID)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1])[:-5])  # without the end
    assert process(path, RUN, [(0, LOSS), (0, VALID)]) == [(0, VALID)]
    assert process(path, RUN, [(0, LOSS), (0, VALID)]) == []


@pytest.mark.parametrize("unsure", [0.0, 1.5])
def test_what_a_killed_tool_may_have_held_in_memory_is_passed_on_again(unsure, tmp_path, monkeypatch):
    path, clock, tool = tmp_path / "sent.jsonl", iter([100.0, 101.0, 102.0]), Tool()
    sent = SentNumbers(path)
    sent.begin(RUN)
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: next(clock))
        for step in range(3):
            OnlyNew(tool, sent).log_metrics(step, LOSS)
    again = SentNumbers(path)
    again.begin(RUN, unsure=unsure)
    assert [step for _, step in again.calls] == ([0] if unsure else [0, 1, 2])
    again.end("finished")
    closed = SentNumbers(path)
    closed.begin(RUN, unsure=unsure)
    assert closed.calls == again.calls


def test_what_the_tool_refuses_is_not_recorded(tmp_path):
    sent, tool = SentNumbers(tmp_path / "sent.jsonl"), Tool()
    sent.begin(RUN)
    tool.log_metrics = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        OnlyNew(tool, sent).log_metrics(0, LOSS)
    assert process(tmp_path / "sent.jsonl", RUN, [(0, LOSS), (0, {})]) == [(0, LOSS)]


@pytest.mark.parametrize("text", ["\n", "[1]\n", "{}\n{}\n", "nothing\n", '{}\n{"numbers": 1}\n'])
def test_a_damaged_record_is_named(text, tmp_path):
    path = tmp_path / "sent.jsonl"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"sent.jsonl, without which the run is logged anew, is damaged: "):
        SentNumbers(path)


def test_a_record_that_cannot_be_written_is_named(tmp_path):
    sent = SentNumbers(tmp_path / "sent.jsonl")
    sent.path = tmp_path / "gone" / "sent.jsonl"
    with pytest.raises(CheckpointError, match=r"sent.jsonl cannot be written: No such file or directory"):
        sent.add(("loss", 0))

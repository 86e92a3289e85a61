"""What a leaderboard says of its pairs before distillation."""

from recbole_bd.leaderboard.formats import rules
from recbole_bd.leaderboard.pairs import pair_notes
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import two_roles, write_run

BOTH = ("teacher", "student")


def known(ratio, correlation, headroom):
    return {"complementarity": {"ratio": ratio, "correlation": correlation, "headroom": headroom}}


def test_methods_share_the_note_of_their_pair_which_is_a_mean_over_seeds(tmp_path):
    for method in ("BD", "RD"):
        write_run(tmp_path, method, 1, two_roles(0.3, 0.2), BOTH, **known(0.5, 0.2, 0.1))
        write_run(tmp_path, method, 2, two_roles(0.3, 0.2), BOTH, **known(0.7, None, 0.3))
    notes = pair_notes(runs_below(tmp_path))
    assert notes == [
        "BPR (80 parameters) and BPR (10 parameters), mean of 2 seeds: Before distillation the student has 60% of the "
        "teacher's validation ndcg@5; over users, the correlation of their values is 0.20; the better role for each "
        "user would give 20.0% more than one role for all."
    ]
    assert rules(judge(build(runs_below(tmp_path))))[-1:] == notes


def test_baselines_and_earlier_records_have_no_note(tmp_path):
    write_run(tmp_path, "Pop", 1, {"model/separate": 0.1})
    write_run(tmp_path, "BD", 1, two_roles(0.3, 0.2), BOTH)
    assert pair_notes(runs_below(tmp_path)) == []

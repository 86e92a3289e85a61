"""`recbole-bd leaderboard` as a user meets it."""

from recbole_bd.leaderboard.command import run_leaderboard
from tests.helpers.boards import write_board


def test_the_table_is_printed(cli, tmp_path):
    write_board(tmp_path / "runs")
    shown = run_leaderboard({"from": str(tmp_path / "runs")})
    assert cli("leaderboard", f"--from={tmp_path / 'runs'}") == (0, shown + "\n", "")


def test_a_dry_run_is_of_one_run(cli):
    message = "--dry-run applies to a single run: recbole-bd run --dry-run"
    assert cli("leaderboard", "--models=Pop", "--seeds=1", "--dry-run") == (2, "", f"recbole-bd: error: {message}\n")


def test_a_folder_alone_is_told_of_from(cli, tmp_path):
    message = f"'{tmp_path}' is not a setting: to show the runs of a folder, write --from={tmp_path}"
    assert cli("leaderboard", tmp_path) == (2, "", f"recbole-bd: error: {message}\n")

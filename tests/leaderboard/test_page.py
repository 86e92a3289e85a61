"""The page in a real browser: sorting, curves, commands, and that nothing comes from or goes outside."""

import json
import re

import pytest

from recbole_bd.leaderboard.page import _facts, page
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import two_roles, write_board, write_run
from tests.helpers.browser import in_browser

EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 2'>"


@pytest.fixture(scope="module")
def shown(tmp_path_factory, browser):
    """The page of a board whose folder names, errors and commands are hostile, in a browser."""
    folder = tmp_path_factory.mktemp("board")
    write_board(folder)
    evil = write_run(folder, "EASE", 1, {"model/separate": 0.15}, name="<script>window.evil=3<", command=EVIL)
    assert evil.name.startswith("<script>")
    write_run(
        folder, f"CD{EVIL}", 1, two_roles(0.3, 0.2, 0.01), ("student",), name="CD", command=f"run '{EVIL}'",
        objective={"distilled": {"student": f"loss(student) = BPR + {EVIL}"}},
    )  # fmt: skip
    write_run(folder, "RRD", 1, None, ("student",), status="failed", error=f"</script>{EVIL}")
    path = folder / "leaderboard.html"
    path.write_text(page(judge(build(runs_below(folder)))), encoding="utf-8")
    browser.open(path)
    return browser, path


COLUMN = "[...document.querySelectorAll('#board tbody tr.row')].map(r => r.cells[{}]?.dataset.value ?? null)"
HEADER = "#board thead th:nth-child({}) button"
STATE = "[...document.querySelectorAll('#board thead th')].map(h => h.getAttribute('aria-sort'))"
NDCG = 5


@in_browser
def test_a_click_on_a_header_sorts_and_another_turns_it_round(shown):
    browser, _ = shown
    browser.click(HEADER.format(NDCG + 1))
    values = browser.run(COLUMN.format(NDCG))
    numbers = [float(value) for value in values if value is not None]
    assert len(numbers) == 11
    assert numbers == sorted(numbers, reverse=True)
    assert browser.run(STATE).count("descending") == 1
    assert browser.run(STATE)[NDCG] == "descending"
    browser.click(HEADER.format(NDCG + 1))
    numbers = [float(value) for value in browser.run(COLUMN.format(NDCG)) if value is not None]
    assert numbers == sorted(numbers)
    assert browser.run(STATE)[NDCG] == "ascending"
    assert values[-2:] == [None, None], "what failed stays last"
    browser.click(HEADER.format(1))
    names = [name.lower() for name in browser.run(COLUMN.format(0))]
    assert names == sorted(names)
    assert browser.run(STATE)[0] == "ascending"
    assert browser.run(STATE)[NDCG] == "none"


@in_browser
def test_parameters_sort_as_numbers_and_by_the_keyboard(shown):
    browser, _ = shown
    browser.run(f"document.querySelector({HEADER.format(4)!r}).focus()")
    browser.press("Enter", "\r")
    numbers = [int(value) for value in browser.run(COLUMN.format(3)) if value is not None]
    assert numbers == sorted(numbers, reverse=True)
    assert browser.run(STATE)[3] == "descending"


@in_browser
def test_a_click_on_a_row_shows_its_curves_and_commands(shown):
    browser, _ = shown
    row = "tr.row:has(th[data-value='student, BD'])"
    browser.click(f"{row} button.open")
    assert browser.run(f"document.querySelector(\"{row} button.open\").getAttribute('aria-expanded')") == "true"
    detail = f'document.querySelector("{row} + tr.details")'
    of_line = "l => [l.getAttribute('class'), l.getAttribute('points')]"
    lines = browser.run(f"[...{detail}.querySelectorAll('polyline')].map({of_line})")
    stages = [line.removeprefix("curve ") for line, _ in lines]
    assert sorted(stages) == sorted(["separate", "continued", "distilled"] * 2)  # of two seeds
    for _, points in lines:
        pairs = [tuple(map(float, point.split(","))) for point in points.split()]
        assert len(pairs) == 3
        assert all(0 <= x <= 560 and 0 <= y <= 300 for x, y in pairs)
        assert pairs[0][1] > pairs[-1][1], "a rising metric is drawn upwards"
    assert browser.run(f"{detail}.querySelector('svg').getBoundingClientRect().height") > 100
    commands = browser.run(f"[...{detail}.querySelectorAll('code')].map(c => c.textContent)")
    assert commands == [f"recbole-bd run --model=BD --seed={seed}" for seed in (1, 2)]
    before = lines[0][1]
    choose = "s => { s.value = 'hit@5'; s.dispatchEvent(new Event('change')) }"
    browser.run(f"({choose})({detail}.querySelector('select'))")
    assert browser.run(f"{detail}.querySelectorAll('polyline')[0].getAttribute('points')") != before
    browser.click(HEADER.format(1))
    assert browser.run(f"{detail} !== null"), "the details moved away from their row"
    browser.click(f"{row} td:nth-child(3)")
    assert browser.run(f"{detail} === null"), "another click closes them"


@in_browser
def test_the_details_show_the_objective_as_text(shown):
    browser, _ = shown
    row = f"[...document.querySelectorAll('tr.row')].find(r => r.textContent.includes({json.dumps(EVIL)}))"
    browser.run(f"{row}.querySelector('button.open').click()")
    detail = f"{row}.nextElementSibling"
    assert browser.run(f"{detail}.querySelector('.objective').textContent") == f"loss(student) = BPR + {EVIL}"
    browser.run(f"{row}.querySelector('button.open').click()")


@in_browser
def test_the_copy_button_copies_the_command(shown):
    browser, _ = shown
    row = "tr.row:has(th[data-value='BPR'])"
    browser.click(f"{row} button.open")
    browser.run("window.copied = null; document.addEventListener('copy', () => { copied = getSelection().toString() })")
    # A page opened from a file has no clipboard of the newer kind in a browser without a window.
    browser.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    browser.click(f"{row} + tr.details .command button")
    assert browser.run("copied") == "recbole-bd run --model=BPR --seed=1"
    assert browser.run(f'document.querySelector("{row} + tr.details .command button").textContent') == "Copied"


@in_browser
def test_hostile_text_is_shown_and_never_run(shown):
    browser, _ = shown
    open_all = "b => b.getAttribute('aria-expanded') === 'true' || b.click()"
    browser.run(f"document.querySelectorAll('button.open').forEach({open_all})")
    assert browser.run("document.querySelectorAll('tr.details').length") == 13
    text = browser.run("document.body.textContent")
    assert text.count("window.evil = 1") >= 4
    assert "<script>window.evil=3<" in text
    assert browser.run("window.evil === undefined")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.scripts.length") == 2


@in_browser
def test_nothing_is_fetched_and_the_console_is_silent(shown):
    browser, path = shown
    browser.run("new Promise(done => setTimeout(done, 100))")
    assert path.as_uri() in browser.requests
    assert [url for url in browser.requests if url not in (path.as_uri(), "data:,")] == []
    assert browser.problems == []
    browser.run("fetch('https://example.org/').catch(() => 0)")
    assert any("Content Security Policy" in problem for problem in browser.problems), "the policy is not in force"


def test_the_page_names_no_address_and_reads_without_a_script(tmp_path):
    write_board(tmp_path)
    text = page(judge(build(runs_below(tmp_path))))
    outside = [url for url in re.findall(r"(?:https?:)?//[\w.]+", text.replace("http://www.w3.org/2000/svg", ""))]
    assert [url for url in outside if not url.startswith("//")] == []
    assert "default-src 'none'" in text
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    assert "0.2600" in table
    assert table.count('<tr class="row') == 10
    assert "the student&#39;s loss is not finite" in table


def test_the_details_of_a_row_state_its_objective(tmp_path):
    line = "loss(student) = BPR + 2.0 * listwise(</script>)"
    objective = {"separate": {"student": "loss(student) = BPR"}, "distilled": {"student": line}}
    write_run(tmp_path, "BD", 1, two_roles(0.3, 0.2, 0.1), ("teacher", "student"), objective=objective)
    write_run(tmp_path, "CD", 1, two_roles(0.3, 0.2, 0.1), ("student",))
    board = judge(build(runs_below(tmp_path)))
    stated = {row.name: row.objective for row in board.rows}
    assert stated["student, BD"] == line
    assert stated["student, CD"] == "", "its run is older than the key"
    shown = re.search(r'id="data"[^>]*>(.*?)</script>', page(board), re.DOTALL)[1]
    assert {row["name"]: row["objective"] for row in json.loads(shown)["rows"]} == stated


def test_a_page_without_data_states_no_counts(failed_board, board):
    seeds = [("seeds", "1"), ("selected by", "validation ndcg@5")]
    assert _facts(failed_board) == seeds
    assert _facts(board)[:3] == [("users", "40"), ("items", "9"), ("interactions", "80")]
    assert "seed 1 failed: no data" in page(failed_board)

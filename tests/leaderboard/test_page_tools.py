"""The page's picture and tools in a real browser: filter, columns, copies, colours, narrow windows and paper."""

import csv
import io
import json
import time
from itertools import pairwise

import pytest

from recbole_bd.leaderboard.formats import latex, markdown
from recbole_bd.leaderboard.page import page
from recbole_bd.leaderboard.run_reader import runs_below
from recbole_bd.leaderboard.tables import build
from recbole_bd.leaderboard.verdicts import judge
from tests.helpers.boards import two_roles, write_board, write_run, write_serving
from tests.helpers.browser import in_browser

EVIL = "<img src=x onerror='window.evil = 1'>"
NAMES = (
    "[...document.querySelectorAll('#board tbody tr.row')].filter(r => !r.hidden).map(r => r.cells[0].dataset.value)"
)
POINTS = "[...document.querySelectorAll('#drawing g.point[data-row]')]"
NDCG = 7


@pytest.fixture(scope="module")
def shown(tmp_path_factory, browser):
    """Browser, folder and board: one run was measured by `serve-bench`, one has a hostile label."""
    folder = tmp_path_factory.mktemp("board")
    write_serving(write_board(folder)[2], teacher=2.0, student=0.5)
    write_run(folder, "CD", 1, two_roles(0.3, 0.2, 0.01), ("student",), label=f"CD {EVIL}")
    board = judge(build(runs_below(folder)))
    (folder / "page.html").write_text(page(board), encoding="utf-8")
    return browser, folder, board


@pytest.fixture
def opened(shown):
    """The page as it is when it is opened, in a wide window."""
    browser, folder, board = shown
    browser.emulate()
    browser.open(folder / "page.html")
    yield browser, board
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert browser.problems == []
    assert browser.run("window.evil === undefined")


def copied(browser, form: str) -> str:
    """What the copy button puts into the clipboard."""
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.choose("#form", form)
    browser.click("#copy")
    browser.settle()
    return browser.run("navigator.clipboard.readText()")


@in_browser
def test_the_filter_keeps_rows_with_all_of_its_words(opened):
    browser, board = opened
    every = browser.run(NAMES)
    assert every == [row.name for row in board.rows]
    browser.type("#filter", "STUDENT  bd")
    assert browser.run(NAMES) == ["student, BD"]
    assert browser.run("document.querySelector('#count').textContent") == f"1 of {len(every)} rows"
    assert browser.run(f"{POINTS}.length") == 1, "the picture shows the rows of the table"
    browser.type("#filter", "no such row")
    assert browser.run(NAMES) == []
    assert browser.run("document.querySelector('#none').hidden") is False
    browser.type("#filter", "<img")
    assert len(browser.run(NAMES)) == 1
    browser.type("#filter", "")
    assert browser.run(NAMES) == every
    assert browser.run("document.querySelector('#count').textContent") == f"{len(every)} rows"


@in_browser
def test_filtered_rows_are_sorted_and_stay_filtered(opened):
    browser, board = opened
    browser.type("#filter", "student")
    browser.run("document.querySelector('tr.row:not([hidden]) button.open').click()")
    browser.click(f"#board thead th:nth-child({NDCG + 1}) button")
    means = {row.name: row.cells["ndcg@5"].mean for row in board.rows if row.runs}
    names = browser.run(NAMES)
    finished = [name for name in names if name in means]
    assert finished == sorted(finished, key=means.get, reverse=True)
    assert all(name.startswith("student") for name in names)
    opened_row = "document.querySelector('tr.details').previousElementSibling.cells[0].dataset.value"
    assert browser.run(opened_row) == "student, separate", "details stay with their row"
    browser.type("#filter", "teacher")
    assert browser.run("document.querySelector('tr.details').hidden"), "and are hidden with it"
    browser.type("#filter", "")
    values = [means[name] for name in browser.run(NAMES) if name in means]
    assert values == sorted(values, reverse=True)


@in_browser
def test_columns_are_hidden_and_shown_by_the_keyboard(opened):
    browser, board = opened
    browser.run("document.querySelector('#columns summary').focus()")
    browser.press("Enter", "\r")
    labels = browser.run("[...document.querySelectorAll('#columns label')].map(l => l.textContent.trim())")
    assert labels == ["size", "model", "parameters", "n", "ms, 1 user", "ms, 64 users", *board.metrics]
    browser.press("Tab")
    browser.press(" ", " ")
    visible = "[...document.querySelectorAll('#board thead th')].filter(h => h.offsetWidth).map(h => h.textContent)"
    assert browser.run(visible) == ["row", *labels[1:]]
    browser.press("Escape")
    assert browser.run("document.querySelector('#columns').open") is False
    assert browser.run("document.activeElement.textContent") == "Columns (1 hidden)"
    count = "[...r.cells].filter(c => !c.hidden).reduce((n, c) => n + c.colSpan, 0)"
    widths = f"[...document.querySelectorAll('#board tr.row')].map(r => {count})"
    assert set(browser.run(widths)) == {len(labels)}, "a failed row has as many columns"
    browser.run("document.querySelector('#columns').open = true")
    browser.run("[...document.querySelectorAll('#columns input')].slice(-2).forEach(box => box.click())")
    assert browser.run(visible) == ["row", *labels[1:-2]]
    browser.click("#all-columns")
    assert browser.run(visible) == ["row", *labels]
    browser.click("h1")
    assert browser.run("document.querySelector('#columns').open") is False


@in_browser
def test_the_copy_is_what_is_visible_in_the_words_of_the_files(opened):
    browser, board = opened
    browser.run(
        "[...document.querySelectorAll('#columns input')].filter((_, i) => [0, 4, 5].includes(i))"
        ".forEach(box => box.click())"
    )
    lines = copied(browser, "md").splitlines()
    assert lines[:2] == [
        "| row | model | parameters | n | ndcg@5 | hit@5 |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    file = markdown(board).splitlines()
    finished = [row.name for row in board.rows if row.runs]
    assert len(lines) == 2 + len(board.rows)
    assert [line in file for line in lines[2:]].count(True) == len(finished)
    assert "| student, DE |  |  | 0 | failed | failed |" in lines
    browser.run("document.querySelectorAll('#columns input')[3].click()")
    text = copied(browser, "tex")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert text.splitlines()[1] == r"\begin{tabular}{llrrr}"
    file = latex(board).splitlines()
    assert [line in file for line in rows[1:]].count(True) == len(finished)


@in_browser
def test_the_csv_holds_full_numbers_and_follows_filter_order_and_columns(opened):
    browser, board = opened
    browser.type("#filter", "student")
    browser.click("#board thead th:nth-child(1) button")
    header, *rows = csv.reader(io.StringIO(copied(browser, "csv")))
    ms = ["ms, 1 user", "ms, 64 users"]
    assert header == ["row", "size", "model", "parameters", "n", *ms, "ndcg@5", "ndcg@5 std", "hit@5", "hit@5 std"]
    names = [row.name for row in board.rows if row.size == "student"]
    assert [row[0] for row in rows] == sorted(names, key=str.lower)
    found = {row.name: row for row in board.rows}
    for name, *cells in rows:
        row = found[name]
        if row.runs:
            cell = row.cells["ndcg@5"]
            assert [float(text) for text in cells[6:8] if text] == [x for x in (cell.mean, cell.std) if x is not None]
            assert cells[4:6] == ["0.5", "32.0"]
        else:
            assert set(cells[4:]) == {""}


@in_browser
def test_without_a_clipboard_the_copy_uses_a_field_and_a_file_can_be_saved(opened, tmp_path):
    browser, _ = opened
    before = copied(browser, "csv")
    browser.run("window.copied = null; document.addEventListener('copy', () => { copied = getSelection().toString() })")
    browser.run("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    browser.click("#copy")
    assert browser.run("copied").splitlines() == before.splitlines()
    assert browser.run("document.querySelectorAll('textarea').length") == 0
    assert browser.run("document.querySelector('#said').textContent").endswith("rows as CSV copied")
    browser.run("document.execCommand = () => false")
    browser.click("#copy")
    assert browser.run("document.querySelector('#copy').textContent") == "Not allowed here"
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.click("#download")
    path = tmp_path / "leaderboard-toys.csv"
    for _ in range(100):
        if path.exists():
            break
        time.sleep(0.05)
    assert path.read_text(encoding="utf-8") == before


@in_browser
def test_the_picture_places_rows_by_parameters_and_quality(opened):
    browser, board = opened
    place = "g => { const b = g.querySelector('.dot').getBoundingClientRect(); return [g.dataset.row, b.x, b.y] }"
    places = {int(row): (x, y) for row, x, y in browser.run(f"{POINTS}.map({place})")}
    rows = dict(enumerate(board.rows))
    assert set(places) == {number for number, row in rows.items() if row.runs}
    ordered = sorted(places, key=lambda number: -rows[number].cells["ndcg@5"].mean)
    heights = [places[number][1] for number in ordered]
    assert all(later > earlier - 1 for earlier, later in pairwise(heights))
    rightmost = max(x for number, (x, _) in places.items() if rows[number].size == "student")
    assert rightmost < min(x for number, (x, _) in places.items() if rows[number].size == "full")
    names = browser.run("[...document.querySelectorAll('#drawing text.name')].map(t => t.textContent)")
    best = {size: max((r for r in board.rows if r.size == size and r.runs), key=lambda r: r.cells["ndcg@5"].mean).name
            for size in ("full", "student")}  # fmt: skip
    assert set(names) == set(best.values()), "the front is named"
    browser.choose("#metric", "hit@5")
    title = browser.run(f"{POINTS}[0].querySelector('title').textContent")
    assert "hit@5" in title


@in_browser
def test_milliseconds_are_those_of_serve_bench_for_all_rows_with_the_model(opened):
    browser, board = opened
    browser.choose("#cost", "1")
    titles = dict(browser.run(f"{POINTS}.map(g => [g.dataset.row, g.querySelector('title').textContent])"))
    ticks = browser.run("[...document.querySelectorAll('#drawing text[text-anchor=middle]')].map(t => t.textContent)")
    assert ticks == ["0.5", "1", "2", "milliseconds per request of 1 user, logarithmic"]
    for number, title in titles.items():
        assert title.endswith("0.500 ms" if board.rows[int(number)].size == "student" else "2.000 ms")
    assert {board.rows[int(number)].name for number in titles} == {
        row.name for row in board.rows if row.runs and row.role != "model"
    }
    assert "not measured: BPR; Pop." in browser.run("document.querySelector('#drawing').textContent")


@in_browser
def test_a_point_and_its_row_point_at_each_other(opened):
    browser, _ = opened
    row = "document.querySelector(\"tr.row:has(th[data-value='student, BD'])\")"
    browser.run(f"{row}.querySelector('button.open').focus()")
    assert browser.run("document.querySelector('#pointed').textContent").startswith("student, BD: ndcg@5 0.26")
    number = browser.run(f"{row}.dataset.row")
    assert browser.run("document.querySelector('g.point.lit').dataset.row") == number
    browser.click(f"g.point[data-row='{number}'] .dot")
    assert browser.run(f"{row}.querySelector('button.open').getAttribute('aria-expanded')") == "true"
    assert browser.run(f"document.activeElement === {row}.querySelector('button.open')")


_CONTRAST = """(() => {
  const level = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const paper = level(getComputedStyle(document.body).backgroundColor);
  const ratio = (text) => {
    const own = level(text);
    return (Math.max(own, paper) + .05) / (Math.min(own, paper) + .05);
  };
  const found = { paper };
  for (const g of document.querySelectorAll('#drawing g.point')) {
    const style = getComputedStyle(g.querySelector('.dot'));
    found[g.getAttribute('class').split(' ')[1]] = ratio(g.matches('.separate') ? style.stroke : style.fill);
  }
  for (const text of document.querySelectorAll('#drawing text')) {
    found[text.getAttribute('class') || 'axis'] = ratio(getComputedStyle(text).fill);
  }
  found.text = ratio(getComputedStyle(document.body).color);
  return found;
})()"""


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_in_both_schemes(scheme, opened):
    browser, _ = opened
    browser.emulate(scheme=scheme)
    found = browser.run(_CONTRAST)
    paper = found.pop("paper")
    assert (paper < 0.05) == (scheme == "dark")
    assert set(found) == {"baseline", "separate", "continued", "distilled", "name", "axis", "text"}
    assert min(found.values()) >= 4.5, found


@in_browser
def test_a_phone_needs_no_sideways_scroll_of_the_page(opened):
    browser, _ = opened
    browser.emulate(390, 844)
    browser.run("document.querySelectorAll('button.open')[1].click()")
    browser.settle()
    assert browser.run("document.documentElement.scrollWidth") <= 390
    sizes = browser.run(
        "[...document.querySelectorAll('.drawing svg[role=img]')]"
        ".map(s => [s.getBoundingClientRect().width, s.viewBox.baseVal.width])"
    )
    assert len(sizes) >= 2
    assert all(abs(width - drawn) < 1 for width, drawn in sizes), "pictures are drawn to the width, not shrunk to it"


@in_browser
def test_paper_shows_table_and_picture_without_tools(opened):
    browser, _ = opened
    browser.emulate(media="print", scheme="dark")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heights = {name: browser.run(f"document.querySelector('{name}').getBoundingClientRect().height") for name in
               ("#tools", "#drawing svg", "#board")}  # fmt: skip
    assert heights["#tools"] == 0
    assert min(heights["#drawing svg"], heights["#board"]) > 100
    assert browser.run("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"
    titles = browser.run("[...document.querySelectorAll('#drawing svg[role=img] text')].map(t => t.textContent)")
    assert {"test ndcg@5", "parameters, logarithmic"} <= set(titles), "the picture says what it shows"


@in_browser
def test_every_control_has_a_name(opened):
    browser, _ = opened
    browser.run("document.querySelector('#columns').open = true")
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    kinds = {"button", "checkbox", "searchbox", "combobox", "img", "image", "table", "region", "columnheader"}
    nodes = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in tree if not n["ignored"]]
    nodes = [(role, name) for role, name in nodes if role in kinds]
    assert {role for role, _ in nodes} >= {"button", "checkbox", "searchbox", "combobox", "table", "columnheader"}
    assert [role for role, name in nodes if not name] == []


@in_browser
def test_a_hundred_rows_are_filtered_under_a_header_that_stays(browser, tmp_path):
    arm = {part: {"ndcg@5": 0.1, "hit@5": 0.2} for part in ("valid", "test")} | {"best_epoch": 1}
    for number in range(100):
        model = {"model": f"M{number}", "parameters": 10 * (number + 1), "separate": arm}
        (write_run(tmp_path, f"M{number}", 1, model=model) / "metrics.csv").unlink()
    (tmp_path / "page.html").write_text(page(judge(build(runs_below(tmp_path)))))
    browser.emulate()
    browser.open(tmp_path / "page.html")
    assert len(browser.run(NAMES)) == browser.run(f"{POINTS}.length") == 100
    top = "{}.top - document.querySelector('.scroll').getBoundingClientRect().top"
    top = top.format("document.querySelector('#board thead th').getBoundingClientRect()")
    browser.run("document.querySelector('.scroll').scrollTop = 2000")
    assert abs(browser.run(top)) < 2
    browser.type("#filter", "m9")
    assert len(browser.run(NAMES)) == 11
    assert browser.problems == []


@in_browser
def test_a_page_on_which_nothing_finished_has_a_table_and_no_picture(browser, failed_board, tmp_path):
    (tmp_path / "page.html").write_text(page(failed_board))
    browser.open(tmp_path / "page.html")
    assert browser.run("document.querySelector('#picture').hidden")
    assert browser.run("document.querySelector('td.failed').offsetWidth") > 0
    assert browser.problems == []


def test_values_that_are_no_numbers_leave_the_data_readable(tmp_path):
    arm = {part: {"ndcg@5": float("nan")} for part in ("valid", "test")} | {"best_epoch": 1}
    write_run(tmp_path, "Odd", 1, model={"model": "Odd", "parameters": 3, "separate": arm})
    text = page(judge(build(runs_below(tmp_path))))
    start = text.index('id="data">') + len('id="data">')
    data = json.loads(text[start : text.index("</script>", start)], parse_constant=pytest.fail)
    assert data["rows"][0]["point"]["values"] == {"ndcg@5": [None, None]}

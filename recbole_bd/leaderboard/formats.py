"""A leaderboard as text: for the terminal, Markdown in the form of RecBole's result pages, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import yaml

from recbole_bd.backbones.names import BASELINE
from recbole_bd.backbones.traits import OTHER_MODEL, TRAITS
from recbole_bd.evaluator.verdict import ALPHA
from recbole_bd.leaderboard.tables import FULL, SMALL, Board, Cell, Row
from recbole_bd.runs.text_table import epoch_text, grid

SIZES = {FULL: "full-size models", SMALL: "students"}
_PROTOCOL = (
    "eval_args", "metrics", "topk", "valid_metric", "metric_decimal_place", "USER_ID_FIELD", "ITEM_ID_FIELD",
    "load_col", "benchmark_filename", "val_interval", "filter_inter_by_user_or_item", "user_inter_num_interval",
    "item_inter_num_interval", "epochs", "distill_epochs", "eval_step", "stopping_epochs", "stopping_step",
    "early_stopping", "train_batch_size", "train_neg_sample_args",
)  # fmt: skip
_SETTINGS = ("embedding_size", "learning_rate", "weight_decay", "train_batch_size")


def rules(board: Board) -> list[str]:
    """Explanations of the marks in the table, one sentence each."""
    seeds = ", ".join(map(str, board.seeds))
    said = [
        f"Test values at the best epoch by validation {board.valid_metric}: mean ± standard deviation (n - 1) over the "
        f"seeds {seeds}.",
    ]
    if len(board.seeds) > 1 and board.data:
        said.append(
            f"The seeds differ in the {board.varied} too, so ± is the spread of both; with split_seed they share it."
            if board.varied
            else "All seeds share one split of the data, so ± is the spread of training alone."
        )
    said.append(
        "Bold: the best mean of a column among the full-size models (baselines and teachers), and among the students; "
        "rows that lack a seed do not compete."
    )
    named = {size: row.name for size, row in board.references.items()}
    if len(set(named.values())) == 1:
        compared = f"the row “{next(iter(named.values()))}”"
    else:
        compared = " and ".join(f"“{name}” for {SIZES[size]}" for size, name in named.items())
    if named:
        said += _tests(board, compared)
    return said + board.notes


def _tests(board: Board, compared: str) -> list[str]:
    """The tests behind the marks: those of methods, and those of single models where there is one seed."""
    counts = {cell.seeds for row in board.rows for cell in row.cells.values() if cell.p is not None}
    said = []
    if counts - {1}:
        said.append(
            f"*: differs from {compared} by two tests: over users, values averaged over the seeds both have, "
            "paired t test; and over users and seeds, both random, two-way variance with Satterthwaite's degrees of "
            f"freedom. Each is corrected by Holm's method over the rows of a column; both have p < {ALPHA}."
        )
    if 1 in counts:
        said.append(
            f"†: these two models differ, the row's and that of {compared}; paired t test over users, Holm's "
            f"correction over the rows of a column, p < {ALPHA}. One seed says nothing of the methods."
        )
    return said


def number(cell: Cell) -> str:
    """`0.2961 ± 0.0012`; without ± if there is one seed."""
    return f"{cell.mean:.4f}" + ("" if cell.std is None else f" ± {cell.std:.4f}")


def sections(board: Board) -> list[tuple[str, list[Row]]]:
    """The rows by size, with the size's title; sizes without rows are left out."""
    found = [(title, [row for row in board.rows if row.size == size]) for size, title in SIZES.items()]
    return [(title, rows) for title, rows in found if rows]


def failures(row: Row) -> str:
    """Reasons of the failed seeds; empty if none failed."""
    return "; ".join(f"seed {seed} failed: {reason}" for seed, reason in sorted(row.errors.items()))


def _failed_seeds(row: Row) -> dict[int, str]:
    return {seed: reason for seed, reason in row.errors.items() if seed not in row.runs}


def terminal(board: Board) -> str:
    """The table as aligned text, the best between angle brackets."""
    header = ["row", "model", "parameters", "n", *board.metrics]
    lines = []
    for _, rows in sections(board):
        for row in rows:
            about = [row.name, row.model, "" if row.parameters is None else f"{row.parameters:,}", str(len(row.runs))]
            cells = (
                [_terminal_cell(row.cells[name]) for name in board.metrics] if row.runs else [""] * len(board.metrics)
            )
            lines.append([*about, *cells])
        lines.append([""] * len(header))
    failed = [f"{row.name}: {failures(row)}" for row in board.rows if row.errors]
    said = [line.replace("Bold:", "> <:") for line in rules(board)]
    return "\n".join([f"{board.dataset}", grid(header, lines[:-1], left=(0, 1)), "", *said, *failed])


def _terminal_cell(cell: Cell) -> str:
    text = number(cell) + (cell.mark or " ")
    return f">{text}<" if cell.best else f" {text} "


def markdown(board: Board) -> str:
    """The page in the form of RecBole's result pages: setting, data, table, settings, commands."""
    data, split = board.data, board.data.get("split", {})
    lines = [f"# Leaderboard on {md(board.dataset)}", "", "## Setting", ""]
    lines += [f"- {md(line)}" for line in _setting(board)]
    protocol = {key: board.settings[key] for key in _PROTOCOL if board.settings.get(key) is not None}
    lines += ["", *_fenced("yaml", yaml.safe_dump(protocol, sort_keys=False, allow_unicode=True).rstrip()), ""]
    lines += ["## Data", "", "| users | items | interactions | sparsity | training | validation | test |"]
    lines += ["|---:|---:|---:|---:|---:|---:|---:|"]
    if data:
        numbers = [data["users"], data["items"], data["interactions"]]
        sparsity = 1 - numbers[2] / (numbers[0] * numbers[1])
        parts = [f"{split[part]:,}" for part in ("train", "valid", "test")]
        lines.append(f"| {' | '.join([*(f'{count:,}' for count in numbers), f'{sparsity:.2%}', *parts])} |")
    lines += ["", "## Results", "", f"| | model | parameters | n | {' | '.join(map(md, board.metrics))} |"]
    lines.append(f"|---|---|---:|---:|{'---:|' * len(board.metrics)}")
    for title, rows in sections(board):
        lines.append(f"| *{title}* | | | |{' |' * len(board.metrics)}")
        lines += [_md_row(row, board) for row in rows]
    lines += ["", *(md(line) + "\n" for line in rules(board))]
    failed = [f"- {md(row.name)}: {md(failures(row))}" for row in board.rows if row.errors]
    lines += ["## Failed\n", *failed, ""] if failed else []
    lines += ["## Settings of the rows", "", f"| | {' | '.join(_SETTINGS)} | best epochs |"]
    lines.append(f"|---|{'---:|' * (len(_SETTINGS) + 1)}")
    for row in board.rows:
        if row.runs:
            lines.append(f"| {' | '.join(map(md, [row.name, *settings_of(row).values()]))} |")
    lines += ["", "## Commands", "", "These commands run the first seed; change `--seed` for the others.", ""]
    lines += _fenced("bash", "\n".join(dict.fromkeys(row.first.command for row in board.rows if row.runs)))
    return "\n".join([*lines, ""])


def _fenced(language: str, text: str) -> list[str]:
    """Code block whose fence is longer than any in its text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [fence + language, text, fence]


def _setting(board: Board) -> list[str]:
    lines = [
        f"data set: {board.dataset}; seeds {', '.join(map(str, board.seeds))}",
        "evaluation: RecBole's, see eval_args; epochs selected on validation, test read once",
        f"selecting metric: {board.valid_metric}",
    ]
    run = next((row.first for row in board.rows if row.runs), None)
    if run:
        lines.append("versions: " + ", ".join(f"{name} {version}" for name, version in run.result["versions"].items()))
    return lines


def _md_row(row: Row, board: Board) -> str:
    if not row.runs:
        about = [row.name, "", "", "0", "failed: " + "; ".join(dict.fromkeys(row.errors.values()))]
        return f"| {' | '.join(map(md, about))} |" + " |" * (len(board.metrics) - 1)
    cells = [md_cell(row.cells[name]) for name in board.metrics]
    count = str(len(row.runs)) + (f" ({len(_failed_seeds(row))} failed)" if _failed_seeds(row) else "")
    return f"| {' | '.join([md(row.name), md(row.model), f'{row.parameters:,}', count, *cells])} |"


def md_cell(cell: Cell) -> str:
    """One value for Markdown: the best is bold."""
    return (f"**{number(cell)}**" if cell.best else number(cell)) + md(cell.mark)


def settings_of(row: Row) -> dict[str, str]:
    """Commonly tuned settings of the row's runs, and the best epoch of each seed, from 0, or `start`.

    All are empty for a closed-form model, which reads none of them.
    """
    if TRAITS.get(row.model, OTHER_MODEL).closed_form:
        return dict.fromkeys((*_SETTINGS, "best epochs"), "")
    settings = row.first.settings
    block = settings if row.role == BASELINE else settings.get(row.role, {})
    found = {key: _plain(block.get(key, settings.get(key))) for key in _SETTINGS}
    return {**found, "best epochs": ", ".join(epoch_text(row.entry(seed)["best_epoch"]) for seed in sorted(row.runs))}


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def md(text: str) -> str:
    """Escape text for Markdown, tables included."""
    escaped = "".join(f"\\{char}" if char in r"\`*_[]|#" else char for char in str(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def tidy_csv(board: Board) -> str:
    """A line per row, metric and seed, with the row's mean and standard deviation beside it; failed seeds too."""
    columns = [
        "row", "size", "role", "arm", "method", "model", "parameters", "metric", "seed", "status", "value", "mean",
        "std", "n", "best", "difference", "p_holm", "p_crossed_holm", "run_folder", "error",
    ]  # fmt: skip
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    for row in board.rows:
        about: dict[str, Any] = {
            "row": row.name,
            "size": row.size,
            "role": row.role,
            "arm": row.arm,
            "model": row.model,
        }
        about["parameters"] = row.parameters
        for metric, cell in row.cells.items():
            summary = {"mean": cell.mean, "std": cell.std, "n": len(cell.values), "best": cell.best}
            summary |= {"difference": cell.difference, "p_holm": cell.p, "p_crossed_holm": cell.crossed_p}
            for seed, value in sorted(cell.values.items()):
                run = row.runs[seed]
                own = {"metric": metric, "seed": seed, "status": "finished", "value": value}
                own |= {"method": run.result["method"], "run_folder": run.folder.name}
                table.writerow({**about, **summary, **own})
        for seed, reason in sorted(_failed_seeds(row).items()):
            table.writerow({**about, "seed": seed, "status": "failed", "error": reason})
    return text.getvalue()


_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "“": "``", "”": "''", "*": r"$^{*}$",
    "†": r"$^{\dagger}$",
}  # fmt: skip


_TEX_MARKS = {"": "", "*": "^{*}", "†": r"^{\dagger}"}


def tex(text: str) -> str:
    """Escape text for LaTeX; characters that pdfLaTeX's standard fonts lack become a question mark."""
    escaped = "".join(_TEX.get(char, char if char.isascii() or char in "äöüßéèáà" else "?") for char in str(text))
    return escaped.replace("\n", " ")


def latex(board: Board) -> str:
    """A table for `\\usepackage{booktabs}`."""
    count = len(board.metrics)
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering"]
    lines.append(rf"\caption{{Test results on {tex(board.dataset)}. {tex(' '.join(rules(board)))}}}")
    lines += [rf"\begin{{tabular}}{{llr{'r' * count}}}", r"\toprule"]
    lines.append(" & ".join(["", "model", "parameters", *map(tex, board.metrics)]) + r" \\")
    for title, rows in sections(board):
        lines += [r"\midrule", rf"\multicolumn{{{3 + count}}}{{l}}{{\emph{{{title}}}}} \\"]
        for row in rows:
            lines.append(_joined(row, board.metrics, tex, tex_cell))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _joined(row: Row, metrics: list[str], escape: Callable[[str], str], shown: Callable[[Cell], str]) -> str:
    if not row.runs:
        return rf"{escape(row.name)} & & & \multicolumn{{{len(metrics)}}}{{l}}{{failed}} \\"
    cells = [shown(row.cells[name]) for name in metrics]
    return " & ".join([escape(row.name), escape(row.model), f"{row.parameters:,}", *cells]) + r" \\"


def tex_cell(cell: Cell) -> str:
    """One value for LaTeX: the best is bold."""
    text = f"{cell.mean:.4f}" + ("" if cell.std is None else rf" \pm {cell.std:.4f}")
    bold = rf"\mathbf{{{text}}}" if cell.best else text
    return f"${bold}{_TEX_MARKS[cell.mark]}$"

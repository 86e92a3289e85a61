// Tools above the table: the filter, the choice of columns, and copies of what is visible.
const filter = named("filter");
const count = named("count");
const menu = named("columns");

const applyFilter = () => {
  const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = rows();
  for (const row of all) {
    const text = [...row.cells].slice(0, 3).map((cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    if (details.has(row)) details.get(row).hidden = row.hidden;
  }
  const left = shownRows().length;
  count.textContent = left === all.length ? `${left} rows` : `${left} of ${all.length} rows`;
  named("none").hidden = left > 0;
  divide();
  table.dispatchEvent(new Event("filtered"));
};

const boxes = heads.slice(1).map((head) => element("input", { type: "checkbox" }));
const firstMetric = heads.length - data.metrics.length;
const applyColumns = () => {
  heads.forEach((head, i) => { head.hidden = i > 0 && !boxes[i - 1].checked; });
  const visible = heads.filter((head) => !head.hidden).length;
  const visibleMetrics = heads.slice(firstMetric).filter((head) => !head.hidden).length;
  for (const row of rows()) {
    [...row.cells].forEach((cell, i) => {
      // The reason of a failure spans the metrics.
      const spans = cell.classList.contains("failed");
      cell.hidden = spans ? data.metrics.length > 0 && !visibleMetrics : heads[i].hidden;
      if (spans) cell.colSpan = Math.max(visibleMetrics, 1);
    });
  }
  for (const shown of details.values()) shown.cells[0].colSpan = visible;
  const hidden = heads.length - visible;
  menu.querySelector("summary").textContent = hidden ? `Columns (${hidden} hidden)` : "Columns";
};

const FORMATS = {
  csv: { name: "CSV", ending: "csv", type: "text/csv" },
  md: { name: "Markdown", ending: "md", type: "text/markdown" },
  tex: { name: "LaTeX", ending: "tex", type: "application/x-tex" },
};
const LAYOUTS = {
  csv: (lines) => lines.map((line) => line.join(",")),
  md: ([first, ...rest], kinds) => [first, kinds.map((kind) => (kind === "number" ? "---:" : "---")), ...rest].map((line) => `| ${line.join(" | ")} |`),
  tex: ([first, ...rest], kinds) => {
    const ended = (line) => `${line.join(" & ")} \\\\`;
    const begun = `\\begin{tabular}{${kinds.map((kind) => (kind === "number" ? "r" : "l")).join("")}}`;
    return ["% needs \\usepackage{booktabs}", begun, "\\toprule", ended(first), "\\midrule", ...rest.map(ended), "\\bottomrule", "\\end{tabular}"];
  },
};
// The visible columns of the visible rows, in the order of the page.
const visibleTable = (form) => {
  const places = heads.map((head, i) => i).filter((i) => !heads[i].hidden);
  const kinds = places.map((i) => heads[i].querySelector("button").dataset.kind);
  const lines = [data.columns.map((column) => column[form]), ...shownRows().map((row) => dataOf(row).copied[form])];
  return `${LAYOUTS[form](lines.map((line) => places.map((i) => line[i])), kinds).join("\n")}\n`;
};

heads.slice(1).forEach((head, i) => {
  boxes[i].checked = true;
  boxes[i].addEventListener("change", applyColumns);
  menu.querySelector("fieldset").append(element("label", {}, boxes[i], ` ${head.textContent.trim()}`));
});
named("all-columns").addEventListener("click", () => {
  for (const box of boxes) box.checked = true;
  applyColumns();
});
document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
filter.addEventListener("input", applyFilter);
named("copy").addEventListener("click", (event) => {
  const form = named("form").value;
  copy(visibleTable(form), event.currentTarget, `${shownRows().length} rows as ${FORMATS[form].name}`);
});
named("download").addEventListener("click", () => {
  const { ending, type } = FORMATS[named("form").value];
  const address = URL.createObjectURL(new Blob([visibleTable(named("form").value)], { type: `${type};charset=utf-8` }));
  const link = element("a", { href: address, download: `${data.name}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  said.textContent = `${link.download} downloaded`;
});
named("form").append(...Object.entries(FORMATS).map(([value, { name }]) => element("option", { value }, name)));
named("tools").hidden = false;
applyFilter();

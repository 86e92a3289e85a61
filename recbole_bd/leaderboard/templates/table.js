// Sorting by a click on a column's head.
const valueOf = (row, column, kind) => {
  const cell = row.cells[column];
  if (!cell || cell.dataset.value === undefined) return null;
  return kind === "number" ? Number(cell.dataset.value) : cell.dataset.value.toLowerCase();
};
const placed = (ordered) => {
  for (const row of ordered) {
    body.append(row);
    if (details.has(row)) body.append(details.get(row));
  }
};
// A line between rows of different sizes, as long as they stand in the order of the page.
const divide = () => {
  const isSorted = heads.some((head) => head.getAttribute("aria-sort") !== "none");
  let before = null;
  for (const row of shownRows()) {
    const size = row.cells[1].dataset.value;
    row.classList.toggle("division", !isSorted && before !== null && before !== size);
    before = size;
  }
};
const sortBy = (head) => {
  const column = head.cellIndex;
  const kind = head.querySelector("button").dataset.kind;
  // Numbers start with the highest, names with the first.
  const start = kind === "number" ? "descending" : "ascending";
  const other = start === "ascending" ? "descending" : "ascending";
  const direction = head.getAttribute("aria-sort") === start ? other : start;
  const sign = direction === "ascending" ? 1 : -1;
  const ordered = rows().map((row) => [valueOf(row, column, kind), row]);
  ordered.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  });
  placed(ordered.map(([, row]) => row));
  for (const cell of heads) cell.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", direction);
  divide();
  said.textContent = `Sorted by ${head.textContent.trim()}, ${direction}`;
};

for (const head of heads) head.addEventListener("click", () => sortBy(head));
divide();

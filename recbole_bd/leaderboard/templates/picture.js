// Picture of quality against parameters or milliseconds: a point for each visible row.
const ARMS = ["baseline", "separate", "continued", "placebo", "distilled"];
const MOST_NAMES = 8;
const metricChoice = named("metric");
const costChoice = named("cost");
const pointed = named("pointed");
const pen = document.createElement("canvas").getContext("2d");
pen.font = "12px system-ui, sans-serif";

const isOfParameters = () => costChoice.value === "parameters";
const costTitle = () => costChoice.selectedOptions[0].textContent;
// Points of rows that finished; `cost` and `value` are null where they are unknown or have no place on the axis.
const pointsOfRows = () => shownRows().map((line) => [line, dataOf(line)]).filter(([, row]) => row.runs.length).map(([line, row]) => {
  const [value, spread] = row.point.values[metricChoice.value];
  const cost = isOfParameters() ? row.point.parameters : row.point.milliseconds[costChoice.value];
  return { row: line.dataset.row, name: row.name, arm: row.point.arm, size: row.point.size, value, spread: spread ?? 0, cost: cost > 0 ? cost : null };
});
// Points to which no cheaper point is equal or better, the cheapest first.
const frontOf = (points) => {
  const sign = data.less_is_better.includes(metricChoice.value) ? -1 : 1;
  const front = [];
  let best = -Infinity;
  for (const point of [...points].sort((a, b) => a.cost - b.cost || sign * (b.value - a.value))) {
    if (sign * point.value > best) front.push(point);
    best = Math.max(best, sign * point.value);
  }
  return front;
};
const sentence = ({ name, value, spread, cost }) => {
  const amount = isOfParameters() ? `${cost.toLocaleString("en")} parameters` : `${cost.toFixed(3)} ms`;
  return `${name}: ${metricChoice.value} ${value.toFixed(4)}${spread ? ` ± ${spread.toFixed(4)}` : ""}, ${amount}`;
};

const mark = (size, x, y) => size === "student"
  ? drawn("circle", { class: "dot", cx: x, cy: y, r: 4.8 })
  : drawn("rect", { class: "dot", x: x - 4.3, y: y - 4.3, width: 8.6, height: 8.6 });
// Room in pixels for points beside each other at both ends of the axis, and their distance.
const roomIn = (width) => (width < 500 ? { room: 34, gap: 9 } : { room: 66, gap: 11 });
// Places of points: those that would lie on others stand beside them, as models of one size have one cost.
const spreadOut = (points, place, { room, gap }) => {
  const steps = [0];
  for (let by = gap; by <= room; by += gap) steps.push(by, -by);
  const taken = [];
  for (const point of points) {
    const [x, y] = place(point.cost, point.value);
    const step = steps.find((by) => !taken.some(([a, b]) => Math.abs(a - x - by) < gap && Math.abs(b - y) < gap)) ?? 0;
    point.at = [x + step, y];
    taken.push(point.at);
  }
};
const drawPoint = (point, place) => {
  const group = drawn("g", { class: `point ${point.arm}`, "data-row": point.row });
  const [x, y] = point.at;
  if (point.spread) {
    const [high, low] = [point.spread, -point.spread].map((more) => place(point.cost, point.value + more)[1]);
    group.append(drawn("line", { class: "spread", x1: x, x2: x, y1: high, y2: low }));
  }
  group.append(drawn("circle", { class: "reach", cx: x, cy: y, r: 11 }), mark(point.size, x, y), drawn("title", {}, sentence(point)));
  return group;
};
// Names beside the points of the front, where they hide neither a point nor another name.
const namesOf = (front, points, inner) => {
  const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const taken = points.map(({ at: [x, y] }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
  const found = [];
  for (const point of front.slice(-MOST_NAMES).reverse()) {
    const name = point.name.length > 32 ? `${point.name.slice(0, 31)}…` : point.name;
    const [x, y] = point.at;
    const width = pen.measureText(name).width;
    const lefts = [x + 9, x - 9 - width, x - width / 2];
    const bases = [y - 10, y + 4, y + 19];
    const spots = bases.flatMap((base) => lefts.map((left) => ({ left, right: left + width, top: base - 11, bottom: base + 3 })));
    const spot = spots.find((one) => one.left >= inner.left && one.right <= inner.right && one.top >= inner.top - 8 && one.bottom <= inner.bottom && !taken.some((other) => overlap(one, other)));
    if (!spot) continue;
    taken.push(spot);
    found.push(drawn("text", { class: "name", x: spot.left, y: spot.bottom - 3 }, name));
  }
  return found;
};
const legendOf = (points) => {
  const sizesOf = (arm) => ["full", "student"].filter((size) => points.some((point) => point.arm === arm && point.size === size));
  const items = ARMS.filter((arm) => sizesOf(arm).length).map((arm) => {
    const group = drawn("g", { class: `point ${arm}` });
    group.append(...sizesOf(arm).map((size, i, sizes) => mark(size, sizes.length === 1 ? 22 : 8 + 14 * i, 7)));
    return key(arm, group);
  });
  const line = drawn("line", { class: "front", x1: 0, x2: 30, y1: 7, y2: 7 });
  items.push(key(isOfParameters() ? "no smaller row is as good" : "no faster row is as good", line));
  const shapes = element("li", {}, "squares: full size, circles: students; equal sizes side by side");
  return element("ul", { class: "legend" }, ...items, ...(new Set(points.map((point) => point.size)).size > 1 ? [shapes] : []));
};
const leftOut = (points) => {
  const names = points.filter((point) => point.cost === null || point.value === null).map((point) => point.name);
  if (!names.length) return [];
  const more = names.length > 5 ? `; and ${names.length - 5} more` : "";
  return [element("p", { class: "hint" }, `Not in the picture, ${isOfParameters() ? "without a known number of parameters" : "not measured"}: ${names.slice(0, 5).join("; ")}${more}.`)];
};
const drawPicture = (width) => {
  const rowsWithRuns = pointsOfRows();
  const points = rowsWithRuns.filter((point) => point.cost !== null && point.value !== null);
  if (!points.length) return element("div", {}, element("p", { class: "hint" }, "No visible row has a point here."), ...leftOut(rowsWithRuns));
  const costs = points.map((point) => point.cost);
  const [low, high] = [Math.min(...costs), Math.max(...costs)];
  const space = roomIn(width);
  const room = high > low ? (high / low) ** (space.room / (width - 4 * space.room)) : 2;
  const x = logarithmic(low / room, high * room);
  const y = linear(...around(points.flatMap(({ value, spread }) => [value - spread, value + spread]), 0.08), 5);
  const label = `${metricChoice.value} against ${costTitle()}: ${points.length} points, whose numbers are in the table`;
  const { svg, place, inner } = frame(width, Math.round(Math.max(240, Math.min(width / 2, 380))), x, y, [`${costTitle()}, logarithmic`, `test ${metricChoice.value}`], label);
  const front = frontOf(points);
  const others = points.filter((point) => !front.includes(point));
  spreadOut([...front, ...others], place, space);
  const corners = front.map((point) => point.at.map((at) => at.toFixed(1)).join(","));
  svg.append(drawn("polyline", { class: "front", points: corners.join(" ") }));
  svg.append(...[...others, ...front].map((point) => drawPoint(point, place)), ...namesOf(front, points, inner));
  return element("div", {}, svg, legendOf(points), ...leftOut(rowsWithRuns));
};

if (data.metrics.length) {
  const costs = [["parameters", "parameters"], ...data.requests.map((size) => [String(size), `milliseconds per request of ${size} user${size === 1 ? "" : "s"}`])];
  costChoice.append(...costs.map(([value, name]) => element("option", { value }, name)));
  metricChoice.append(...data.metrics.map((name) => element("option", { value: name }, name)));
  metricChoice.value = data.metric;
  const section = named("picture");
  const picture = responsive(drawPicture, 1400);
  named("drawing").append(picture.box);
  section.hidden = false;
  picture.redraw();
  for (const choice of [metricChoice, costChoice]) choice.addEventListener("change", picture.redraw);
  table.addEventListener("filtered", picture.redraw);

  // Pointing at a point or a row shows which belong together; a click on a point opens its row.
  const pointOf = (row) => picture.box.querySelector(`g.point[data-row="${row.dataset.row}"]`);
  const light = (row) => {
    for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
    const point = row && pointOf(row);
    if (!point) return;
    point.classList.add("lit");
    row.classList.add("lit");
    pointed.textContent = point.querySelector("title").textContent;
  };
  const lineOf = (event) => {
    const point = event.target.closest("g.point[data-row]");
    return point ? rowOf(point.dataset.row) : null;
  };
  picture.box.addEventListener("pointerover", (event) => { if (lineOf(event)) light(lineOf(event)); });
  picture.box.addEventListener("click", (event) => {
    const line = lineOf(event);
    if (!line) return;
    open(line);
    line.scrollIntoView({ block: "center" });
    line.querySelector("button.open").focus({ preventScroll: true });
  });
  body.addEventListener("pointerover", (event) => light(event.target.closest("tr.row")));
  body.addEventListener("focusin", (event) => light(event.target.closest("tr.row")));
}

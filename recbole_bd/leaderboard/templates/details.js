// Details of a row: learning curves, settings and commands.

// Later stages start where the warm-up ended.
const pointsOf = (run, metric) => {
  const warmed = run.curves.separate ? Math.max(...run.curves.separate.epoch) + 1 : 0;
  return Object.entries(run.curves).filter(([, curve]) => curve[metric]).map(([stage, curve]) => ({
    stage,
    points: curve.epoch.map((epoch, i) => [epoch + 1 + (stage === "separate" ? 0 : warmed), curve[metric][i]]).filter(([, value]) => value !== null),
  }));
};
const chart = (row, metric, width) => {
  const lines = row.runs.flatMap((run) => pointsOf(run, metric).map((line) => ({ ...line, seed: run.seed })));
  const all = lines.flatMap((line) => line.points);
  if (!all.length) return element("p", {}, "No validation has a number.");
  const epochs = all.map(([epoch]) => epoch);
  const last = Math.max(...epochs, 1), first = Math.min(...epochs, last - 1);
  const x = linear(first, last, 8);
  x.ticks = x.ticks.filter(Number.isInteger);
  const y = linear(...around(all.map(([, value]) => value), 0.06), 5);
  const { svg, place } = frame(width, 280, x, y, ["training epoch, warm-up first", `validation ${metric}`], `validation ${metric} by epoch, ${row.name}`);
  for (const { stage, points, seed } of lines) {
    const line = drawn("polyline", { class: `curve ${stage}`, points: points.map((point) => place(...point).map((at) => at.toFixed(1)).join(",")).join(" ") });
    line.append(drawn("title", {}, `${stage}, seed ${seed}`));
    svg.append(line);
    for (const [epoch, value] of points) {
      const [cx, cy] = place(epoch, value).map((at) => at.toFixed(1));
      const dot = drawn("circle", { class: stage, cx, cy, r: points.length > 40 ? 1.5 : 2.6 });
      dot.append(drawn("title", {}, `${stage}, seed ${seed}, epoch ${epoch}: ${value}`));
      svg.append(dot);
    }
  }
  const stages = [...new Set(lines.map((line) => line.stage))];
  const legend = stages.map((stage) => key(stage, drawn("line", { class: `curve ${stage}`, x1: 0, x2: 30, y1: 7, y2: 7 })));
  return element("div", {}, svg, element("ul", { class: "legend" }, ...legend));
};
const curves = (row) => {
  const metrics = [...new Set(row.runs.flatMap((run) => Object.values(run.curves).flatMap(Object.keys)))].filter((name) => name !== "epoch");
  const box = element("section", { class: "curves" }, element("h2", {}, "Learning curves"));
  if (!metrics.length) {
    box.append(element("p", {}, "No validations are recorded."));
    return { box, redraw: () => {} };
  }
  const choice = element("select", { "aria-label": "metric" }, ...metrics.map((name) => element("option", { value: name }, name)));
  choice.value = metrics.includes(data.metric) ? data.metric : metrics[0];
  const picture = responsive((width) => chart(row, choice.value, width), 560);
  choice.addEventListener("change", picture.redraw);
  box.append(element("p", {}, "validation ", choice), picture.box);
  return { box, redraw: picture.redraw };
};
const commands = (row) => {
  const box = element("section", { class: "commands" }, element("h2", {}, "Commands"));
  const settings = element("dl", { class: "settings" });
  for (const [name, value] of Object.entries(row.settings)) {
    if (value !== "") settings.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  }
  for (const run of row.runs) {
    const code = element("code", {}, run.command);
    const button = element("button", { type: "button", class: "plain", "aria-label": `copy the command of seed ${run.seed}` }, "Copy");
    button.addEventListener("click", () => copy(run.command, button, "Command"));
    const seconds = run.seconds === null || run.seconds === undefined ? "" : `, ${Math.round(run.seconds)} s`;
    box.append(element("h3", {}, `seed ${run.seed}: ${run.folder}${seconds}`), element("div", { class: "command" }, code, button));
  }
  if (settings.childElementCount) box.prepend(element("h2", {}, "Settings"), settings);
  return box;
};

const close = (line) => {
  line.querySelector("button.open").setAttribute("aria-expanded", "false");
  details.get(line)?.remove();
  details.delete(line);
};
const open = (line) => {
  if (details.has(line)) return;
  line.querySelector("button.open").setAttribute("aria-expanded", "true");
  const row = dataOf(line);
  const cell = element("td", { colspan: heads.filter((head) => !head.hidden).length });
  if (row.errors) cell.append(element("p", { class: "failed" }, row.errors));
  if (row.objective) cell.append(element("p", { class: "objective" }, row.objective));
  const learned = row.runs.length ? curves(row) : null;
  if (learned) cell.append(element("div", { class: "panel" }, learned.box, commands(row)));
  const shown = element("tr", { class: "details" }, cell);
  line.after(shown);
  details.set(line, shown);
  learned?.redraw();
};
body.addEventListener("click", (event) => {
  const line = event.target.closest("tr.row");
  // Text that is being selected is no click on the row.
  if (line && (event.target.closest("button.open") || getSelection().isCollapsed)) (details.has(line) ? close : open)(line);
});

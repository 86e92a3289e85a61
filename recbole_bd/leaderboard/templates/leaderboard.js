
"use strict";
// Sorting and details of the table. All text goes in as textContent; nothing is loaded.
(() => {
  const table = document.getElementById("board");
  const body = table.tBodies[0];
  const data = JSON.parse(document.getElementById("data").textContent);
  const said = document.getElementById("said");
  const details = new Map();
  const SVG = "http://www.w3.org/2000/svg";

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const drawn = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // --- sorting -------------------------------------------------------------------------------------------------
  const rows = () => [...body.querySelectorAll("tr.row")];
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
  const sortBy = (header) => {
    const column = header.cellIndex;
    const kind = header.querySelector("button").dataset.kind;
    // Numbers start with the highest, names with the first.
    const start = kind === "number" ? "descending" : "ascending";
    const other = start === "ascending" ? "descending" : "ascending";
    const direction = header.getAttribute("aria-sort") === start ? other : start;
    const sign = direction === "ascending" ? 1 : -1;
    const ordered = rows().map((row) => [valueOf(row, column, kind), row]);
    ordered.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
    placed(ordered.map(([, row]) => row));
    for (const cell of table.tHead.rows[0].cells) cell.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", direction);
    for (const row of rows()) row.classList.remove("division");
    said.textContent = `Sorted by ${header.textContent.trim()}, ${direction}`;
  };

  // --- learning curves -----------------------------------------------------------------------------------------
  const ticks = (low, high, count) => {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
    return found;
  };
  // Later stages start where the warm-up ended.
  const pointsOf = (run, metric) => {
    const warmed = run.curves.separate ? Math.max(...run.curves.separate.epoch) + 1 : 0;
    return Object.entries(run.curves).filter(([, curve]) => curve[metric]).map(([stage, curve]) => ({
      stage,
      points: curve.epoch.map((epoch, i) => [epoch + 1 + (stage === "separate" ? 0 : warmed), curve[metric][i]]),
    }));
  };
  const chart = (row, metric) => {
    const lines = row.runs.flatMap((run) => pointsOf(run, metric).map((line) => ({ ...line, seed: run.seed })));
    const all = lines.flatMap((line) => line.points);
    const width = 560, height = 300, left = 62, right = 14, top = 34, bottom = 44;
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `validation ${metric} by epoch, ${row.name}` });
    let [low, high] = [Math.min(...all.map((p) => p[1])), Math.max(...all.map((p) => p[1]))];
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    [low, high] = [low - margin, high + margin];
    const last = Math.max(...all.map((p) => p[0]), 1), first = Math.min(...all.map((p) => p[0]), last - 1);
    const x = (epoch) => left + (epoch - first) / (last - first) * (width - left - right);
    const y = (value) => top + (high - value) / (high - low) * (height - top - bottom);
    for (const tick of ticks(low, high, 5)) {
      svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
      svg.append(drawn("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
    }
    for (const tick of ticks(first, last, 8).filter(Number.isInteger)) {
      svg.append(drawn("text", { x: x(tick), y: height - bottom + 18, "text-anchor": "middle" }, String(tick)));
    }
    svg.append(drawn("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    svg.append(drawn("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, "training epoch, warm-up first"));
    let at = left;
    for (const stage of [...new Set(lines.map((line) => line.stage))]) {
      svg.append(drawn("line", { class: `curve ${stage}`, x1: at, x2: at + 30, y1: 18, y2: 18 }));
      svg.append(drawn("text", { x: at + 36, y: 22 }, stage));
      at += 56 + stage.length * 7;
    }
    for (const { stage, points, seed } of lines) {
      const place = points.map(([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      const line = drawn("polyline", { class: `curve ${stage}`, points: place });
      line.append(drawn("title", {}, `${stage}, seed ${seed}`));
      svg.append(line);
      for (const [epoch, value] of points) {
        const dot = drawn("circle", { class: stage, cx: x(epoch).toFixed(1), cy: y(value).toFixed(1), r: points.length > 40 ? 1.5 : 2.6 });
        dot.append(drawn("title", {}, `${stage}, seed ${seed}, epoch ${epoch}: ${value}`));
        svg.append(dot);
      }
    }
    return svg;
  };
  const curves = (row) => {
    const metrics = [...new Set(row.runs.flatMap((run) => Object.values(run.curves).flatMap(Object.keys)))].filter((name) => name !== "epoch");
    const box = element("section", { class: "curves" }, element("h2", {}, "Learning curves"));
    if (!metrics.length) {
      box.append(element("p", {}, "No validations are recorded."));
      return box;
    }
    const shown = metrics.includes(data.metric) ? data.metric : metrics[0];
    const choice = element("select", { "aria-label": "metric" }, ...metrics.map((name) => element("option", { value: name }, name)));
    choice.value = shown;
    let picture = chart(row, shown);
    choice.addEventListener("change", () => {
      const other = chart(row, choice.value);
      picture.replaceWith(other);
      picture = other;
    });
    box.append(element("p", {}, "validation ", choice), picture);
    return box;
  };

  // --- commands --------------------------------------------------------------------------------------------------
  const copied = async (code, button) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      // Pages opened from a file may not have the clipboard: select the text and use the old way.
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    said.textContent = "Command copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  const commands = (row) => {
    const box = element("section", { class: "commands" }, element("h2", {}, "Commands"));
    const settings = element("dl", { class: "settings" });
    for (const [name, value] of Object.entries(row.settings)) {
      if (value !== "") settings.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
    }
    for (const run of row.runs) {
      const code = element("code", {}, run.command);
      const button = element("button", { type: "button", class: "copy", "aria-label": `copy the command of seed ${run.seed}` }, "Copy");
      button.addEventListener("click", () => copied(code, button));
      const seconds = run.seconds === null || run.seconds === undefined ? "" : `, ${Math.round(run.seconds)} s`;
      box.append(element("h3", {}, `seed ${run.seed}: ${run.folder}${seconds}`), element("div", { class: "command" }, code, button));
    }
    box.prepend(element("h2", {}, "Best settings"), settings);
    return box;
  };

  const toggle = (line) => {
    const button = line.querySelector("button.open");
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) {
      details.get(line).remove();
      details.delete(line);
      return;
    }
    const row = data.rows[Number(line.dataset.row)];
    const cell = element("td", { colspan: table.tHead.rows[0].cells.length });
    if (row.errors) cell.append(element("p", { class: "failed" }, row.errors));
    if (row.objective) cell.append(element("p", { class: "objective" }, row.objective));
    if (row.runs.length) cell.append(element("div", { class: "panel" }, curves(row), commands(row)));
    const shown = element("tr", { class: "details" }, cell);
    line.after(shown);
    details.set(line, shown);
  };

  for (const header of table.tHead.rows[0].cells) header.addEventListener("click", () => sortBy(header));
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr.row");
    // Text that is being selected is no click on the row.
    if (line && (event.target.closest("button.open") || getSelection().isCollapsed)) toggle(line);
  });
  rows().forEach((row, i, all) => {
    if (i && row.cells[1].dataset.value !== all[i - 1].cells[1].dataset.value) row.classList.add("division");
  });
})();

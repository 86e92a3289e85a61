// Axes of pictures. A picture is drawn as wide as its place, so that its text keeps its size on a phone.
const STEPS = [1, 2, 5, 10];
const ticksBetween = (low, high, count) => {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = STEPS.map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
  return found;
};
const linear = (low, high, count) => ({ at: (value) => (value - low) / (high - low), ticks: ticksBetween(low, high, count) });
const logarithmic = (low, high) => {
  const found = [];
  const wide = high / low > 300;
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    for (const factor of wide ? [1] : [1, 2, 5]) {
      const tick = Number((factor * 10 ** power).toPrecision(3));
      if (tick >= low && tick <= high) found.push(tick);
    }
  }
  // A short range holds no round powers.
  return { at: (value) => Math.log(value / low) / Math.log(high / low), ticks: found.length > 1 ? found : ticksBetween(low, high, 5) };
};
// A little room at both ends of the values.
const around = (values, share) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low) * share || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
};
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

// `titles` are those of the horizontal and the vertical axis; `label` describes the picture to who does not see it.
const frame = (width, height, x, y, titles, label) => {
  const names = y.ticks.map(String);
  const left = 16 + 7 * Math.max(...names.map((name) => name.length), 3);
  const right = 14, top = 28, bottom = 44;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const place = (a, b) => [left + x.at(a) * (width - left - right), top + (1 - y.at(b)) * (height - top - bottom)];
  y.ticks.forEach((tick, i) => {
    const level = top + (1 - y.at(tick)) * (height - top - bottom);
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: level, y2: level }));
    svg.append(drawn("text", { x: left - 6, y: level + 4, "text-anchor": "end" }, names[i]));
  });
  let free = -Infinity;
  for (const tick of x.ticks) {
    const at = left + x.at(tick) * (width - left - right);
    const name = short.format(tick);
    svg.append(drawn("line", { class: "axis", x1: at, x2: at, y1: height - bottom, y2: height - bottom + 4 }));
    if (at - 4 * name.length < free) continue;
    free = at + 4 * name.length + 6;
    svg.append(drawn("text", { x: at, y: height - bottom + 18, "text-anchor": "middle" }, name));
  }
  svg.append(drawn("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  svg.append(drawn("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, titles[0]));
  svg.append(drawn("text", { x: 10, y: 17 }, titles[1]));
  return { svg, place, inner: { left, right: width - right, top, bottom: height - bottom } };
};

// A box that draws itself as wide as it is, and again when that changes.
const responsive = (draw, widest) => {
  const box = element("div", { class: "drawing" });
  let width = null;
  const redraw = () => {
    width = box.clientWidth;
    box.replaceChildren(draw(Math.max(240, Math.min(width, widest))));
  };
  new ResizeObserver(() => { if (box.clientWidth && box.clientWidth !== width) redraw(); }).observe(box);
  return { box, redraw };
};
const key = (name, mark) => {
  const swatch = drawn("svg", { viewBox: "0 0 30 14", width: 30, height: 14, class: "swatch", "aria-hidden": "true" });
  swatch.append(mark);
  return element("li", {}, swatch, ` ${name}`);
};

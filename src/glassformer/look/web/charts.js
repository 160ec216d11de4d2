// Charts that several pages draw: coloured squares of numbers with a sign, lines over steps, tables that sort.

/** Blue above zero, orange below, pale around it. */
function signed(value, largest) {
  const share = Math.max(-1, Math.min(1, value / (largest || 1)));
  const end = share < 0 ? [194, 94, 0] : [0, 96, 160];
  return end.map((c) => Math.round(255 + (c - 255) * Math.abs(share)));
}

/** Which of `count` equal parts of a side an event lies in. */
const part = (at, size, count) => Math.max(0, Math.min(count - 1, Math.floor((at / size) * count)));

/** Rows of numbers as coloured squares; `pointed(row, column)` hears of the mouse. */
function squares(rows, pointed, { height = null, largest = Math.max(...rows.map((row) => Math.max(...row.map(Math.abs)))) } = {}) {
  const canvas = el("canvas", { width: rows[0].length, height: rows.length, className: "squares" });
  const image = new ImageData(rows[0].length, rows.length);
  rows.forEach((row, y) => row.forEach((value, x) => image.data.set([...signed(value, largest), 255], 4 * (y * row.length + x))));
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.style.height = (height ?? Math.min(26, Math.max(14, 320 / rows.length)) * rows.length) + "px";
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    pointed(part(event.clientY - box.top, box.height, rows.length), part(event.clientX - box.left, box.width, rows[0].length));
  });
  return canvas;
}

const svg = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return fill(node, ...children);
};

const DASHES = ["none", "6 3", "2 3", "9 3 2 3"];
const SERIES = ["#0072b2", "#e69f00", "#00815e", "#c25e00", "#56b4e9", "#8a5fbf", "#b5507f", "#616e7c"];

/** Round numbers around two: a few steps of 1, 2 or 5 times a power of ten. */
function roundNumbers(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= (high - low) / 4);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, n) => Number(((first + n) * step).toPrecision(15)));
}

/** Lines over x. `series` is [{name, values}], null where there is nothing; `marked` an x with a rule; `log` for the
 * vertical axis; `pointed(index)` hears of the mouse. */
function lines({ x, series, xName = "step", yName = "", log = false, marked = null, pointed = () => {} }) {
  const [width, height, left, bottom, top, right] = [640, 260, 72, 34, 10, 24];
  const every = series.flatMap((one) => one.values).filter((v) => v !== null && Number.isFinite(v) && (!log || v > 0));
  const scaled = log ? Math.log10 : (v) => v;
  let [low, high] = [Math.min(...every.map(scaled)), Math.max(...every.map(scaled))];
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const ticks = log ? [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low)) : roundNumbers(low, high);
  if (ticks[ticks.length - 1] > ticks[0]) [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const across = (v) => left + ((v - x[0]) / (x[x.length - 1] - x[0] || 1)) * (width - left - right);
  const up = (v) => height - bottom - ((scaled(v) - low) / (high - low)) * (height - bottom - top);
  const label = (at, text, more) => svg("text", { class: "axis", ...at, ...more }, text);
  const short = (v) => (v === 0 ? "0" : Math.abs(v) >= 1000 || Math.abs(v) < 0.001 ? v.toExponential(1) : Number(v.toPrecision(3)).toString());
  const drawn = series.map((one, n) => {
    const points = one.values.map((v, i) => (v === null || !Number.isFinite(v) || (log && v <= 0) ? null : `${across(x[i])},${up(v)}`));
    const dashed = DASHES[Math.floor(n / SERIES.length) % DASHES.length];
    return svg("polyline", { points: points.filter(Boolean).join(" "), fill: "none", stroke: SERIES[n % SERIES.length],
      "stroke-width": 1.8, "stroke-dasharray": dashed });
  });
  const rule = svg("line", { class: "rule", y1: top, y2: height - bottom, visibility: marked === null ? "hidden" : "visible" });
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img" },
    ticks.map((tick) => {
      const y = height - bottom - ((tick - low) / (high - low)) * (height - bottom - top);
      return [svg("line", { class: "faint", x1: left, x2: width - right, y1: y, y2: y }),
        label({ x: left - 6, y: y + 4 }, short(log ? 10 ** tick : tick), { "text-anchor": "end" })];
    }),
    [0, Math.floor((x.length - 1) / 2), x.length - 1].map((i) => label({ x: across(x[i]), y: height - bottom + 16 }, String(x[i]), { "text-anchor": "middle" })),
    label({ x: (left + width - right) / 2, y: height - 2 }, xName, { "text-anchor": "middle" }),
    label({ x: 12, y: height / 2, transform: `rotate(-90 12 ${height / 2})` }, yName, { "text-anchor": "middle" }),
    drawn, rule);
  const key = el("div", { className: "legend" }, series.map((one, n) => {
    const swatch = svg("svg", { viewBox: "0 0 26 4", class: "swatch", "aria-hidden": "true" }, svg("line", {
      x1: 0, x2: 26, y1: 2, y2: 2, stroke: SERIES[n % SERIES.length], "stroke-width": 3,
      "stroke-dasharray": DASHES[Math.floor(n / SERIES.length) % DASHES.length] }));
    return el("span", {}, swatch, written(one.name));
  }));
  const move = (i) => {
    rule.setAttribute("x1", across(x[i]));
    rule.setAttribute("x2", across(x[i]));
    rule.setAttribute("visibility", "visible");
  };
  if (marked !== null) move(x.indexOf(marked));
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * width;
    const nearest = x.reduce((best, v, i) => (Math.abs(across(v) - at) < Math.abs(across(x[best]) - at) ? i : best), 0);
    move(nearest);
    pointed(nearest);
  });
  return { element: el("figure", {}, chart, key), move };
}

/** A table whose columns sort when their heading is clicked. `columns` is [{name, value(row), shown(row)?}]. */
function sortable(columns, rows) {
  const body = el("tbody");
  const state = { column: null, down: true };
  const draw = () => {
    const ordered = [...rows];
    if (state.column !== null) {
      const of = columns[state.column].value;
      ordered.sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : 0) * (state.down ? -1 : 1));
    }
    fill(body, ordered.map((row) => el("tr", {}, columns.map((column) => {
      const value = column.shown ? column.shown(row) : column.value(row);
      return el("td", { className: numeric(column) }, value instanceof Node ? value : String(value));
    }))));
  };
  const numeric = (column) => rows.length > 0 && typeof column.value(rows[0]) === "number" ? "number" : "";
  const head = el("tr", {}, columns.map((column, n) => el("th", { className: numeric(column) }, el("button", { type: "button", onclick: () => {
    Object.assign(state, { down: state.column === n ? !state.down : true, column: n });
    draw();
  } }, column.name))));
  draw();
  return el("div", { className: "wide" }, el("table", {}, el("thead", {}, head), body));
}

// A page of charts: squares of numbers, and lines.

VIEWS.panels = (page, main) => {
  const drawn = page.panels.map((panel) => {
    const readout = el("p", { className: "readout facts left", "aria-live": "polite" }, panel.note);
    const named = (names, n, count) => (names.length === count ? el("b", {}, names[n]) : `${names[0]} ${n}`);
    let chart;
    const said = panel.kind === "lines"
      ? `across: ${panel.x_name}; up: ${panel.y_name}`
      : `rows: ${panel.row_name}; columns: ${panel.column_name}; colour: ${panel.value}`;
    if (panel.kind === "lines") {
      const { x, series } = panel;
      chart = lines({ x, series, xName: panel.x_name, pointed: (i) =>
        fill(readout, `${panel.x_name} ${x[i]}: `, series.map((one) => `${one.name} ${one.values[i]}   `)) }).element;
    } else {
      const { values, rows, columns } = panel;
      const [height, width] = [values.length, values[0].length];
      const canvas = squares(values, (y, x) =>
        fill(readout, named(rows, y, height), ", ", named(columns, x, width), `: ${values[y][x]}`), { height: Math.min(30, Math.max(6, 480 / height)) * height });
      const beside = rows.length === height && height <= 60;
      const above = columns.length === width && width <= 60;
      chart = el("div", { className: "labelled" }, el("span"),
        el("div", { className: "above" }, above ? columns.map((name) => el("span", {}, written(name))) : el("span", { className: "flat" }, columns[0])),
        el("div", { className: "beside" }, beside ? rows.map((name) => el("span", {}, written(name))) : el("span", {}, rows[0])),
        canvas);
      if (page.square) chart.style.gridTemplateColumns = `max-content minmax(0, ${Math.max(12, 28 * width)}px)`;
    }
    return el("section", { className: "panel" }, el("h2", {}, panel.title), el("p", { className: "facts left" }, said), chart, readout);
  });
  fill(main, el("h1", {}, page.title), el("p", { className: "note" }, page.subtitle),
    page.warning && el("p", { className: "warning" }, page.warning), drawn,
    el("p", { className: "note" }, page.panels.some((panel) => panel.kind !== "lines") && "Blue is above zero, orange below. ", "Point at a chart to read it."));
};

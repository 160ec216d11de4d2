// The page of single steps: one token through one layer, each step with its formula and the model's own numbers.

VIEWS.steps = (page, main) => {
  const { tokens, place, steps, candidates } = page;
  const readout = el("p", { className: "readout sticky", "aria-live": "polite" }, "Point at a number to read it.");

  const say = (value, ...which) => fill(readout, ...which, `: ${value.toFixed(4)}`);
  const size = (values) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
  const shown = {
    vector: (step) => el("div", {},
      squares([step.values], (_, x) => say(step.values[x], step.name, `, number ${x} of ${step.values.length}`)),
      el("p", { className: "facts left" }, `${step.values.length} numbers, length ${size(step.values).toFixed(2)}: `,
        step.values.slice(0, 6).map((v) => v.toFixed(3)).join("  "), step.values.length > 6 ? " ..." : "")),
    vectors: (step) => el("div", { className: "labelled" },
      el("div", { className: "beside" }, tokens.map((token) => el("span", {}, written(token)))),
      squares(step.values, (y, x) => say(step.values[y][x], step.name, " of ", el("b", {}, tokens[y]), `, number ${x}`))),
    numbers: (step) => {
      const largest = Math.max(...step.values.map(Math.abs), 1e-9);
      return el("div", { className: "bars" }, step.values.map((value, n) => {
        const bar = el("span", { className: value < 0 ? "bar negative" : "bar" });
        bar.style.width = (100 * Math.abs(value)) / largest + "%";
        return [el("span", { className: n === place ? "name chosen" : "name" }, written(tokens[n])),
          el("span", { className: "track" }, bar), el("span", { className: "number" }, value.toFixed(4))];
      }));
    },
  };

  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    el("div", { className: "text" }, tokens.map((token, n) =>
      el("span", { className: n === place ? "token active" : "token" }, written(token)))),
    readout,
    el("ol", { className: "steps" }, steps.map((step) => el("li", {},
      el("div", { className: "step" },
        el("div", {}, el("h2", {}, step.name), el("code", {}, step.formula), el("p", { className: "note" }, step.note)),
        shown[step.kind](step))))),
    candidates.length > 0 && [el("h2", {}, "What the model says here"), bars(candidates)],
    el("p", { className: "note" }, "Blue is above zero, orange below; each strip has its own scale. Numbers are rounded to five places."));
};

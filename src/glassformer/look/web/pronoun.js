// The page of a word and what it may refer to: how each head attends between them.

VIEWS.pronoun = (page, main) => {
  const { word, candidates, to, back, uniform_to, uniform_back, warning } = page;
  const readout = el("p", { className: "readout", "aria-live": "polite" }, "Point at a square to read it.");
  const mean = (values) => values.flat().reduce((a, b) => a + b, 0) / values.flat().length;
  function table(heading, weights, uniform) {
    const largest = Math.max(...weights.flat(2).map((v) => v ?? 0), 1e-9);
    const columns = candidates.map((candidate, n) => {
      const one = weights.map((layer) => layer.map((head) => head[n]));
      if (one.flat().some((v) => v === null)) return el("div", {}, el("h2", {}, candidate), el("p", { className: "muted" }, "cannot be seen from there"));
      return el("div", {}, el("h2", {}, written(candidate)),
        squares(one, (l, h) => fill(readout, `${heading} `, el("b", {}, candidate), `, layer ${l} head ${h}: ${one[l][h].toFixed(3)}`), { height: 24 * one.length, largest }),
        el("p", { className: "facts left" }, `mean ${mean(one).toFixed(3)}, a uniform head ${uniform[n].toFixed(3)}`));
    });
    return el("section", {}, el("h2", {}, heading), el("div", { className: "columns narrow" }, columns));
  }
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    warning && el("p", { className: "warning" }, warning),
    readout,
    table(`${word} looks at`, to, uniform_to),
    table(`${word} is looked at by`, back, uniform_back),
    el("p", { className: "note" }, "One square for each head: rows are layers, columns heads."));
};

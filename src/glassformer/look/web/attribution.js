// The attribution page: ways of reading attention side by side, the measured effect of hiding each token, and warnings.

VIEWS.attribution = (page, main) => {
  const { tokens, position, candidate, nats, relevance, correlations, warnings, methods, effect, colours } = page;
  const readout = el("p", { className: "readout", "aria-live": "polite" }, "Point at a token to compare.");
  const nodes = tokens.map((token, n) => el("button", { type: "button", className: n === position ? "token blank" : "token" }, written(token)));
  let method = effect;
  const names = { ...methods, [effect]: "effect of hiding it" };
  const rows = Object.keys(names).map((name) => {
    const values = relevance[name];
    const canvas = squares([values], (_, n) => point(n), { height: 22 });
    const r = correlations[name];
    const chosen = el("button", { type: "button", "data-method": name, onclick: () => { method = name; paint(); } }, names[name]);
    return [chosen, canvas, el("span", { className: "number" }, name === effect ? "" : r === null ? "–" : r.toFixed(2))];
  });
  function point(n) {
    const said = Object.keys(methods).map((name) => `${methods[name]} ${(100 * relevance[name][n]).toFixed(0)}`).join(", ");
    fill(readout, el("b", {}, tokens[n]), `: ${said} (of 100); hiding it changes the answer by ${(Math.round(-100 * nats[n]) / 100 + 0).toFixed(2)} nats`);
  }
  function paint() {
    const values = relevance[method], largest = Math.max(...values.map(Math.abs), 1e-9);
    nodes.forEach((node, n) => {
      const [r, g, b] = signed(values[n], largest);
      node.style.background = `rgb(${r} ${g} ${b})`;
      node.style.color = Math.abs(values[n]) / largest > 0.6 ? "#fff" : "#1f2933";
    });
    for (const [button] of rows) button.setAttribute("aria-pressed", button.dataset.method === method);
  }
  nodes.forEach((node, n) => ["pointerenter", "focus"].forEach((kind) => node.addEventListener(kind, () => point(n))));
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    el("p", {}, "Asked at ", el("b", {}, tokens[position]), ` (${position}), the model says `, el("b", {}, candidate.token), ` with ${percent(candidate.probability)}.`),
    warnings.map((warning) => el("p", { className: "warning" }, warning)),
    el("div", { className: "text" }, nodes),
    readout,
    el("div", { className: "bars wide" }, el("span", { className: "muted" }, "method"), el("span", { className: "muted" }, "over the tokens, from the first to the last"), el("span", { className: "muted" }, "agrees"), rows),
    el("p", { className: "note" }, "The last row is measured: each token is hidden from everybody in turn, and the answer is read again. “Agrees” is the " +
      "rank correlation of a method with the size of that effect. Attention weights say where a layer looks, not what the answer depends on. Its log-probability is in nats: 0.69 nats, or 1 bit, are a factor of 2 in probability."));
  paint();
};

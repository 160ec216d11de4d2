// The film of a training: a text at every snapshot, its answers, its maps, and how each part of the model learned.

VIEWS.film = (page, main) => {
  const { steps, probes, layers, colours, norms, kind } = page;
  const state = { frame: steps.length - 1, probe: page.probe };
  const body = el("div");
  const slider = el("input", { type: "range", min: 0, max: steps.length - 1, value: state.frame, "aria-label": "step" });
  const at = el("b");
  let show = () => {};
  const go = (frame) => {
    state.frame = Math.max(0, Math.min(steps.length - 1, frame));
    slider.value = state.frame;
    at.textContent = `step ${steps[state.frame]}`;
    show();
  };
  slider.addEventListener("input", () => go(Number(slider.value)));
  let playing = null;
  const play = el("button", { type: "button", onclick: () => {
    if (playing !== null) { clearInterval(playing); playing = null; play.textContent = "play"; return; }
    if (state.frame === steps.length - 1) go(0);
    play.textContent = "pause";
    playing = setInterval(() => (state.frame < steps.length - 1 ? go(state.frame + 1) : play.click()), 350);
  } }, "play");

  function open(n) {
    state.probe = n;
    const { tokens, answers, asked, shaped } = probes[n];
    const maps = page.arrays[`weights_${n}`]; // step, layer, head, query, key
    const entropies = page.arrays[`entropies_${n}`]; // step, layer, head
    const [, nLayers, nHeads, nQueries, nKeys] = maps.shape;
    const canvases = layers.map((_, l) => Array.from({ length: nHeads }, (_, h) => el("canvas", { title: `${layers[l]}, head ${h}` })));
    const grid = el("div", { className: "grid" });
    grid.style.gridTemplateColumns = `max-content repeat(${nHeads}, minmax(4.4rem, 9rem))`;
    grid.append(...[el("span"), Array.from({ length: nHeads }, (_, h) => el("span", { className: "label" }, `Head ${h}`)),
      layers.map((name, l) => [el("span", { className: "label" }, name), canvases[l].map((canvas, h) => el("div", {},
        el("span", { className: "cell" }, canvas), el("span", { className: "facts" }, shaped[l][h] === null ? "stayed" : `from ${shaped[l][h]}`)))])].flat(Infinity));
    const final = answers[answers.length - 1][0].candidates.slice(0, 5).map((c) => c.token);
    const chances = final.map((token) => ({ name: token,
      values: answers.map((frame) => frame[0].candidates.find((c) => c.token === token)?.probability ?? null) }));
    const chart = lines({ x: steps, series: chances, yName: "probability", pointed: go });
    const heads = layers.flatMap((name, l) => Array.from({ length: nHeads }, (_, h) => ({ name: `${l}.${h}`, l, h })));
    const sharp = lines({ x: steps, yName: "entropy (share of the largest)", pointed: go,
      series: heads.map(({ name, l, h }) => ({ name, values: steps.map((_, s) => entropies.at(s, l, h)) })) });
    const said = el("div");
    show = () => {
      canvases.forEach((row, l) => row.forEach((canvas, h) => {
        const first = maps.offset(state.frame, l, h, 0, 0);
        drawMap(canvas, { rows: nQueries, columns: nKeys, value: (q, k) => maps.bytes[first + q * nKeys + k] / 255 }, colours, 96);
      }));
      chart.move(state.frame);
      sharp.move(state.frame);
      moveNorms(state.frame);
      fill(said, answers[state.frame].map((blank, i) => [
        answers[state.frame].length > 1 && el("h2", {}, `blank ${i + 1}`), bars(blank.candidates.slice(0, 6))]));
    };
    fill(body,
      el("div", { className: "text" }, tokens.map((token, i) =>
        el("span", { className: asked.includes(i) ? "token blank" : "token" }, written(token)))),
      el("div", { className: "columns" },
        el("div", {}, el("h2", {}, "What the model says"), said),
        el("div", {}, el("h2", {}, "The answers of the end, over the steps"), chart.element)),
      el("h2", {}, kind || "Attention"), grid,
      el("p", { className: "note" }, "Below each map: when it took its shape, the step from which on it was at most half as far from its last state as at the start."),
      el("h2", {}, "Entropy of each head (layer.head)"), sharp.element);
    go(state.frame);
  }

  const charts = [["gradients", "Size of the gradient"], ["updates", "Size of the update"], ["weights", "Size of the weights"]].map(([kind, name]) => {
    const series = Object.entries(norms[kind]).map(([part, values]) => ({ name: part, values }));
    return { name, chart: lines({ x: steps, log: kind !== "weights", yName: name, pointed: go, series }) };
  });
  const moveNorms = (frame) => charts.forEach(({ chart }) => chart.move(frame));
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    probes.length > 1 && el("p", { className: "row" }, probes.map((probe, n) =>
      el("button", { type: "button", onclick: () => open(n) }, probe.text))),
    el("div", { className: "row sticky" }, play, slider, at),
    body,
    el("h2", {}, "How each part learns"),
    charts.map(({ name, chart }) => el("section", {}, el("p", { className: "muted" }, name), chart.element)),
    el("p", { className: "note" }, page.precision));
  open(page.probe);
};

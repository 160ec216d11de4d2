// The generation page: token by token, what was written and what else could have been, and where the model looked.

VIEWS.generation = (page, main) => {
  const { steps, source, read, layers, colours } = page;
  const state = { step: 0 };
  const row = steps.map((step, n) => {
    const node = el("button", { type: "button", className: "token", title: percent(step.probability),
      onclick: () => go(n), onfocus: () => go(n) }, written(step.token));
    tint(node, 1 - step.probability, colours);
    return node;
  });
  const before = read.slice(0, steps[0].reads + 1);
  const answers = el("div", { "aria-live": "polite" });
  const cross = source && !page.why && new AttentionView({
    tokens: steps.map((step) => step.token), keys: source, layers, colours, weights: weightsOf(page, "cross", source.length),
    onChange: ({ side, place }) => side === "query" && place !== state.step && go(place, false),
  });
  const own = !page.why && new AttentionView({ tokens: read, layers, colours, weights: weightsOf(page, "own", read.length) });

  /** Show one step; `move` says whether the maps follow, or began it. */
  function go(step, move = true) {
    state.step = step;
    const { token, probability, candidates } = steps[step];
    row.forEach((node, n) => node.classList.toggle("active", n === step));
    const among = candidates.some((candidate) => candidate.token === token);
    fill(answers,
      el("h2", {}, `Token ${step + 1} of ${steps.length}: what could stand here?`),
      bars(candidates, null, token),
      !among && el("p", { className: "note" }, "Written: ", el("b", {}, token), ` ${percent(probability)}, not among the first ${candidates.length}.`));
    if (move && cross) cross.choose({ side: "query", place: step, pinned: true });
    if (own) own.choose({ side: "query", place: steps[step].reads, pinned: true });
  }

  const turn = (by) => go(Math.max(0, Math.min(steps.length - 1, state.step + by)));
  const part = (view, heading, note) => [
    el("h2", {}, heading), el("p", { className: "note" }, note), view.texts.element, view.readout,
    el("div", { className: "columns" }, view.large, el("div", {}, view.grid)),
  ];
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    el("div", { className: "text written" },
      !source && before.slice(1).map((token) => el("span", { className: "token prompt" }, written(token))), row,
      !page.finished && el("span", { className: "muted" }, " (not finished)")),
    el("p", { className: "row" },
      el("button", { type: "button", onclick: () => turn(-1) }, "previous token"),
      el("button", { type: "button", onclick: () => turn(1) }, "next token"),
      scale(colours, "sure", "surprised")),
    answers,
    cross && part(cross, "Cross-attention: the source at each token", "Rows are the tokens written (the state that writes each), columns the source."),
    page.why && noWeights(page.why, layers),
    own && part(own, "Self-attention: what was read before", "Rows are the tokens read: the last one writes the next."),
    el("p", { className: "note" }, page.precision));
  go(0);
};

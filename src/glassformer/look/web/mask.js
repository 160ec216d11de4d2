// The mask page: one sentence with blanks, what the model says there, every head's map, and what each head changes.


VIEWS.mask = (page, main) => {
  const { blanks, without } = page;
  const state = { blank: 0, off: null };
  const answers = el("div");
  const switches = page.layers.map((_, l) => without[l].map((_, h) => ({
    facts: el("span", { className: "facts" }),
    button: el("button", { type: "button", className: "switch", onclick: () => {
      state.off = isOff(l, h) ? null : [l, h];
      showAnswers();
    } }),
  })));
  const isOff = (l, h) => state.off !== null && state.off[0] === l && state.off[1] === h;

  const view = new AttentionView({
    ...page,
    weights: weightsOf(page, "weights", page.tokens.length),
    blanks: blanks.map((blank) => blank.position),
    extra: (l, h) => [switches[l][h].facts, switches[l][h].button],
    onChange: ({ place }) => {
      const here = blanks.findIndex((blank) => blank.position === place);
      if (here >= 0 && here !== state.blank) {
        state.blank = here;
        showAnswers();
      }
    },
  });

  /** By how much the first candidate's log-probability changes without a head. */
  function change(l, h) {
    const whole = blanks[state.blank].candidates[0].probability;
    const difference = Math.log(without[l][h][state.blank].first) - Math.log(whole);
    const size = Math.abs(difference).toFixed(2);
    return size === "0.00" ? "no change" : `${difference < 0 ? "−" : "+"}${size} nats`;
  }

  function showAnswers() {
    switches.forEach((row, l) => row.forEach(({ facts, button }, h) => {
      facts.textContent = change(l, h);
      button.setAttribute("aria-pressed", isOff(l, h));
      button.textContent = isOff(l, h) ? "switch on" : "switch off";
      view.cells[l][h].open.classList.toggle("off", isOff(l, h));
    }));
    const blank = blanks[state.blank];
    const [l, h] = state.off ?? [];
    const before = state.off && new Map(blank.candidates.map((c) => [c.token, c.probability]));
    fill(answers,
      el("h2", {}, blanks.length > 1 ? `What stands at blank ${state.blank + 1} of ${blanks.length}?` : "What stands at the blank?"),
      blanks.length > 1 && el("p", { className: "row" }, blanks.map((_, n) => el("button", {
        type: "button", "aria-pressed": n === state.blank, onclick: () => { state.blank = n; showAnswers(); },
      }, `blank ${n + 1}`))),
      bars(state.off ? without[l][h][state.blank].candidates : blank.candidates, before),
      el("p", { className: "note" }, state.off
        ? `Without ${page.layers[l]}, head ${h}: a real forward pass in which this head adds nothing. The marks show what it was.`
        : "The model's own probabilities."));
  }

  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    view.texts.element,
    view.readout,
    el("div", { className: "columns" }, answers, view.large),
    el("h2", {}, "All heads"),
    el("p", { className: "note" }, "Click a map to enlarge it, again for all heads together. Below each: how the first " +
      "candidate's log-probability changes when the head is switched off."),
    view.grid,
    el("p", { className: "note" }, page.precision));
  view.show();
  showAnswers();
};

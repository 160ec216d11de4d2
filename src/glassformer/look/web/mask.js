// The mask page: one sentence with blanks, what the model says there, every head's map, and what each head changes.


VIEWS.mask = (page, main) => {
  const { blanks, without, live } = page;
  const state = { blank: 0, off: [], answers: null };
  const answers = el("div");
  const switches = page.layers.map((_, l) => without[l].map((_, h) => ({
    facts: el("span", { className: "facts" }),
    button: el("button", { type: "button", className: "switch", onclick: () => toggle(l, h) }),
  })));
  const isOff = (l, h) => state.off.some(([layer, head]) => layer === l && head === h);

  /** A page holds each head switched off alone; where somebody answers (`live`), several can be off together. */
  async function toggle(l, h) {
    const others = live ? state.off.filter(([layer, head]) => layer !== l || head !== h) : [];
    state.off = isOff(l, h) ? others : [...others, [l, h]];
    state.answers = null;
    showAnswers();
    if (state.off.length < 2) return;
    const asked = state.off;
    try {
      const answers = await live(asked.map(([layer, head]) => `${page.places[layer]}:${head}`));
      if (asked === state.off) state.answers = answers;
    } catch (error) {
      state.answers = { error: error.error ?? String(error) };
    }
    if (asked === state.off) showAnswers();
  }

  const Seen = page.why ? Unseen : AttentionView;
  const view = new Seen({
    ...page,
    weights: page.why ? null : weightsOf(page, "weights", page.tokens.length),
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
    const before = state.off.length > 0 ? new Map(blank.candidates.map((c) => [c.token, c.probability])) : null;
    fill(answers,
      el("h2", {}, blanks.length > 1 ? `What stands at blank ${state.blank + 1} of ${blanks.length}?` : "What stands at the blank?"),
      blanks.length > 1 && el("p", { className: "row" }, blanks.map((_, n) => el("button", {
        type: "button", "aria-pressed": n === state.blank, onclick: () => { state.blank = n; showAnswers(); },
      }, `blank ${n + 1}`))),
      shown(blank, before),
      el("p", { className: "note" }, state.off.length > 0
        ? `Without ${state.off.map(([l, h]) => `${page.layers[l]}, head ${h}`).join("; ")}: a real forward pass in which ` +
          "this adds nothing. The marks show what it was."
        : "The model's own probabilities." + (live ? " Switch off several heads below to see what becomes of them." : "")));
  }

  function shown(blank, before) {
    if (state.off.length === 0) return bars(blank.candidates);
    if (state.off.length === 1) return bars(without[state.off[0][0]][state.off[0][1]][state.blank].candidates, before);
    if (state.answers === null) return el("p", { className: "muted" }, "Asking ...");
    if (state.answers.error) return el("p", { className: "warning" }, state.answers.error);
    return bars(state.answers[state.blank].candidates, before);
  }

  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    view.texts.element,
    view.readout,
    el("div", { className: "columns" }, answers, view.large),
    page.layers.length > 0 && el("h2", {}, "All heads"),
    page.layers.length > 0 && el("p", { className: "note" }, page.why ? "" : "Click a map to enlarge it, again for all heads together. ",
      "Below each: how the first candidate's log-probability changes when the head is switched off; 0.69 nats, or 1 bit, are a factor of 2 in probability."),
    view.grid,
    el("p", { className: "note" }, page.precision));
  view.show();
  showAnswers();
};

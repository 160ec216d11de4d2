// All heads of a text: their maps in an order that is asked for, what each does, one enlarged.

VIEWS.heads = (page, main) => {
  const { tokens, keys, layers, facts, orders, habit_units } = page;
  const named = (name, score, uniform) =>
    [el("b", {}, name), score === null ? "" : ` ${score.toFixed(2)} (${uniform.toFixed(2)})`, el("br")];
  const described = (l, h) => {
    const { pattern, score, uniform, habit, habit_score, habit_uniform, entropy_share, distance } = facts[l][h];
    return el("span", { className: "facts" }, named(pattern, score, uniform),
      habit === undefined ? "" : ["habit: ", named(habit, habit_score, habit_uniform)],
      `entropy ${percent(entropy_share)}`, el("br"), distance === null ? "" : `distance ${distance.toFixed(1)}`);
  };
  const view = new AttentionView({ ...page, keys: keys ?? null, blanks: page.blanks ?? [],
    weights: weightsOf(page, "weights", (keys ?? tokens).length), extra: described });
  const names = { layer: "layer", entropy: "entropy, sharp first", distance: "distance, near first", pattern: "pattern", similarity: "similarity" };
  const choose = el("div", { className: "row" }, "Order: ", Object.keys(names).map((name) =>
    el("button", { type: "button", "data-order": name, onclick: () => sort(name) }, names[name])));
  function sort(name) {
    if (name === "layer") view.inLayers();
    else view.inOrder(orders[name]);
    for (const button of choose.querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.order === name);
  }
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    view.texts.element,
    view.readout,
    el("h2", {}, "All heads"),
    choose,
    el("p", { className: "note" }, "Below each map: the pattern that fits what it shows, its score from 0 to 1, and in brackets that of a head that looks at all tokens alike; " +
      (habit_units === null ? "" : `the same of the head's habit, over ${habit_units} validation units, which may be another; `) +
      "the entropy of its weights as a share of the largest possible; how far away it looks."),
    view.grid,
    view.large,
    el("p", { className: "note" }, page.precision));
  sort(page.sort ?? "layer");
  view.show();
};

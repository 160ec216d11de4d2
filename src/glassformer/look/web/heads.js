// All heads of a text: their maps in an order that is asked for, what each does, one enlarged.

VIEWS.heads = (page, main) => {
  const { tokens, keys, layers, facts, orders } = page;
  const described = (l, h) => {
    const { pattern, score, uniform, entropy_share, distance } = facts[l][h];
    return el("span", { className: "facts" }, el("b", {}, pattern),
      score === null ? "" : ` ${score.toFixed(2)} (uniform ${uniform.toFixed(2)})`, el("br"),
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
    el("p", { className: "note" }, "Below each map: the pattern that fits best, its score from 0 to 1, and that of a head that looks at all tokens alike; the entropy of its weights as a share of the largest possible; how far away it looks."),
    view.grid,
    view.large,
    el("p", { className: "note" }, page.precision));
  sort(page.sort ?? "layer");
  view.show();
};

// The page of layers: what the model would say if it stopped after each.

VIEWS.lens = (page, main) => {
  const { tokens, asked, colours } = page;
  const tables = asked.map(({ position, token, layers }) => {
    const answer = layers[layers.length - 1][0].token;
    return el("section", {},
      el("h2", {}, "Asked at ", el("b", {}, token), ` (${position})`),
      el("div", { className: "wide" }, el("table", { className: "layers" }, el("tbody", {}, layers.map((candidates, n) => el("tr", {},
        el("th", {}, `after layer ${n}`),
        candidates.map(({ token, probability }) => {
          const cell = el("td", {}, el("span", { className: token === answer ? "name chosen" : "name" }, written(token)), ` ${percent(probability)}`);
          tint(cell, probability, colours);
          return cell;
        })))))));
  });
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    el("div", { className: "text" }, tokens.map((token, n) =>
      el("span", { className: asked.some((one) => one.position === n) ? "token blank" : "token" }, written(token)))),
    tables,
    el("p", { className: "note" }, "The final norm and head on the residual stream after each layer. The last row is the model's answer; it is set in bold wherever it stands."));
};

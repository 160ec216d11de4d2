// The families and their strategies: a table of what each is, and below it an example of each.

VIEWS.strategies = (page, main) => {
  const named = (text) => text.replace(/_/g, " ");
  const tokens = (stream, asked) =>
    el("div", { className: "text" }, el("span", { className: "muted" }, `${stream.name} reads `),
      stream.tokens.map((token, n) => el("span", {
        className: asked.some((one) => one.stream === stream.name && one.place === n) ? "token blank" : "token" }, written(token))));
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    sortable([
      { name: "objective", value: (row) => named(row.objective) },
      { name: "family", value: (row) => row.family.replace("_", "-") },
      { name: "a token sees", value: (row) => row.direction },
      { name: "asked", value: (row) => row.question },
      { name: "loss", value: (row) => row.losses.map(named).join(", ") },
      { name: "good for", value: (row) => row.good_for },
    ], page.strategies),
    page.strategies.map(({ title, known_from: source, example, said }) => [
      el("h2", {}, title),
      source && el("p", { className: "note" }, source),
      example === null
        ? el("p", { className: "note" }, "No example: its data are not built in, or it has members, which are above and below.")
        : [example.streams.map((stream) => tokens(stream, example.asked)),
          said.slice(example.streams.length).map((line) => el("p", {}, line))],
    ]));
};

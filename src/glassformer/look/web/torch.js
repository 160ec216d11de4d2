// The page of PyTorch's blocks beside ours: every tensor, its shape, and the largest difference.

VIEWS.torch = (page, main) => {
  const { rows, tokens, verdict } = page;
  const order = new Map(rows.map((row, n) => [row, n + 1]));
  const marked = (row, text) => (row.same ? text : el("b", { className: "warning" }, text));
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    el("div", { className: "text" }, tokens.map((token) => el("span", { className: "token" }, written(token)))),
    el("p", {}, verdict, "."),
    sortable([
      { name: "order", value: (row) => order.get(row) },
      { name: "tensor", value: (row) => row.tensor },
      { name: "shape", value: (row) => row.shape },
      { name: "largest number", value: (row) => row.largest, shown: (row) => row.largest.toPrecision(3) },
      { name: "difference", value: (row) => row.difference ?? Infinity, shown: (row) => marked(row, row.difference === null ? "not finite" : row.difference.toExponential(1)) },
    ], rows),
    el("p", { className: "note" }, "Batch × heads × tokens × features of a head, batch × heads × query × key of weights, else batch × tokens × features; of logits, blanks × vocabulary. In float64 two ways to the same number differ by some 1e-15."));
};

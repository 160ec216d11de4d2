// The page of heads and syntax: the best head of each relation, and every head of one.

VIEWS.dependencies = (page, main) => {
  const { best, every } = page;
  const detail = el("div");
  const share = (value) => (100 * value).toFixed(0) + "%";
  function open(row) {
    const of = every.filter((one) => one.relation === row.relation && one.direction === row.direction);
    const layers = Math.max(...of.map((one) => one.layer)) + 1;
    const grid = Array.from({ length: layers }, (_, l) => of.filter((one) => one.layer === l).map((one) => one.accuracy - row.baseline_accuracy));
    const readout = el("p", { className: "readout" }, "Point at a head.");
    fill(detail, el("h2", {}, `${row.relation}, ${row.direction}: every head`),
      squares(grid, (l, h) => fill(readout, `layer ${l}, head ${h}: ${share(grid[l][h] + row.baseline_accuracy)}, the fixed distance ${share(row.baseline_accuracy)}`), { height: 26 * layers, largest: 1 }),
      readout, el("p", { className: "note" }, "Rows are layers, columns heads. Blue is better than the best fixed distance, orange worse."));
  }
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    page.left_out && el("p", { className: "note" }, page.left_out),
    sortable([
      { name: "relation", value: (row) => row.relation, shown: (row) => el("button", { type: "button", onclick: () => open(row) }, row.relation) },
      { name: "direction", value: (row) => row.direction },
      { name: "best head", value: (row) => `layer ${row.layer} head ${row.head}` },
      { name: "right", value: (row) => row.accuracy, shown: (row) => share(row.accuracy) },
      { name: "fixed distance", value: (row) => row.baseline_accuracy, shown: (row) => `${share(row.baseline_accuracy)} at ${row.offset > 0 ? "+" : ""}${row.offset}` },
      { name: "occurrences", value: (row) => row.occurrences },
    ], best),
    detail,
    el("p", { className: "note" }, "For each word: is the other word that the head looks at most its syntactic head, or its dependent? The best head is picked on the sentences that it is scored on: a small lead says little."));
  open(best[0]);
};

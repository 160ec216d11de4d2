// The page of shapes: every part of a model, what comes out of it, its parameters and its arithmetic.

VIEWS.shapes = (page, main) => {
  const { rows, tokens, parameters, flops, units } = page;
  const many = (n) => n.toLocaleString("en");
  const indented = (row) => {
    const parts = row.place.replace(/\.(\d+)/g, "[$1]").split(".");
    const cell = el("span", {}, parts[parts.length - 1]);
    cell.style.paddingInlineStart = 1.1 * (parts.length - 1) + "rem";
    cell.title = row.place;
    return cell;
  };
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    el("div", { className: "text" }, tokens.map((token) => el("span", { className: "token" }, written(token)))),
    el("p", {}, `${many(parameters)} parameters; ${many(flops)} FLOPs in one pass over these ${tokens.length} tokens.`),
    sortable([
      { name: "part", value: (row) => row.place, shown: indented },
      { name: "kind", value: (row) => row.kind },
      { name: "weights", value: (row) => row.weights },
      { name: "output", value: (row) => row.output },
      { name: "parameters", value: (row) => row.parameters, shown: (row) => (row.parameters ? many(row.parameters) : "") },
      { name: "FLOPs", value: (row) => row.flops, shown: (row) => (row.flops ? many(row.flops) : "") },
    ], rows),
    el("p", { className: "note" }, "Batch × tokens × features, heads between them where there are such. ", units, ". At a mechanism of attention: half for the scores q · k, half for mixing, weights · v. FLOPs include those of a part's own parts; a shared parameter counts where it comes first."));
};

// The confusion matrix; a click on a cell shows the texts behind it.

VIEWS.confusion = (page, main) => {
  const { labels, counts, behind } = page;
  const texts = el("section", { "aria-live": "polite" });
  const sum = (row) => Math.max(1, row.reduce((a, b) => a + b, 0));
  function open(cell, t, p) {
    for (const other of main.querySelectorAll("td button")) other.setAttribute("aria-pressed", other === cell);
    const rows = behind[`${t},${p}`] ?? [], many = counts[t][p];
    const what = t === p ? ["rightly ", el("b", {}, written(labels[t]))] : [el("b", {}, written(labels[t])), ", taken for ", el("b", {}, written(labels[p]))];
    fill(texts, el("h2", {}, what),
      el("p", { className: "note" }, `${many} rows`, rows.length < many && `, of which the ${rows.length} surest are here`),
      el("ol", { className: "texts" }, rows.map((row) => el("li", { value: row.row },
        el("span", { className: "number muted" }, percent(row.probability)), " ", written(row.text)))));
  }
  const cellOf = (t, p) => {
    const share = counts[t][p] / sum(counts[t]);
    const [r, g, b] = colour(share, page.colours);
    const button = el("button", { type: "button", disabled: counts[t][p] === 0, "aria-label": `${labels[t]} taken for ${labels[p]}: ${counts[t][p]}`,
      onclick: () => open(button, t, p) }, counts[t][p] || "");
    button.style.background = `rgb(${r}, ${g}, ${b})`;
    button.style.color = r * 0.299 + g * 0.587 + b * 0.114 < 140 ? "#fff" : "#1f2933";
    if (t === p) button.style.fontWeight = "bold";
    return el("td", {}, button);
  };
  fill(main, el("h1", {}, page.title), el("p", { className: "note" }, page.subtitle),
    el("p", { className: "note" }, "Rows are the true classes, columns what they were taken for; the colour is the share of a row. Click a cell to read the texts behind it."),
    el("div", { className: "wide" }, el("table", { className: "confusion" },
      el("thead", {}, el("tr", {}, el("th", {}, "true"), labels.map((label) => el("th", { scope: "col" }, written(label))))),
      el("tbody", {}, labels.map((label, t) => el("tr", {}, el("th", { scope: "row" }, written(label)), labels.map((_, p) => cellOf(t, p))))))),
    texts);
  const wrong = labels.flatMap((_, t) => labels.map((_, p) => [t, p])).filter(([t, p]) => t !== p && counts[t][p]);
  wrong.sort(([a, b], [c, d]) => counts[c][d] - counts[a][b]);
  if (wrong.length) open(main.querySelectorAll("td button")[wrong[0][0] * labels.length + wrong[0][1]], ...wrong[0]);
};

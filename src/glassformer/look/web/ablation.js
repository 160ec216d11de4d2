// The page of what each part is worth: the change of each metric when it is taken out.

VIEWS.ablation = (page, main) => {
  const { parts, metrics } = page;
  const largest = Math.max(...parts.flatMap((row) => metrics.map((metric) => Math.max(Math.abs(row[metric].low), Math.abs(row[metric].high)))), 1e-9);
  const number = (v) => `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(3)}`;
  function bar({ change, low, high }) {
    const at = (v) => 50 + (50 * v) / largest;
    const track = el("span", { className: "track both" });
    const piece = (className, from, to) => {
      const node = el("span", { className });
      node.style.left = Math.min(at(from), at(to)) + "%";
      node.style.width = Math.abs(at(from) - at(to)) + "%";
      return node;
    };
    const sure = low > 0 || high < 0;
    track.append(piece(`bar ${change < 0 ? "negative" : ""} ${sure ? "" : "unsure"}`, 0, change), piece("interval", low, high));
    return track;
  }
  fill(main,
    el("h1", {}, page.title),
    el("p", { className: "note" }, page.subtitle),
    sortable([
      { name: "without", value: (row) => row.part },
      ...metrics.flatMap((metric) => [
        { name: metric, value: (row) => row[metric].change, shown: (row) => `${number(row[metric].change)} (${number(row[metric].low)} to ${number(row[metric].high)})` },
        { name: "change", value: (row) => row[metric].change, shown: (row) => bar(row[metric]) },
      ]),
    ], parts),
    el("p", { className: "note" }, "Pale: the interval holds zero, so that it is not known whether the part does anything. The loss is in nats per token: 0.69 nats, or 1 bit, are a factor of 2 in probability."));
};

// Two runs on one text: in which they differ, above the two columns.
"use strict";

/** The candidates of two runs for one blank, first those that add most to the Jensen-Shannon divergence. A candidate that
 * a run did not name is less likely there than its last one. */
function apart(first, second, most = 8) {
  const [a, b] = [first, second].map((blank) => new Map(blank.candidates.map((c) => [c.token, c.probability])));
  const least = [a, b].map((named) => Math.min(...named.values()));
  const rows = [...new Set([...a.keys(), ...b.keys()])].map((token) => {
    const p = a.get(token) ?? 0, q = b.get(token) ?? 0, mean = (p + q) / 2;
    const share = (x) => (x > 0 ? (x / 2) * Math.log2(x / mean) : 0);
    return { token, p, q, named: [a.has(token), b.has(token)], weight: share(p) + share(q) };
  });
  rows.sort((x, y) => y.weight - x.weight);
  return { rows: rows.slice(0, most).filter((row, n) => n === 0 || row.weight > 1e-4), bits: rows.reduce((sum, row) => sum + row.weight, 0), least };
}

/** How much of the attention of a layer lies elsewhere, its heads averaged: half of the sum of the differences, the mean
 * over queries. Layer by layer; null where the runs read different tokens or are built differently, and where the text is so
 * long that a page does not hold every weight. */
function elsewhere(one, other) {
  const [a, b] = [one, other].map((page) => page.arrays?.weights);
  if (!a || !b || one.tokens.join("\u0000") !== other.tokens.join("\u0000") || a.shape[0] !== b.shape[0]) return null;
  const [layers, , queries, keys] = a.shape;
  const mean = (box, l, q, k) => {
    let sum = 0;
    for (let h = 0; h < box.shape[1]; h++) sum += box.at(l, h, q, k);
    return sum / box.shape[1];
  };
  return Array.from({ length: layers }, (_, l) => {
    let sum = 0;
    for (let q = 0; q < queries; q++) for (let k = 0; k < keys; k++) sum += Math.abs(mean(a, l, q, k) - mean(b, l, q, k));
    return sum / 2 / queries;
  });
}

/** By view: nodes that say the difference between two pages; `names` are the runs', `blanks` what each says of them. */
const DIFFERENCES = {
  mask: (pages, names, blanks) => {
    const number = Math.min(...blanks.map((all) => all.length));
    const tables = Array.from({ length: number }, (_, n) => {
      const { rows, bits, least } = apart(blanks[0][n], blanks[1][n]);
      const cell = (share, named, side) => el("td", { className: "number" }, named || least[side] < 0.0005 ? percent(share || 1e-9) : `under ${percent(least[side])}`);
      return [
        el("p", { className: "apart" }, number > 1 ? `Blank ${n + 1}: ` : "", `${bits.toFixed(2)} of 1 bit apart`),
        el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "word"), names.map((name) => el("th", { className: "number" }, name)),
          el("th", { className: "number" }, "difference"))),
        el("tbody", {}, rows.map((row) => el("tr", {}, el("td", {}, written(row.token)), cell(row.p, row.named[0], 0), cell(row.q, row.named[1], 1),
          el("td", { className: "number" }, row.named[0] && row.named[1] ? "" : "about ", (row.q >= row.p ? "+" : "−") + (100 * Math.abs(row.q - row.p)).toFixed(1) + " points"))))),
      ];
    });
    const shares = elsewhere(...pages);
    return [tables, el("p", { className: "note" },
      "Jensen-Shannon divergence over the hundred likeliest words of each, other words counted as 0: 0 where both say the same, " +
      "1 where they share nothing. ",
      shares ? "Attention that lies elsewhere, heads averaged: " + shares.map((share, l) => `layer ${l} ${percent(share)}`).join(", ") + "."
        : "Their attention is not compared: they read different tokens, have different layers, show no weights, or the text is too long.")];
  },
  generation: (pages, names) => {
    const [a, b] = pages.map((page) => page.steps.map((step) => step.token));
    const place = a.findIndex((token, n) => token !== b[n]);
    if (place < 0 && a.length === b.length) return [el("p", {}, `Both write the same ${a.length} tokens.`)];
    const at = place < 0 ? a.length : place;
    const said = pages.map((page, n) => {
      const step = page.steps[at];
      return el("li", {}, el("b", {}, names[n]), ": ", step ? [written(step.token), ` ${percent(step.probability)}`] : "has ended",
        step && step.candidates.length > 1 ? ["; also ", step.candidates.filter((c) => c.token !== step.token).slice(0, 3).map((c) => [written(c.token), ` ${percent(c.probability)} `])] : "");
    });
    return [el("p", {}, at === 0 ? "They part at the first token:" : [`The same ${at} token${at > 1 ? "s" : ""}, then they part:`]), el("ul", {}, said)];
  },
};

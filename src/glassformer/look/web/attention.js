// Attention of a text: the words with links between them, one large map, and all heads as small maps.

/** All weights of all heads: layer, head, query, key. */
class Weights {
  constructor(packed) {
    this.packed = packed;
    [this.nLayers, this.nHeads, this.nQueries, this.nKeys] = packed.shape;
    this.note = "";
  }
  at(l, h, q, k) {
    return this.packed.at(l, h, q, k);
  }
  /** What a query gives to each key, and what each query gives to a key. */
  row(l, h, q) {
    return Float64Array.from({ length: this.nKeys }, (_, k) => this.at(l, h, q, k));
  }
  column(l, h, k) {
    return Float64Array.from({ length: this.nQueries }, (_, q) => this.at(l, h, q, k));
  }
  /** The map to draw: its size, and shares of 0 to 1. */
  map(l, h) {
    const { bytes, strides } = this.packed, first = l * strides[0] + h * strides[1];
    return { rows: this.nQueries, columns: this.nKeys, value: (q, k) => bytes[first + q * this.nKeys + k] / 255 };
  }
}

/** Of a long text only tiles (the largest weight in each), and the strongest links of every query, are in the page. */
class Tiles {
  constructor({ tiles, linkKeys, linkWeights, rows, exact }, nKeys) {
    Object.assign(this, { tiles, linkKeys, linkWeights, nKeys, rows, exact: exact ?? [] });
    [this.nLayers, this.nHeads] = tiles.shape;
    [, , this.nQueries, this.many] = linkWeights.shape;
    this.note = `Of this long text each map shows tiles, the largest weight in each, and each token its ${this.many} strongest links in each head` +
      (this.exact.length > 0 ? `; every weight of the rows ${this.exact.join(", ")}.` : ".");
  }
  key(offset) {
    return 256 * this.linkKeys.bytes[2 * offset] + this.linkKeys.bytes[2 * offset + 1];
  }
  at(l, h, q, k) {
    return this.row(l, h, q)[k];
  }
  row(l, h, q) {
    const chosen = this.exact.indexOf(q);
    if (chosen >= 0) return Float64Array.from({ length: this.nKeys }, (_, k) => this.rows.at(l, h, chosen, k));
    const found = new Float64Array(this.nKeys), first = this.linkWeights.offset(l, h, q, 0);
    for (let n = first; n < first + this.many; n++) found[this.key(n)] = (this.linkWeights.bytes[n] / 255) * this.linkWeights.largest;
    return found;
  }
  column(l, h, k) {
    const found = new Float64Array(this.nQueries), first = this.linkWeights.offset(l, h, 0, 0);
    for (let q = 0, n = first; q < this.nQueries; q++)
      for (let i = 0; i < this.many; i++, n++)
        if (this.key(n) === k && this.linkWeights.bytes[n]) found[q] = (this.linkWeights.bytes[n] / 255) * this.linkWeights.largest;
    return found;
  }
  map(l, h) {
    const { bytes, strides, shape } = this.tiles, first = l * strides[0] + h * strides[1];
    return { rows: shape[2], columns: shape[3], value: (y, x) => bytes[first + y * shape[3] + x] / 255 };
  }
}

/** The texts that attend and are attended to: one row of tokens, or two where they differ. A token is active while it is
 * pointed at, and stays so when it is clicked; `onActive(side, place, pinned)` hears of it. */
class Texts {
  constructor(queries, keys, blanks, onActive) {
    this.same = keys === null;
    const made = (tokens, side) => tokens.map((token, place) => el("button", {
      type: "button", className: blanks.includes(place) && side === "query" ? "token blank" : "token",
      title: `token ${place}`, "data-side": side, "data-place": place,
    }, written(token)));
    this.queries = made(queries, "query");
    this.keys = this.same ? this.queries : made(keys, "key");
    this.links = svg("svg", { class: "links", "aria-hidden": "true" });
    const rows = this.same ? [this.queries] : [this.queries, this.keys];
    this.element = el("div", { className: "text" }, rows.map((row) => el("div", {}, row)), this.links);
    this.tinted = new Set();
    const heard = (pinned) => (event) => {
      const node = event.target.closest(".token");
      if (node && (pinned || event.pointerType !== "touch")) onActive(node.dataset.side, Number(node.dataset.place), pinned);
    };
    this.element.addEventListener("pointerover", heard(false));
    this.element.addEventListener("focusin", heard(false));
    this.element.addEventListener("click", heard(true));
    this.element.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const row = rows.find((nodes) => nodes.includes(document.activeElement));
      if (step && row) row[Math.max(0, Math.min(row.length - 1, row.indexOf(document.activeElement) + step))].focus();
    });
  }

  /** Tint what the active token looks at (or what looks at it, where it is a key), and draw links to the strongest:
   * `out` and `into` are shares of each key and of each query, or null. */
  show(side, place, out, into, colours) {
    const active = (side === "query" ? this.queries : this.keys)[place];
    if (this.tinted.size === 0) this.element.scrollTop = active.offsetTop - this.element.clientHeight / 2; // of a long text: to the blank
    for (const node of this.tinted) {
      tint(node, 0, colours);
      node.classList.remove("active");
    }
    this.tinted = new Set([active]);
    const [nodes, values] = out ? [this.keys, out] : [this.queries, into];
    values.forEach((share, n) => {
      if (share <= 0.02) return;
      tint(nodes[n], share, colours);
      this.tinted.add(nodes[n]);
    });
    active.classList.add("active");
    const links = [
      ...(out ? strongest(out, 8).map(([k, v]) => [this.keys[k], v, "out"]) : []),
      ...(into ? strongest(into, 8).map(([q, v]) => [this.queries[q], v, "in"]) : []),
    ];
    fill(this.links, links.filter(([other]) => other !== active).map(([other, v, kind]) => this.link(active, other, v, kind)));
  }

  link(from, to, share, kind) {
    const [upper, lower] = from.offsetTop <= to.offsetTop ? [from, to] : [to, from];
    const [x0, x1] = [upper, lower].map((node) => node.offsetLeft + node.offsetWidth / 2);
    const y0 = upper.offsetTop + (this.same ? 0 : upper.offsetHeight), y1 = lower.offsetTop;
    const bend = this.same ? Math.min(y0, y1) - Math.min(34, 8 + Math.abs(x1 - x0) / 8) : (y0 + y1) / 2;
    return svg("path", {
      class: kind, d: `M${x0},${y0} C${x0},${bend} ${x1},${bend} ${x1},${y1}`,
      "stroke-width": 0.6 + 5 * share, opacity: 0.3 + 0.7 * share,
    });
  }
}

function tint(node, share, colours) {
  const [r, g, b] = colour(share, colours);
  const dark = 0.299 * r + 0.587 * g + 0.114 * b < 140;
  node.style.background = share > 0.02 ? `rgb(${r} ${g} ${b})` : "";
  node.style.color = share > 0.02 ? (dark ? "#fff" : "#1f2933") : "";
}

/** [place, value] of the largest values, those that are next to nothing left out. */
const strongest = (values, count) =>
  [...values.entries()].filter(([, v]) => v > 0.005).sort((a, b) => b[1] - a[1]).slice(0, count);

/** The same values as shares of the largest. */
function shares(values) {
  const largest = values.reduce((a, b) => Math.max(a, b), 1e-9);
  return values.map((v) => v / largest);
}

/** Draw a map of rows x columns, `value(row, column)` a share of 0 to 1. More squares than pixels: the largest in each. */
function drawMap(canvas, { rows, columns, value }, colours, most = 1024) {
  const [height, width] = [Math.min(rows, most), Math.min(columns, most)];
  const edges = (count, size) => Array.from({ length: size + 1 }, (_, n) => Math.floor((n * count) / size));
  const [ys, xs] = [edges(rows, height), edges(columns, width)];
  const image = new ImageData(width, height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let largest = 0;
      for (let q = ys[y]; q < ys[y + 1]; q++) for (let k = xs[x]; k < xs[x + 1]; k++) largest = Math.max(largest, value(q, k));
      const [r, g, b] = colour(largest, colours);
      image.data.set([r, g, b, 255], 4 * (y * width + x));
    }
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** A large map with its tokens along both sides, where there is room for them. `pointed(q, k)` hears of the mouse and of
 * the arrow keys. */
class LargeMap {
  constructor(queries, keys, pointed) {
    const shape = [queries.length, keys.length];
    this.canvas = el("canvas", { tabIndex: 0, title: "arrow keys move from square to square" });
    const room = Math.max(...shape) <= 40;
    const names = (tokens, side) => el("div", { className: side }, room ? tokens.map((t) => el("span", {}, written(t))) : []);
    this.element = el("div", { className: "labelled" }, el("span"), names(keys, "above"), names(queries, "beside"), this.canvas);
    let place = [0, 0];
    this.canvas.addEventListener("pointermove", (event) => {
      const box = this.canvas.getBoundingClientRect();
      place = [part(event.clientY - box.top, box.height, shape[0]), part(event.clientX - box.left, box.width, shape[1])];
      pointed(...place);
    });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      place = place.map((n, axis) => Math.max(0, Math.min(shape[axis] - 1, n + step[axis])));
      pointed(...place);
    });
  }
}

/** Everything about the attention of one text: `tokens` attend to `keys` (null: to themselves) with `weights` (Weights
 * or Tiles). `onChange(state)` is called after each choice, `extra(layer, head)` gives what stands below a small map.
 * The parts are elements for a page to place. */
class AttentionView {
  constructor({ tokens, keys = null, blanks = [], layers, weights, colours, extra = () => null, onChange = () => {} }) {
    Object.assign(this, { tokens, keys: keys ?? tokens, layers, weights, colours, extra, onChange });
    this.state = { layer: null, head: null, side: "query", place: blanks[0] ?? weights.nQueries - 1, pinned: true, pool: "mean" };
    this.texts = new Texts(tokens, keys, blanks, (side, place, pinned) => this.choose({ side, place, pinned }));
    this.readout = el("p", { className: "readout", "aria-live": "polite" });
    this.under = el("p", { className: "muted readout" });
    this.map = new LargeMap(this.tokens, this.keys, (q, k) => fill(this.under,
      el("b", {}, this.tokens[q]), ` (${q}) attends to `, el("b", {}, this.keys[k]), ` (${k}): ${weight(this.row(q)[k])}`));
    this.heading = el("h2");
    this.pools = el("span", { className: "row" }, ["mean", "max"].map((pool) =>
      el("button", { type: "button", "data-pool": pool, onclick: () => this.choose({ pool, layer: null, head: null }) }, `${pool} of all heads`)));
    this.large = el("div", { className: "map" }, this.heading, this.pools, this.map.element, this.under,
      el("p", { className: "note" }, "Rows are queries, columns keys. ", scale(colours, "0", "1"), weights.note && el("br"), weights.note));
    this.cells = this.layers.map((_, l) => Array.from({ length: weights.nHeads }, (_, h) => this.cell(l, h)));
    this.grid = el("div", { className: "grid" });
    this.inLayers();
  }

  /** Something of the chosen head, or of all heads, pooled: `of(layer, head)` gives arrays of equal length. */
  pooled(of) {
    const { layer, head, pool } = this.state;
    if (layer !== null) return of(layer, head);
    const { nLayers, nHeads } = this.weights;
    let whole = null;
    for (let l = 0; l < nLayers; l++)
      for (let h = 0; h < nHeads; h++) {
        const one = of(l, h);
        if (whole === null) whole = new Float64Array(one.length);
        for (let n = 0; n < one.length; n++) whole[n] = pool === "max" ? Math.max(whole[n], one[n]) : whole[n] + one[n] / (nLayers * nHeads);
      }
    return whole;
  }
  row(q) {
    return this.pooled((l, h) => this.weights.row(l, h, q));
  }

  whose() {
    const { layer, head, pool } = this.state;
    const { nLayers, nHeads } = this.weights;
    return layer === null ? `${pool} of ${nLayers} layers × ${nHeads} heads` : `${this.layers[layer]}, head ${head}`;
  }

  cell(l, h) {
    const canvas = el("canvas");
    drawMap(canvas, this.weights.map(l, h), this.colours, 96);
    const open = el("button", { type: "button", className: "cell", title: `${this.layers[l]}, head ${h}: enlarge`, onclick: () => {
      const same = this.state.layer === l && this.state.head === h;
      this.choose(same ? { layer: null, head: null } : { layer: l, head: h });
    } }, canvas);
    return { open, element: el("div", {}, open, this.extra(l, h)) };
  }

  /** The small maps as a table of layers and heads. */
  inLayers() {
    const { nHeads } = this.weights;
    this.grid.style.gridTemplateColumns = `max-content repeat(${nHeads}, minmax(4.4rem, 9rem))`;
    fill(this.grid, el("span"), Array.from({ length: nHeads }, (_, h) => el("span", { className: "label" }, `Head ${h}`)),
      this.layers.map((name, l) => [el("span", { className: "label" }, name), this.cells[l].map((cell) => cell.element)]));
  }

  /** The small maps one after another: [layer, head] of each. */
  inOrder(order) {
    this.grid.style.gridTemplateColumns = "repeat(auto-fill, minmax(6.5rem, 1fr))";
    fill(this.grid, order.map(([l, h]) =>
      el("div", {}, el("span", { className: "label" }, `${this.layers[l]}, head ${h}`), this.cells[l][h].element)));
  }

  choose(change) {
    const before = { ...this.state };
    Object.assign(this.state, change);
    if (["layer", "head", "pool"].some((key) => before[key] !== this.state[key])) this.drawLarge();
    this.show();
  }

  drawLarge() {
    const { layer, head } = this.state;
    const maps = [];
    if (layer !== null) maps.push(this.weights.map(layer, head));
    else this.layers.forEach((_, l) => { for (let h = 0; h < this.weights.nHeads; h++) maps.push(this.weights.map(l, h)); });
    const { rows, columns } = maps[0];
    const pool = this.state.pool === "max"
      ? (y, x) => maps.reduce((most, map) => Math.max(most, map.value(y, x)), 0)
      : (y, x) => maps.reduce((sum, map) => sum + map.value(y, x), 0) / maps.length;
    drawMap(this.map.canvas, { rows, columns, value: maps.length === 1 ? maps[0].value : pool }, this.colours);
    this.heading.textContent = `Map: ${this.whose()}`;
    this.cells.forEach((row, l) => row.forEach(({ open }, h) => open.classList.toggle("active", layer === l && head === h)));
    for (const button of this.pools.children) button.setAttribute("aria-pressed", layer === null && button.dataset.pool === this.state.pool);
  }

  show() {
    if (!this.drawn) this.drawLarge();
    this.drawn = true;
    const { side, place } = this.state;
    const same = this.texts.same;
    const out = side === "query" ? this.row(place) : null;
    const into = side === "key" || same ? this.pooled((l, h) => this.weights.column(l, h, place)) : null;
    this.texts.show(side, place, out && shares(out), into && shares(into), this.colours);
    const listed = (values, names) =>
      strongest(values, 4).map(([n, v], i) => [i ? ", " : " ", el("b", {}, names[n]), ` ${weight(v)}`]);
    const name = el("b", {}, (side === "query" ? this.tokens : this.keys)[place]);
    fill(this.readout,
      out && [el("span", { className: "key" }), name, " attends to", listed(out, this.keys), ". "],
      into && [el("span", { className: "key in" }), out ? "It is attended from" : [name, " is attended from"], listed(into, this.tokens), ". "],
      el("span", { className: "muted" }, `(${this.whose()})`));
    this.onChange(this.state);
  }
}

/** Why there are no maps, and what there is. */
const noWeights = (why, layers) => el("p", { className: "warning" }, `This model has no attention weights to be shown: ${why}. Its answers are here`,
  layers.length > 0 ? "; what it would answer after each layer is in `look lens`, what each part is worth in `ablate`." : ".");

/** The same parts of a model that has no weights to be shown, which says why: the words, and what is known of each head. */
class Unseen {
  constructor({ tokens, blanks = [], layers, heads, why, colours, extra = () => null, onChange = () => {} }) {
    Object.assign(this, { tokens, colours, onChange });
    this.state = { side: "query", place: blanks[0] ?? tokens.length - 1 };
    this.texts = new Texts(tokens, null, blanks, (side, place) => this.choose({ side, place }));
    this.readout = noWeights(why, layers);
    this.large = null;
    this.cells = layers.map((name, l) => Array.from({ length: heads }, (_, h) => {
      const open = el("span", { className: "label" }, `${name}, head ${h}`);
      return { open, element: el("div", {}, open, extra(l, h)) };
    }));
    this.grid = el("div", { className: "grid" }, this.cells.flat().map((cell) => cell.element));
    this.grid.style.gridTemplateColumns = "repeat(auto-fill, minmax(6.5rem, 1fr))";
  }
  choose(change) {
    Object.assign(this.state, change);
    this.show();
  }
  show() {
    const { side, place } = this.state;
    this.texts.show(side, place, new Float64Array(this.tokens.length), null, this.colours);
    this.onChange(this.state);
  }
}

/** The weights of a page under a name: all of them, or tiles and links. */
function weightsOf(page, name, nKeys) {
  if (page.arrays[name]) return new Weights(page.arrays[name]);
  const of = (part) => page.arrays[`${name}_${part}`];
  return new Tiles({ tiles: of("tiles"), linkKeys: of("link_keys"), linkWeights: of("link_weights"), rows: of("rows"), exact: page.exact }, nKeys);
}

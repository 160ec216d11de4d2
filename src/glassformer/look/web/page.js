// What all pages share: elements built from text nodes only, packed arrays, maps, links over a text, bars.
// Nothing here asks the network for anything, and nothing that came with the data is ever read as markup.
"use strict";

/** An element. `attributes` are set as properties where the element has such, else as attributes; children that are no
 * nodes become text nodes. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !name.startsWith("aria")) node[name] = name === "title" ? withoutMarks(value) : value;
    else node.setAttribute(name, value);
  }
  return fill(node, ...children);
}

/** Put these, and nothing else, into an element. */
function fill(node, ...children) {
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.replaceChildren(...kept.map((child) => (typeof child === "string" ? withoutMarks(child) : child)));
  return node;
}

/** Tokens as words, as `without_marks` of `formatting.py` has it. */
function withoutMarks(text) {
  return text.replace(/(?<=[\p{L}\p{N}_])▁+(?=[\p{L}\p{N}_])/gu, " ")
    .replace(/▁+(?=[^\s▁])|(?<=[^\s▁])▁+|(?<![\p{L}\p{N}_#])##(?=[\p{L}\p{N}_])|(?<=[\p{L}\p{N}_])<\/w>/gu, "");
}

/** Numbers of one byte each, unpacked: `at(...)` gives the value at an index. */
class Packed {
  constructor(shape, largest, bytes) {
    Object.assign(this, { shape, largest, bytes });
    this.strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  }
  offset(...index) {
    return index.reduce((sum, place, axis) => sum + place * this.strides[axis], 0);
  }
  at(...index) {
    return (this.bytes[this.offset(...index)] / 255) * this.largest;
  }
}

async function unpack({ shape, largest, data }) {
  const text = atob(data);
  const packed = new Uint8Array(text.length);
  for (let n = 0; n < text.length; n++) packed[n] = text.charCodeAt(n);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Packed(shape, largest, new Uint8Array(await new Response(stream).arrayBuffer()));
}

const percent = (share) =>
  share > 0.99995 && share < 1 ? ">99.9%" : share > 0 && share < 0.0005 ? "<0.1%" : (100 * share).toFixed(1) + "%";
const weight = (value) => value.toFixed(3);

/** The colour of a share from 0 to 1, as [r, g, b]. */
const colour = (share, colours) => colours[Math.max(0, Math.min(255, Math.round(255 * share)))];

/** What a token says, and its code points where that cannot be seen. */
function written(token) {
  const seen = /[^\p{C}\p{Z}]/u.test(token.replace(/[\ufeff\ufffd]/g, ""));
  const codes = [...token].slice(0, 8).map((c) => "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
  return seen ? [token] : [token, el("small", {}, codes.join(" "))];
}

/** Bars of probability; `before` (by name) puts a mark where each was, `chosen` is set off. */
function bars(candidates, before = null, chosen = null) {
  return el(
    "div",
    { className: "bars" },
    candidates.map(({ token, probability }) => {
      const bar = el("span", { className: "bar" });
      bar.style.width = 100 * probability + "%";
      const track = el("span", { className: "track" }, bar);
      if (before !== null && before.has(token)) {
        const mark = el("span", { className: "before", title: `before: ${percent(before.get(token))}` });
        mark.style.left = 100 * before.get(token) + "%";
        track.append(mark);
      }
      const name = el("span", { className: token === chosen ? "name chosen" : "name" }, written(token));
      return [name, track, el("span", { className: "number" }, percent(probability))];
    }),
  );
}

/** The scale of colours beside its two ends. */
function scale(colours, low, high) {
  const canvas = el("canvas", { className: "scale", width: 256, height: 1 });
  const image = new ImageData(256, 1);
  colours.forEach(([r, g, b], n) => image.data.set([r, g, b, 255], 4 * n));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return el("span", { className: "muted" }, `${low} `, canvas, ` ${high}`);
}

/** How each view is built: VIEWS[name](page, main), from the data of a page, its arrays unpacked. */
const VIEWS = {};

async function show(page, main) {
  const arrays = Object.fromEntries(await Promise.all(Object.entries(page.arrays).map(async ([name, box]) => [name, await unpack(box)])));
  const unpacked = { ...page, arrays };
  fill(main);
  VIEWS[page.view](unpacked, main);
  return unpacked;
}

/** The view whose data this file holds. Errors are said on the page. */
async function begin() {
  const main = document.querySelector("main");
  try {
    await show(JSON.parse(document.getElementById("data").textContent), main);
    document.body.dataset.ready = "yes";
  } catch (error) {
    fill(main, el("p", { className: "warning" }, "This page could not be shown: " + error));
    throw error;
  }
}

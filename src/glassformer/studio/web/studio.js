// The studio: choose a run, type, click words to mask them, look. What is asked for stands in the address.
"use strict";

(async () => {
  const byId = (id) => document.getElementById(id);
  const [runMenu, besideMenu, text, words, viewMenu, more, columns, link] =
    ["run", "beside", "text", "words", "views", "more", "columns", "link"].map(byId);
  const differences = byId("differences");
  const NAMES = { mask: "Blanks", generation: "Generation", heads: "Heads", attribution: "What mattered", lens: "Layer by layer",
    steps: "Step by step", masks: "Masks", shapes: "Shapes", positions: "Positions", schedule: "Learning rate", film: "Film", pronoun: "Reference",
    word: "One word in two texts", ablation: "Without each part", dependencies: "Syntax" };
  const WITHOUT_TEXT = ["positions", "schedule", "film", "ablation", "dependencies"];
  const PARTS = ["heads", "attention", "feed-forward", "layers", "positions", "all"];
  const state = { run: "", beside: "", view: "", text: "", layer: 0, head: 0, token: "", word: "", parts: "" };
  let asking = null; // the request under way, which the next one ends
  let refused = null; // what an address asks for that is not there

  /** Ask the API. Errors come as { error, mend }. */
  async function ask(path, body, signal) {
    let answer;
    try {
      answer = await fetch(path, body === null ? { signal } : {
        method: "POST", signal, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw { error: "the studio does not answer", mend: "is the command still running?" };
    }
    const found = await answer.json();
    if (!answer.ok) throw found;
    return found;
  }

  let runs = [];
  try {
    runs = await ask("/api/runs", null);
  } catch (error) {
    fill(columns, failure(error));
    return;
  }
  const runNamed = (name) => runs.find((run) => run.name === name);
  fill(runMenu, runs.map((run) => el("option", { value: run.name }, `${run.name} (${run.objective})`)));
  fill(besideMenu, el("option", { value: "" }, "nothing"), runs.map((run) => el("option", { value: run.name }, `${run.name} (${run.objective})`)));

  const possible = (run) => Object.keys(NAMES).filter((view) => (view !== "mask" || run.fills) && (view !== "generation" || run.generates) && (view !== "film" || run.film) &&
    (view !== "dependencies" || run.dependencies));
  const example = (run) => (run.fills ? "Mars is called the [MASK] planet" : "I love dogs");

  function failure({ error, mend }) {
    return el("div", { className: "state error", role: "alert" }, el("b", {}, error ?? "something went wrong"), el("br"), mend ?? "");
  }

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const key of Object.keys(state)) state[key] = given.get(key) ?? (key === "layer" || key === "head" ? "0" : "");
    refused = null;
    const missing = [state.run, state.beside].find((name) => name && !runNamed(name));
    if (missing) refused = { error: `there is no run ${missing} here`, mend: `the runs are: ${runs.map((run) => run.name).join(", ")}` };
    if (!runNamed(state.run)) state.run = runs[0].name;
    if (!runNamed(state.beside)) state.beside = "";
    const run = runNamed(state.run);
    if (state.view && !possible(run).includes(state.view)) {
      refused ??= { error: `${run.name} has no view ${NAMES[state.view] ?? state.view}`, mend: "choose one of those above" };
    }
    if (!possible(run).includes(state.view)) state.view = possible(run)[0];
    if (!given.has("text")) state.text = example(run);
    [state.layer, state.head] = [Number(state.layer) || 0, Number(state.head) || 0];
  }

  function write() {
    const kept = Object.entries(state).filter(([key, value]) => value !== "" && !(["layer", "head"].includes(key) && (value === 0 || state.view !== "steps")));
    const hash = "#" + new URLSearchParams(kept.map(([key, value]) => [key, String(value)]));
    if (location.hash !== hash) history.replaceState(null, "", hash);
    link.href = hash;
  }

  /** The words of the text, each a switch between itself and a blank. */
  const originals = [];
  function showWords() {
    const run = runNamed(state.run);
    if (!run.fills) return fill(words);
    const parts = state.text.split(/(\s+)/);
    fill(words, parts.map((part, n) => {
      if (part.trim() === "") return null;
      if (part !== "[MASK]") originals[n] = part;
      return el("button", { type: "button", className: part === "[MASK]" ? "token word blank" : "token word",
        "aria-pressed": part === "[MASK]", title: part === "[MASK]" ? "put the word back" : "mask this word",
        onclick: () => {
          parts[n] = part === "[MASK]" ? originals[n] ?? "[MASK]" : "[MASK]";
          text.value = state.text = parts.join("");
          look();
        } }, written(part));
    }));
  }

  function showMenus() {
    const run = runNamed(state.run);
    runMenu.value = state.run;
    besideMenu.value = state.beside;
    if (text.value !== state.text) text.value = state.text;
    fill(viewMenu, possible(run).map((view) => el("button", { type: "button", "aria-pressed": view === state.view,
      onclick: () => { state.view = view; look(); } }, NAMES[view])));
    const number = (key, name, most) => el("label", {}, name, el("input", { type: "number", min: 0, max: most, value: state[key],
      onchange: (event) => { state[key] = Number(event.target.value) || 0; look(); } }));
    const layers = Math.max(...Object.values(run.layers)) - 1;
    const written_ = (key, usual) => el("label", {}, key, el("input", { type: "text", value: state[key], placeholder: usual,
      onchange: (event) => { state[key] = event.target.value; look(); } }));
    fill(more, state.view === "steps" && [number("layer", "layer", layers), number("head", "head", run.heads - 1), written_("token", "the blank")],
      state.view === "pronoun" && written_("word", "it"),
      state.view === "word" && [written_("word", "a word of both"), el("span", { className: "muted" }, "Write two lines, a text in each.")],
      state.view === "ablation" && el("label", {}, "parts", el("select", { value: state.parts || "heads",
        onchange: (event) => { state.parts = event.target.value; look(); } },
      PARTS.map((parts) => el("option", { value: parts, selected: parts === (state.parts || "heads") }, parts)))));
  }

  async function look() {
    asking?.abort();
    const mine = (asking = new AbortController());
    const current = refused;
    refused = null; // whatever is chosen next is there
    if (!current) write();
    showMenus();
    showWords();
    if (current) {
      fill(columns, failure(current));
      fill(differences);
      document.body.dataset.ready = "yes";
      return;
    }
    const names = [state.run, state.beside].filter(Boolean);
    columns.className = names.length > 1 ? "two" : "";
    const mains = names.map(() => el("main", { "aria-busy": "true" }, el("p", { className: "state" }, "Looking ...")));
    fill(columns, mains);
    fill(differences);
    delete document.body.dataset.ready;
    if (!state.text.trim() && !WITHOUT_TEXT.includes(state.view)) {
      mains.forEach((main) => fill(main, el("p", { className: "state" }, "Type a text above.")));
    } else {
      const pages = await Promise.all(names.map((name, n) => one(name, mains[n], mine.signal)));
      const view = pages[0]?.view;
      if (pages.length === 2 && pages.every(Boolean) && DIFFERENCES[view] && !mine.signal.aborted) await compare(view, pages, names, mine.signal);
    }
    if (!mine.signal.aborted) document.body.dataset.ready = "yes";
  }

  async function one(name, main, signal) {
    const asked = { run: name, text: state.text, view: state.view };
    if (["pronoun", "word"].includes(state.view)) asked.word = state.word || "it";
    if (state.view === "ablation") asked.parts = state.parts || "heads";
    if (state.view === "steps") Object.assign(asked, { layer: state.layer, head: state.head, token: state.token || null });
    try {
      const page = await ask("/api/view", asked, signal);
      page.live = async (off) => (await ask("/api/fill", { run: name, text: asked.text, top: 8, off }, null)).blanks;
      return await show(page, main);
    } catch (error) {
      if (error.name !== "AbortError") fill(main, failure(error));
      return null;
    } finally {
      main.removeAttribute("aria-busy");
    }
  }

  /** What two pages of one view differ in, above them. */
  async function compare(view, pages, names, signal) {
    try {
      const blanks = view !== "mask" ? [] : (await Promise.all(names.map((name) =>
        ask("/api/fill", { run: name, text: pages[0].text, top: 100 }, signal)))).map((answer) => answer.blanks);
      fill(differences, el("h2", {}, "Where they differ"), DIFFERENCES[view](pages, names, blanks));
    } catch (error) {
      if (error.name !== "AbortError") fill(differences, failure(error));
    }
  }

  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    state.text = text.value;
    look();
  });
  let typing = null;
  text.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { state.text = text.value; look(); }, 600);
  });
  runMenu.addEventListener("change", () => {
    const before = example(runNamed(state.run));
    state.run = runMenu.value;
    const run = runNamed(state.run);
    if (!possible(run).includes(state.view)) state.view = possible(run)[0];
    if (state.text === before) state.text = example(run);
    look();
  });
  besideMenu.addEventListener("change", () => { state.beside = besideMenu.value; look(); });
  document.addEventListener("keydown", (event) => {
    const typingNow = ["TEXTAREA", "INPUT", "SELECT"].includes(document.activeElement.tagName);
    if (event.key === "/" && !typingNow) { event.preventDefault(); text.focus(); }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { state.text = text.value; look(); }
    if (event.altKey && /^[1-9]$/.test(event.key)) {
      const view = possible(runNamed(state.run))[Number(event.key) - 1];
      if (view) { event.preventDefault(); state.view = view; look(); }
    }
  });
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(location.href);
      link.textContent = "Copied";
    } catch {
      link.textContent = location.href;
    }
    setTimeout(() => (link.textContent = "Link to this"), 2000);
  });
  window.addEventListener("hashchange", () => { read(); look(); });
  read();
  look();
})();

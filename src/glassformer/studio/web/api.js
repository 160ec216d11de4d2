// The API's own page, made from its OpenAPI description.
"use strict";

(async () => {
  const main = document.querySelector("main");
  const found = await (await fetch("/openapi.json")).json();
  const schema = (box) => (box.$ref ? found.components.schemas[box.$ref.split("/").pop()] : box);
  const kind = (box) => box.type === "array" ? `list of ${kind(box.items)}` : box.enum ? box.enum.join(" | ")
    : box.anyOf ? box.anyOf.map(kind).join(" or ") : box.type ?? "";
  const limits = (box) => ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxLength", "maxItems"]
    .filter((name) => name in box).map((name) => `${name} ${box[name]}`).join(", ");
  const operations = Object.entries(found.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, one]) => ({ path, method, one })));
  fill(main,
    el("h1", {}, `${found.info.title} ${found.info.version}`),
    el("p", {}, found.info.description),
    el("p", { className: "note" }, "Errors are answered with { error, mend }: 422 for what cannot be done, 413 for too much, 503 while too many wait or where it takes too long. The whole description: ",
      el("a", { href: "/openapi.json" }, "/openapi.json")),
    operations.map(({ path, method, one }) => {
      const body = one.requestBody && schema(one.requestBody.content["application/json"].schema);
      return el("section", {},
        el("h2", {}, el("code", {}, `${method.toUpperCase()} ${path}`)),
        el("p", {}, one.summary ?? ""),
        body && el("div", { className: "wide" }, el("table", {},
          el("thead", {}, el("tr", {}, ["field", "type", "default", "limits", "meaning"].map((name) => el("th", {}, name)))),
          el("tbody", {}, Object.entries(body.properties).map(([name, box]) => el("tr", {},
            el("td", {}, el("code", {}, name)), el("td", {}, kind(box)),
            el("td", {}, (body.required ?? []).includes(name) ? "needed" : JSON.stringify(box.default ?? null)),
            el("td", {}, limits(box)), el("td", {}, box.description ?? "")))))));
    }));
  document.body.dataset.ready = "yes";
})();

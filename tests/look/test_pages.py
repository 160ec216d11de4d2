"""Pages, opened in a browser, pointed at and clicked; and what must never happen there."""

import base64
import html
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import browser, opened
from hostile import MANY
from matplotlib.figure import Figure
from trained import TEXT, command, generator_folder, refused, run_folder

from glassformer import views
from glassformer.ablation import Part, without
from glassformer.ask.run import load
from glassformer.data.batch import collate
from glassformer.formatting import without_marks
from glassformer.look.measures.film import film_of as film_of_run
from glassformer.look.measures.film import took_shape
from glassformer.look.pictures.page import View, packed, page
from glassformer.look.pictures.panels import lines, squares
from glassformer.look.views.attribution import METHODS
from glassformer.look.views.generation import make as generation_view
from glassformer.look.views.heads import ORDERS
from glassformer.look.views.mask import make as mask_view
from glassformer.look.views.steps import make as steps_view
from glassformer.look.views.steps import place_of as steps_place

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


def random_weights(*shape: int) -> np.ndarray:
    scores = np.exp(2 * RNG.normal(size=shape))
    return scores / scores.sum(-1, keepdims=True)


def candidates(tokens: list[str]) -> list[dict[str, Any]]:
    return [{"token": token, "probability": 1 / (n + 2)} for n, token in enumerate(tokens[:4])]


def mask_of(tokens: list[str], layers: int = 2, heads: int = 3) -> View:
    blank = {"position": 1, "candidates": candidates(tokens)}
    data = {
        "subtitle": tokens[-1],
        "tokens": tokens,
        "blanks": [blank],
        "layers": [f"Layer {n}" for n in range(layers)],
        "without": [[[{"first": 0.3, **blank}] for _ in range(heads)] for _ in range(layers)],
    }
    arrays = {"weights": random_weights(layers, heads, len(tokens), len(tokens))}
    return View("mask", tokens[0], data, arrays, Figure)


def unseen_of(tokens: list[str]) -> View:
    """A mask page without maps."""
    view = mask_of(tokens)
    return view._replace(data=view.data | {"why": tokens[2], "heads": 3}, arrays={})


def generation_of(tokens: list[str]) -> View:
    steps = [
        {"token": t, "probability": 0.5, "candidates": candidates(tokens), "reads": n} for n, t in enumerate(tokens)
    ]
    data = {
        "subtitle": tokens[-1],
        "source": tokens,
        "read": tokens,
        "steps": steps,
        "finished": True,
        "layers": ["Layer 0"],
    }
    arrays = {
        "own": random_weights(1, 2, len(tokens), len(tokens)),
        "cross": random_weights(1, 2, len(tokens), len(tokens)),
    }
    return View("generation", tokens[0], data, arrays, Figure)


def steps_of(tokens: list[str]) -> View:
    numbers = {"kind": "numbers", "name": "Weights", "formula": "w", "note": "", "values": [0.5] * len(tokens)}
    vectors = {"kind": "vectors", "name": "Keys", "formula": "k", "note": "", "values": [[1.0, -2.0]] * len(tokens)}
    vector = {"kind": "vector", "name": "Query", "formula": "q", "note": "", "values": [1.0, 2.0]}
    data = {
        "subtitle": tokens[-1],
        "tokens": tokens,
        "place": 1,
        "steps": [vector, vectors, numbers],
        "candidates": candidates(tokens),
    }
    return View("steps", tokens[0], data, {}, Figure)


def heads_of(tokens: list[str]) -> View:
    fact = {"pattern": "next", "score": 0.5, "uniform": 0.1, "entropy_share": 0.5, "distance": None}
    data = {
        "subtitle": tokens[-1],
        "tokens": tokens,
        "keys": None,
        "layers": ["Layer 0"],
        "facts": [[fact, fact]],
        "orders": {name: [[0, 1], [0, 0]] for name in ORDERS},
        "sort": "similarity",
    }
    return View("heads", tokens[0], data, {"weights": random_weights(1, 2, len(tokens), len(tokens))}, Figure)


def honest_of(tokens: list[str]) -> View:
    relevance = {name: [1 / len(tokens)] * len(tokens) for name in (*METHODS, "effect")}
    data = {
        "subtitle": tokens[-1],
        "tokens": tokens,
        "position": 1,
        "candidate": {"token": tokens[2], "probability": 0.5},
        "nats": [0.1] * len(tokens),
        "relevance": relevance,
        "correlations": dict.fromkeys(METHODS, None),
        "warnings": tokens[:3],
        "methods": METHODS,
        "effect": "effect",
    }
    return View("attribution", tokens[0], data, {}, Figure)


def layers_of(tokens: list[str]) -> View:
    asked = [{"position": 1, "token": tokens[1], "layers": [candidates(tokens), candidates(tokens)]}]
    return View("lens", tokens[0], {"subtitle": tokens[-1], "tokens": tokens, "asked": asked}, {}, Figure)


def shapes_of(tokens: list[str]) -> View:
    row = {"place": "encoder.norm", "kind": "Norm", "weights": "2", "output": "1", "parameters": 2, "flops": 0}
    data = {"subtitle": tokens[-1], "tokens": tokens, "rows": [row], "parameters": 2, "flops": 3, "units": "FLOPs"}
    return View("shapes", tokens[0], data, {}, Figure)


def panels_of(tokens: list[str]) -> View:
    some = tokens[:50]
    square = squares(tokens[0], np.eye(len(some)), tokens[1], some, some)
    line = lines(tokens[0], [1, 2], {token: [0.1, 0.2] for token in tokens[50:]}, tokens[1], "step")
    return View("panels", tokens[0], {"subtitle": tokens[-1], "panels": [square, line]}, {}, Figure)


def pronoun_of(tokens: list[str]) -> View:
    shape = (1, 2, len(tokens))
    data = {
        "subtitle": tokens[-1],
        "word": tokens[0],
        "candidates": tokens,
        "to": np.full(shape, 0.5),
        "back": np.full(shape, np.nan),
        "uniform_to": np.full(len(tokens), 0.5),
        "uniform_back": np.full(len(tokens), np.nan),
    }
    return View("pronoun", tokens[0], data, {}, Figure)


def dependencies_of(tokens: list[str]) -> View:
    rows = [
        {"relation": token, "direction": "head to dependent", "layer": 0, "head": 0, "accuracy": 0.5}
        | {"baseline_accuracy": 0.2, "offset": 1, "occurrences": 3}
        for token in tokens
    ]
    return View(
        "dependencies", tokens[0], {"subtitle": tokens[-1], "left_out": "", "best": rows, "every": rows}, {}, Figure
    )


def ablation_of(tokens: list[str]) -> View:
    change = {"change": 0.5, "low": 0.25, "high": 0.75}
    parts = [{"part": token, "loss": change} for token in tokens]
    return View("ablation", tokens[0], {"subtitle": tokens[-1], "metrics": ["loss"], "parts": parts}, {}, Figure)


def confusion_of(tokens: list[str]) -> View:
    """All texts behind the cell that is open at first."""
    texts = [{"row": n, "text": token, "probability": 0.5} for n, token in enumerate(tokens)]
    data = {"subtitle": tokens[-1], "labels": tokens[:3], "counts": [[1, 0, 9], [0, 1, 1], [0, 0, 1]]}
    return View("confusion", tokens[0], data | {"behind": {"0,2": texts}}, {}, Figure)


def film_of(tokens: list[str]) -> View:
    frame = [{"candidates": candidates(tokens)}]
    probe = {"text": tokens[0], "tokens": tokens, "answers": [frame, frame], "asked": [1], "shaped": [[10, None]]}
    sizes = {token: [0.1, 0.2] for token in tokens[:3]}
    data = {
        "subtitle": tokens[-1],
        "steps": [0, 10],
        "probes": [probe, probe],
        "probe": 0,
        "layers": ["Layer 0"],
        "norms": dict.fromkeys(("gradients", "updates", "weights"), sizes),
    }
    shape = (2, 1, 2, len(tokens), len(tokens))
    maps = RNG.integers(0, 256, shape).astype(np.uint8)
    arrays = {f"weights_{n}": maps for n in range(2)} | {f"entropies_{n}": np.full(shape[:3], 0.5) for n in range(2)}
    return View("film", tokens[0], data, arrays, Figure)


HOSTILE_VIEWS = {
    make.__name__.removesuffix("_of"): make
    for make in (
        *(mask_of, generation_of, steps_of, heads_of, honest_of, layers_of, shapes_of, panels_of, pronoun_of),
        *(dependencies_of, film_of, unseen_of, ablation_of, confusion_of),
    )
}


# ------------------------------------------------------------------------------------------------ what is in a page


def test_the_names_over_a_mask_stand_over_their_columns(chromium, tmp_path):
    """Each in the part of the map that is its column, and each row's beside its row."""
    panel = squares("a mask", np.tri(6), rows=list("abcdef"), columns=list("ghijkl"), note="")
    view = View("panels", "masks", {"subtitle": "", "panels": [panel], "square": True}, {}, Figure)
    shown = opened(chromium, view.save(tmp_path / "masks.html"))
    box = shown.page.locator(".labelled canvas").bounding_box()
    for side, start, length in (("above", "x", "width"), ("beside", "y", "height")):
        names = shown.page.locator(f".labelled .{side} span").evaluate_all(
            """spans => spans.map((span) => {
                   const range = document.createRange();
                   range.selectNodeContents(span);
                   return range.getBoundingClientRect().toJSON();
               })"""
        )
        for n, name in enumerate(names):  # the letters themselves, in the middle
            middle = (name[start] + name[length] / 2 - box[start]) / box[length] * len(names)
            assert n + 0.3 < middle < n + 0.7, (side, n, middle)


def test_a_long_text_is_opened_at_its_blank_under_a_short_title(chromium, tmp_path):
    tokens = [f"word{n}" for n in range(500)]
    view = mask_of(tokens, layers=1, heads=1)
    view.data["blanks"][0]["position"] = 400
    shown = opened(chromium, view._replace(title=" ".join(tokens)).save(tmp_path / "long.html"))
    box, blank, title = (shown.page.locator(name).first.bounding_box() for name in (".text", ".token.blank", "h1"))
    assert box["y"] < blank["y"] < box["y"] + box["height"] - blank["height"]
    assert title["height"] < 80
    assert shown.complaints == []


def test_when_each_head_took_its_shape_and_lines_that_can_be_told_apart(chromium, tmp_path):
    run = load(run_folder())
    shown = opened(chromium, views.film(run).save(tmp_path / "film.html"))
    film = film_of_run(run)
    steps = took_shape(film.probes[0].attention["self"].weights, film.steps).flatten()
    assert shown.texts(".grid .facts") == ["stayed" if np.isnan(step) else f"from {step:.0f}" for step in steps]
    many = lines("many", [1, 2], {f"line {n}": [n, 2 * n] for n in range(32)}, "", "step")
    shown = opened(
        chromium, View("panels", "m", {"subtitle": "", "panels": [many]}, {}, Figure).save(tmp_path / "m.html")
    )
    drawn, keys = (
        shown.page.locator(selector).evaluate_all(
            "nodes => nodes.map((node) => node.getAttribute('stroke') + node.getAttribute('stroke-dasharray'))"
        )
        for selector in ("polyline", ".swatch line")
    )
    assert drawn == keys and len(set(drawn)) == 32


@pytest.mark.parametrize("by", ["pattern", "distance", "entropy", "similarity"])
def test_the_page_has_the_heads_in_the_order_of_the_table(chromium, tmp_path, by):
    view = views.heads(load(run_folder()), [TEXT], by=by)
    shown = opened(chromium, view.save(tmp_path / "heads.html"))
    heads = [(row["layer"], row["head"]) for row in view.rows if isinstance(row["layer"], int)]
    assert len(heads) == 6
    wanted = [f"Layer {layer}, head {head}" for layer, head in heads]
    assert shown.texts(".grid .label") == wanted
    shown.page.locator("[data-order=layer]").click()
    shown.page.locator(f"[data-order={by}]").click()
    assert shown.texts(".grid .label") == wanted


def test_numbers_survive_packing_to_half_a_step() -> None:
    weights = random_weights(2, 3, 7, 11)
    box = packed(weights)
    bytes_ = np.frombuffer(zlib.decompress(base64.b64decode(box["data"])), np.uint8).reshape(box["shape"])
    assert np.abs(bytes_ / 255 * box["largest"] - weights).max() <= 0.5 / 255 + 1e-9
    assert packed(weights * 40)["largest"] == pytest.approx(weights.max() * 40)


@pytest.mark.parametrize("make", HOSTILE_VIEWS.values(), ids=HOSTILE_VIEWS)
def test_a_page_names_no_other_place_and_ends_no_script_early(make: Any) -> None:
    text = page(make(MANY))
    own = page(make(["a", "b", "c"]))
    assert not re.findall(r"(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", own)
    assert text.count("<script") == own.count("<script") == 2
    assert text.lower().count("</script") == 2
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0])
    assert "'unsafe" not in policy and policy.startswith("default-src 'none'; script-src 'sha256-")


# --------------------------------------------------------------------------------------------------- in a browser


@pytest.mark.parametrize("make", HOSTILE_VIEWS.values(), ids=HOSTILE_VIEWS)
def test_hostile_tokens_are_shown_and_do_nothing(chromium: Any, tmp_path: Path, make: Any) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(make(MANY)), encoding="utf-8")
    seen = opened(chromium, file)
    assert len(MANY) >= 200
    assert seen.requests == [file.resolve().as_uri()]
    assert seen.complaints == []
    # Compared inside the page: half a surrogate pair does not survive the way out.
    shown = seen.page.evaluate(
        """expected => {
               const texts = new Set(), main = document.querySelector("main");
               const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
               while (walker.nextNode()) texts.add(walker.currentNode.data);
               return expected.map((token) => texts.has(JSON.parse(token)));
           }""",
        [json.dumps(without_marks(token)) for token in MANY],
    )
    assert [token for token, found in zip(MANY, shown, strict=True) if not found] == []
    for node in seen.page.locator("button").all()[:6]:
        node.click(force=True)
    assert seen.complaints == [] and len(seen.requests) == 1


def test_a_script_that_is_not_ours_does_not_run(chromium: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(mask_of(["a", "b", "c"])).replace("</body>", "<script>document.title = 'run'</script></body>"))
    seen = opened(chromium, file)
    assert seen.page.title() == "a"
    assert any("Content Security Policy" in line for line in seen.complaints)


def test_pointing_and_switching_off(chromium: Any, tmp_path: Path) -> None:
    view = mask_view(load(run_folder()), TEXT)
    file = tmp_path / "page.html"
    file.write_text(page(view), encoding="utf-8")
    seen = opened(chromium, file)
    assert seen.texts(".text .token") == view.data["tokens"]
    assert seen.texts(".token.blank") == ["[MASK]"]
    first = view.data["blanks"][0]["candidates"][0]
    assert seen.texts(".bars .name")[0] == first["token"]
    assert seen.page.locator(".cell").count() == view.arrays["weights"].shape[0] * view.arrays["weights"].shape[1]

    seen.page.locator(".cell").nth(1).click()  # layer 0, head 1
    seen.page.locator(".token").nth(1).hover()
    weights = view.arrays["weights"][0, 1, 1]
    best = int(weights.argmax())
    said = re.match(r"(\S+) attends to (\S+) ([\d.]+),", seen.texts(".readout")[0])
    assert said and said.groups()[:2] == (view.data["tokens"][1], view.data["tokens"][best])
    assert float(said[3]) == pytest.approx(weights[best], abs=0.003)

    seen.page.locator(".switch").nth(1).click()
    without_it = view.data["without"][0][1][0]["candidates"]
    assert seen.texts(".bars .name") == [candidate["token"] for candidate in without_it]
    assert "Without Layer 0, head 1" in seen.texts(".note")[1]
    seen.page.locator(".switch").nth(1).click()
    assert seen.texts(".bars .name")[0] == first["token"]
    assert seen.complaints == []


SCROLLED = """() => [...document.querySelectorAll("main *")].flatMap((node) => {
    const style = getComputedStyle(node), found = [];
    const parts = [...node.children].filter((child) => !child.matches(".links"));
    const ends = (end) => Math.max(...parts.map((part) => part.getBoundingClientRect()[end]));
    const box = node.getBoundingClientRect();
    for (const [axis, size, end] of [["X", "Width", "right"], ["Y", "Height", "bottom"]]) {
        const how = style["overflow" + axis];
        if (how === "scroll" || (how === "auto" && node["scroll" + size] > node["client" + size]))
            found.push([`${node.className} ${axis}`, ends(end) > box[end]]);
    }
    return found;
})"""
"""Every element of a page that has a scroll bar, and whether something in it lies beyond its edge."""
SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 800, "height": 600}}


def real_pages(folder: Path) -> dict[str, View]:
    run, writer = load(run_folder()), load(generator_folder())
    return {
        "mask": mask_view(run, TEXT),
        "heads": views.heads(run, [TEXT]),
        "generation": generation_view(writer, "Mars is", "called the red planet"),
        "shapes": views.shapes(run, TEXT),
        "attribution": views.attribution(run, TEXT),
        "film": views.film(run),
    }


@pytest.mark.parametrize("size", SIZES)
def test_no_scroll_bar_has_nothing_to_scroll(chromium: Any, tmp_path: Path, size: str) -> None:
    """At first, with links to other words, and on every page that strangers' words fill."""
    for name, view in real_pages(tmp_path).items():
        shown = opened(chromium, view.save(tmp_path / f"{name}.html"), viewport=SIZES[size])
        assert [bar for bar, needed in shown.page.evaluate(SCROLLED) if not needed] == [], name
        for place in range(min(3, shown.page.locator(".token").count())):
            shown.page.locator(".token").nth(place).hover()
            assert [bar for bar, needed in shown.page.evaluate(SCROLLED) if not needed] == [], (name, place)
        shown.page.close()


def test_a_text_that_is_longer_than_its_box_has_a_scroll_bar_and_its_links(chromium: Any, tmp_path: Path) -> None:
    view = mask_of([f"word{n}" for n in range(400)], layers=1, heads=1)
    shown = opened(chromium, view.save(tmp_path / "long.html"), viewport=SIZES["wide"])
    assert ["text Y", True] in shown.page.evaluate(SCROLLED)
    shown.page.locator(".text .token").nth(390).focus()
    links = shown.page.locator(".links path.out").evaluate_all(
        "paths => paths.map((path) => path.getBoundingClientRect().height)"
    )
    assert links and max(links) > 300  # drawn beyond the part that was seen at first


def test_no_link_over_the_words_is_cut_off(chromium: Any, tmp_path: Path) -> None:
    """The box of the words ends above the highest arc, also where words are far apart."""
    file = tmp_path / "page.html"
    file.write_text(page(mask_of([f"word{n}" for n in range(9)])), encoding="utf-8")
    seen = opened(chromium, file)
    for place in (0, 1):
        seen.page.locator(".text .token").nth(place).hover()
        room = seen.page.evaluate(
            """() => Math.min(...[...document.querySelectorAll(".links path")].map((path) =>
                 path.getBoundingClientRect().top)) - document.querySelector(".text").getBoundingClientRect().top"""
        )
        assert 0 <= room < 40


def test_the_keyboard_moves_through_the_text(chromium: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(mask_of(["one", "two", "three"])), encoding="utf-8")
    seen = opened(chromium, file)
    seen.page.locator(".token").nth(0).focus()
    seen.page.keyboard.press("ArrowRight")
    assert seen.texts(".token.active") == ["two"]
    assert "two attends to" in seen.texts(".readout")[0]


def test_the_token_that_ended_a_text_is_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever it was: here one that the model says in the middle of what it would have written."""
    run, settings = load(generator_folder()), {"max_tokens": 8, "sample": True, "temperature": 3.0}
    ends: set[int] = set()
    monkeypatch.setattr(type(run.objective), "stop_tokens", lambda objective, prompt: frozenset(ends))
    free = run.written("Mars is", **settings).ids
    end = next(id for n, id in enumerate(free) if n > 1 and id not in free[:n])
    ends.add(end)
    written = run.written("Mars is", **settings)
    assert (written.ids, written.end) == (free[: free.index(end)], end)
    steps = generation_view(run, "Mars is", **settings).data["steps"]
    assert [step["token"] for step in steps] == [run.tokenizer.token(id) for id in [*written.ids, end]]


def test_steps_of_generation(chromium: Any, tmp_path: Path) -> None:
    view = generation_view(load(generator_folder()), "Mars is", "called the red planet")
    file = tmp_path / "page.html"
    file.write_text(page(view), encoding="utf-8")
    seen = opened(chromium, file)
    seen.page.get_by_text("next token").click()
    second = view.data["steps"][1]
    assert seen.texts(".bars .name") == [without_marks(candidate["token"]) for candidate in second["candidates"]]
    if second["token"] in seen.texts(".bars .name"):
        assert seen.texts(".bars .chosen") == [second["token"]]
    else:
        assert f"Written: {second['token']} {100 * second['probability']:.1f}%" in seen.page.inner_text("main")
    assert seen.complaints == []


# ------------------------------------------------------------------------------------------------------ the numbers


def test_a_head_that_is_switched_off_is_a_forward_pass_without_it() -> None:
    run = load(run_folder())
    view = mask_view(run, TEXT)
    prompt = run.objective.prompt(TEXT)
    batch = collate([[prompt.example]], run.tokenizer.pad_id)
    whole = view.data["blanks"][0]["candidates"]
    assert [c["token"] for c in whole[:5]] == [c.token for c in run.fill(TEXT).blanks[0].candidates]
    for layer, head in ((0, 0), (1, 1)):
        with torch.no_grad(), without(run.model, Part(f"encoder.blocks.{layer}.self_attention", head)):
            [logits] = run.model(batch).values()
        said = view.data["without"][layer][head][0]
        best = logits[0].softmax(-1).topk(8)
        assert [c["token"] for c in said["candidates"]] == [run.tokenizer.token(int(i)) for i in best.indices]
        np.testing.assert_allclose([c["probability"] for c in said["candidates"]], best.values, rtol=1e-4)
        assert said["candidates"] != whole


def test_what_was_written_is_what_generation_writes_step_by_step() -> None:
    run = load(generator_folder())
    view = generation_view(run, "Mars is", max_tokens=6)
    written = run.generate("Mars is", max_tokens=6).outputs[0]
    total = sum(np.log(step["probability"]) for step in view.data["steps"])
    assert total == pytest.approx(written.log_probability, abs=1e-4)
    assert all(step["token"] == step["candidates"][0]["token"] for step in view.data["steps"])  # greedy
    own = view.arrays["own"]
    np.testing.assert_allclose(own.sum(-1), 1, atol=1e-5)
    assert (own[..., np.triu_indices(own.shape[-1], 1)[0], np.triu_indices(own.shape[-1], 1)[1]] == 0).all()


def test_the_picture_of_generation_is_what_it_says() -> None:
    view = generation_view(load(generator_folder()), "Mars is", "called the red planet")
    figure = view.draw()
    [drawn] = [image.get_array() for axes in figure.axes for image in axes.images if image.get_array().shape[0] > 1]
    rows = [step["reads"] for step in view.data["steps"]]
    np.testing.assert_allclose(drawn, view.arrays["own"][-1][:, rows].mean(0), atol=1e-6)
    words = [text.get_text() for text in figure.texts]
    assert any(f"Layer {len(view.arrays['own']) - 1}" in text for text in words), words


def test_steps_add_up() -> None:
    view = steps_view(load(run_folder()), TEXT, layer=1, head=1)
    steps = {step["name"]: np.array(step["values"]) for step in view.data["steps"]}
    q, k, v = steps["Query"], steps["Keys"], steps["Values"]
    np.testing.assert_allclose(steps["Scores"], k @ q, atol=1e-3)
    np.testing.assert_allclose(steps["Scaled scores"], k @ q / np.sqrt(len(q)), atol=1e-3)
    weights = np.exp(steps["Scaled scores"]) / np.exp(steps["Scaled scores"]).sum()
    np.testing.assert_allclose(steps["Weights"], weights, atol=1e-3)
    np.testing.assert_allclose(steps["Context"], weights @ v, atol=1e-3)
    unscaled = np.exp(steps["Scores"]) / np.exp(steps["Scores"]).sum()
    np.testing.assert_allclose(steps["Without the scale"], unscaled, atol=1e-3)
    streams = [np.array(s["values"]) for s in view.data["steps"] if s["name"].startswith("Residual stream")]
    np.testing.assert_allclose(streams[-2] + steps["Narrowed"], streams[-1], atol=1e-3)


# -------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("suffix", [".html", ".png", ".svg", ".json", ".npz"])
@pytest.mark.parametrize(
    "arguments",
    [("mask", "run", TEXT), ("steps", "run", TEXT, "--token", "mars"), ("generation", "generator", "Mars is")],
    ids=lambda a: a[0],
)
def test_every_view_in_every_form(tmp_path: Path, arguments: tuple[str, ...], suffix: str) -> None:
    folder = run_folder() if arguments[1] == "run" else generator_folder()
    file = tmp_path / f"view{suffix}"
    said = command("look", arguments[0], folder, *arguments[2:], "--output", file)
    assert (said.code, said.out.strip(), said.err) == (0, str(file), "")
    assert file.stat().st_size > 500
    if suffix == ".json":
        assert json.loads(file.read_text())["title"] == arguments[2]
    if suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            assert str(arrays["title"]) == arguments[2]


def test_bad_input() -> None:
    run = run_folder()
    assert "layers 0 to 1" in refused("look", "steps", run, TEXT, "--layer", "7", "--json")
    assert "heads 0 to 2" in refused("look", "steps", run, TEXT, "--head", "7", "--json")
    assert "no token of this text" in refused("look", "steps", run, TEXT, "--token", "venus", "--json")
    assert "no blank" in refused("look", "mask", run, "mars is red", "--json")
    assert ".html" in refused("look", "mask", run, TEXT, "--output", "mask.doc")
    assert "--output" in refused("look", "mask", run, TEXT)
    assert "does not generate" in refused("look", "generation", run, "mars is", "--json")


def test_steps_without_a_token_take_a_known_word() -> None:
    """The blank; else the last word that the vocabulary has: no special token, no unknown word, no punctuation."""
    tokenizer = load(run_folder()).tokenizer
    tokens = ["[CLS]", "mars", "is", "red", "[UNK]", ".", "[SEP]"]
    assert steps_place(None, tokens, tokenizer) == 3
    assert steps_place(None, ["[CLS]", "mars", "[MASK]", "red", "[SEP]"], tokenizer) == 2
    assert steps_place(None, ["[CLS]", "[UNK]", "[SEP]"], tokenizer) == 2
    assert steps_place("mars", tokens, tokenizer) == 1

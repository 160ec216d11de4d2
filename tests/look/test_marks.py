"""The marks of a vocabulary (▁red, Ġred, ##sphere) never stand in a word that a person reads: in pictures, on pages, in
the terminal, in samples. Programs get the tokens as they are."""

import functools
import inspect
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tiny_recipe
from browser import browser, opened
from matplotlib.text import Text
from trained import TREE, command

import glassformer as gf
from glassformer import views
from glassformer.data.builtin import sentences
from glassformer.formatting import without_marks
from glassformer.look.pictures.heatmaps import heatmap
from glassformer.look.pictures.page import View
from glassformer.look.report import sample_prompts
from glassformer.look.strategies import view_of as strategies

chromium = pytest.fixture(scope="module")(browser.__wrapped__)  # type: ignore[attr-defined]
MARK = re.compile(r"[▁Ġ](?=[^\s▁])|(?<=[^\s▁])▁|##\w|</w>")
TEXT = "Photographers like the [MASK] planet"
WHOLE = "Photographers like the red planet, it is small"
VOCABULARIES = {"wordpiece": {"vocab_size": 150}, "unigram": {"vocab_size": 150}, "bpe": {"vocab_size": 300}}
KINDS = ["wordpiece", "bpe", "unigram", "byte"]


@functools.lru_cache
def run_of(objective: str, kind: str) -> Path:
    """A run of two steps whose vocabulary is so small that words are pieces. Not to be changed."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    texts = [WHOLE, *sentences("facts", "train")[:60]]
    pairs = objective == "seq2seq"
    lines = [f"{text}\t{text}" for text in texts] if pairs else texts
    recipe = tiny_recipe.recipe(
        tiny_recipe.text_file(folder, lines, "pairs.tsv" if pairs else "texts.txt"),
        objective={"name": objective},
        tokenizer={"kind": kind, **(VOCABULARIES.get(kind, {}))},
        model={"max_length": 80},
        training={
            "steps": 2,
            "evaluate_every": 2,
            "checkpoint_every": 2,
            "probes": [TEXT if objective == "masked_lm" else WHOLE],
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        return tiny_recipe.train(recipe, folder / "run").path


def views_of(run: gf.Run, folder: Path) -> dict[str, View]:
    """Every view that shows tokens and that this model has."""
    (folder / "tree.conllu").write_text(TREE, encoding="utf-8")
    seen = run.attention(WHOLE)
    found: dict[str, Any] = {
        "heads": lambda: views.heads(run, [WHOLE]),
        "of_arrays": lambda: views.of_arrays(seen.weights, seen.tokens, seen.keys),
        "masks": lambda: views.masks(run, [WHOLE, "it is red"]),
        "shapes": lambda: views.shapes(run, WHOLE),
        "steps": lambda: views.steps(run, WHOLE),
        "film": lambda: views.film(run),
        "strategies": lambda: strategies([run]),
    }
    if run.recipe.objective.name == "masked_lm":
        asked = {"mask": views.mask, "attribution": views.attribution, "lens": views.lens, "torch": views.torch}
        found |= {name: functools.partial(view, run, TEXT) for name, view in asked.items()}
        found["dependencies"] = lambda: views.dependencies(run, folder / "tree.conllu", least=1)
        found["pronoun"] = lambda: views.pronoun(run, WHOLE, "it")
        found["word"] = lambda: views.word(run, "red", WHOLE, "the red star")
    else:
        found["generation"] = lambda: views.generation(run, WHOLE, max_tokens=3)
    if run.recipe.objective.name == "seq2seq":
        del found["steps"]
        found["cross"] = lambda: views.heads(run, [WHOLE], kind="cross")
    return {name: make() for name, make in found.items()}


NO_TOKENS = {"ablate", "confusion", "positions", "schedule"}
"""Views of parts, labels, places and steps."""


def test_every_view_is_asked_or_shows_no_tokens() -> None:
    asked = set(re.findall(r"views\.([a-z_]+)", inspect.getsource(views_of)))
    assert asked | NO_TOKENS >= set(views.__all__)


def marked(texts: Any) -> list[str]:
    return [text for text in texts if MARK.search(text)]


RUNS = [("masked_lm", "wordpiece"), ("masked_lm", "unigram"), ("causal_lm", "bpe"), ("seq2seq", "unigram")]


@pytest.mark.parametrize(("objective", "kind"), RUNS)
def test_no_view_shows_a_mark_in_a_word(chromium: Any, tmp_path: Path, objective: str, kind: str) -> None:
    run = gf.load(run_of(objective, kind))
    tokens = run.attention(WHOLE).tokens
    assert kind == "byte" or marked(tokens)  # else nothing would be asked of the views
    for name, view in views_of(run, tmp_path).items():
        assert marked(text.get_text() for text in view.draw().findobj(Text)) == [], name
        shown = opened(chromium, view.save(tmp_path / f"{name}.html"))
        assert marked(shown.page.evaluate(SEEN)) == [], name
        for place in range(min(3, shown.page.locator(".token").count())):
            shown.page.locator(".token").nth(place).hover()
            assert marked(shown.page.evaluate(SEEN)) == [], (name, place)
        assert shown.complaints == []
        shown.page.close()
    if objective == "masked_lm":
        prompt = sample_prompts(run, 1)[0]
        seen = run.attention_of(prompt)
        drawn = heatmap(seen.weights, seen.tokens, seen.tokens)
        assert marked(text.get_text() for text in drawn.findobj(Text)) == []


SEEN = """() => [document.title, ...[...document.body.querySelectorAll("main, main *")].flatMap((node) => [
    node.getAttribute("title") ?? "", node.getAttribute("aria-label") ?? "",
    ...[...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data)])]"""
"""Every text of a page, and what is said where the mouse rests."""


@pytest.mark.parametrize(("objective", "kind"), RUNS)
def test_no_command_prints_a_mark_in_a_word(tmp_path: Path, objective: str, kind: str) -> None:
    run = run_of(objective, kind)
    asked: list[tuple[Any, ...]] = [
        ("info", run),
        ("evaluate", run),
        ("runs", run.parent),
        ("preview", run / "recipe.yaml"),
        ("look", "heads", run, WHOLE),
        ("strategies", run),
    ]
    if objective == "masked_lm":
        asked += [("fill", run, TEXT), ("score", run, WHOLE), ("look", "attribution", run, TEXT)]
        asked += [("look", "lens", run, TEXT, "--output", tmp_path / "lens.png"), ("look", "torch", run, TEXT)]
        asked += [("look", "pronoun", run, WHOLE, "--word", "it"), ("ablate", run, "--units", "2")]
    if objective == "causal_lm":
        asked += [("score", run, WHOLE), ("generate", run, WHOLE, "--max-tokens", "3")]
    for words in asked:
        said = command(*words)
        assert said.code == 0, (words, said)
        assert marked(said.out.splitlines() + said.err.splitlines()) == [], words
    for file in (run / "samples").iterdir():
        assert marked(file.read_text(encoding="utf-8").splitlines()) == [], file


def test_a_token_is_named_as_it_is_shown() -> None:
    run = gf.load(run_of("masked_lm", "wordpiece"))
    tokens = run.attention(WHOLE).tokens
    for name in ("##ed", "ed"):
        assert views.steps(run, WHOLE, token=name).data["place"] == tokens.index("##ed")


@pytest.mark.parametrize("kind", KINDS)
def test_programs_get_the_tokens_as_they_are(kind: str) -> None:
    run = run_of("masked_lm", kind)
    tokens = command("attention", run, WHOLE, "--json").json["tokens"]
    assert tokens == gf.load(run).attention(WHOLE).tokens
    assert bool(marked(tokens)) == (kind != "byte")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("▁red", "red"),
        ("▁▁▁red", "red"),
        ("red▁", "red"),
        ("red</w>", "red"),
        ("photo ##sphere", "photo sphere"),
        ("'▁red'", "'red'"),
        ("of▁the", "of the"),
        ("M a r s ▁ i s", "M a r s ▁ i s"),
        ("▁", "▁"),
        ("▁▁", "▁▁"),
        ("##", "##"),
        ("## heading", "## heading"),
        ("####", "####"),
        ("a_b __init__ #1", "a_b __init__ #1"),
        ("Ġunju", "Ġunju"),
    ],
)
def test_what_is_a_mark_and_what_is_none(given: str, shown: str) -> None:
    """The last is Maltese: the byte-level space is one only where the tokenizer says so."""
    assert without_marks(given) == shown

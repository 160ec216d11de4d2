"""`glassformer look VIEW RUN ...`: each view as one page that opens anywhere, as a picture, or as numbers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from glassformer.cli.terminal import App, AsJson, RunPath, patience, printable, say_unknown, show, table, texts_in
from glassformer.errors import UsageError
from glassformer.wording import NATS, percent

if TYPE_CHECKING:
    from glassformer.look.pictures.page import View

look = App(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look inside a run: as a page, a picture or numbers.",
)

Output = Annotated[
    Path | None,
    typer.Option(help="FILE.html for a page that opens anywhere, .png, .svg, .pdf for a picture, .json, .npz, .csv"),
]
AskingText = Annotated[str, typer.Argument(metavar="TEXT", help="a text with [MASK], or one to go on with")]


def give(view: "View", output: Path | None, as_json: bool, rows: list[dict[str, Any]] | None = None) -> None:
    """A view as what was asked for: a file, JSON, or, where it can be one, a table (`rows`, or the view's own)."""
    from glassformer.look.pictures import page

    if output is not None:
        page.write(view, output)
    if as_json:
        show(page.plain(view.numbers))
    elif output is not None:
        print(printable(str(output)))
    elif rows or view.rows:
        table(rows or view.rows or [])
    else:
        raise UsageError("where should it go?", "name a file with --output page.html, or print the numbers with --json")


def numbers_in(rows: str | None) -> list[int]:
    """`5,100-120` as numbers. Raises UsageError for anything else."""
    found: list[int] = []
    for part in (rows or "").split(",") if rows else []:
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise UsageError(f"--rows {rows!r} are no numbers", "write them as 5,100-120")
        found += range(int(first), int(last or first) + 1)
    return found


def possible(output: Path | None) -> None:
    """Raises UsageError for a file that no view can be, before anything is computed."""
    from glassformer.look.pictures.page import check_output

    if output is not None:
        check_output(output)


@look.command()
def mask(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a text with [MASK]")],
    rows: Annotated[
        str | None, typer.Option(help="of a text over 512 tokens: keep every weight of these, such as 5,100-120")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Blanks: candidates, all heads, and the answer without each.

    \b
    glassformer look mask runs/mlm-demo "Mars is called the [MASK] planet" --output mars.html
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    trained = load(run)
    say_unknown(trained, text)
    with patience():
        view = views.mask(trained, text, numbers_in(rows))
    give(view, output, as_json)


@look.command()
def generation(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a beginning, or a source to be answered")],
    target: Annotated[str | None, typer.Option(help="the text that follows; without it what the model writes")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="tokens that the model writes at most")] = 64,
    beam: Annotated[int, typer.Option(min=1, help="the best of so many texts; 1: the likeliest token each time")] = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """What a model writes, token by token, and where it looks.

    \b
    glassformer look generation runs/seq2seq-demo "I love dogs" --output dogs.html
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    give(views.generation(load(run), text, target, max_tokens=max_tokens, beam=beam), output, as_json)


@look.command()
def steps(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a text, with or without [MASK]")],
    layer: Annotated[int, typer.Option(help="which layer, counted from 0")] = 0,
    head: Annotated[int, typer.Option(help="which head of it, counted from 0")] = 0,
    token: Annotated[
        str | None, typer.Option(help="which token, or its number; without it the blank, or the last one")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """One token through one layer, with every number and formula.

    \b
    glassformer look steps runs/mlm-demo "Mars is called the red planet" --layer 1 --token red --output red.html
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    give(views.steps(load(run), text, layer, head, token), output, as_json)


@look.command()
def shapes(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a text that the model reads")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Every part of a model: output shape, parameters, FLOPs."""
    from glassformer.ask.run import load
    from glassformer.look.views import shapes

    possible(output)
    view = shapes.shapes_view(load(run), text)
    give(view, output, as_json, shapes.in_words(view))
    if output is None and not as_json:
        print(shapes.UNITS)


@look.command()
def positions(run: RunPath, output: Output = None, as_json: AsJson = False) -> None:
    """How a model tells positions apart."""
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    give(views.positions(load(run)), output, as_json)


@look.command()
def masks(
    run: RunPath,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="texts that the model reads together")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Who may see whom when a model reads these texts."""
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    give(views.masks(load(run), texts), output, as_json)


@look.command()
def schedule(run: RunPath, output: Output = None, as_json: AsJson = False) -> None:
    """The learning rate over the steps of a run."""
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    give(views.schedule(load(run)), output, as_json)


@look.command()
def honest(
    run: RunPath,
    text: AskingText,
    blank: Annotated[int, typer.Option(min=1, help="which [MASK], counted from 1")] = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """What attention says, against what hiding each token does.

    Four ways of reading attention, the change of the answer's log-probability when a token is hidden from everybody,
    and a warning for each way that this proves wrong.

    \b
    glassformer look honest runs/mlm-demo "Mars is called the [MASK] planet" --output honest.png
    """
    from glassformer.ask.run import load
    from glassformer.look.views import honest

    possible(output)
    trained = load(run)
    with patience():
        found = honest.views(trained, text, blank - 1)
    view = honest.view_of(trained, found)
    give(view, output, as_json, honest.in_words(found))
    if output is None and not as_json:
        candidate, position = view.data["candidate"], view.data["position"]
        print(printable(f"{candidate.token} {percent(candidate.probability)}, asked at {position}"))
        for warning in view.data["warnings"]:
            print(printable(warning))
        print(NATS)


@look.command()
def layers(
    run: RunPath,
    text: AskingText,
    top: Annotated[int, typer.Option(min=1, help="candidates after each layer")] = 5,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """What the model would answer if it stopped after each layer.

    \b
    glassformer look layers runs/mlm-demo "Mars is called the [MASK] planet" --output layers.png
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    give(views.layers(load(run), text, top), output, as_json)


@look.command()
def heads(
    run: RunPath,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="texts; without any, validation units of the run", show_default=False),
    ] = None,
    sort: Annotated[
        Literal["layer", "entropy", "distance", "similarity", "pattern"], typer.Option(help="the order of the heads")
    ] = "layer",
    kind: Annotated[
        Literal["self", "cross", "decoder"], typer.Option(help="whose attention, as in `glassformer attention`")
    ] = "self",
    file: Annotated[Path | None, typer.Option(help="a file with one text in each line")] = None,
    number: Annotated[int, typer.Option(min=1, help="how many validation units, where no text is given")] = 16,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """What each head does: how far it looks, which pattern fits it.

    A score is the mean weight on the tokens that the pattern names; beside it stands the score of a head that looks at
    all tokens alike.

    \b
    glassformer look heads runs/mlm-demo --sort pattern --output heads.png
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    asked = list(texts or []) + ([] if file is None else texts_in(file))
    give(views.heads(load(run), asked, kind, number, sort), output, as_json)


@look.command()
def dependencies(
    run: RunPath,
    file: Annotated[Path, typer.Argument(metavar="FILE.conllu", help="parsed sentences")],
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many sentences")] = None,
    relation: Annotated[str | None, typer.Option(help="one relation, such as nsubj")] = None,
    least: Annotated[int, typer.Option(min=1, help="leave out relations with fewer occurrences")] = 20,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Which head follows which syntactic relation of a treebank.

    For each word: is the other word that a head looks at most its syntactic head, or its dependent? The baseline is the
    best guess that always takes the word at one fixed distance.

    \b
    glassformer look dependencies runs/my treebank.conllu --relation nsubj
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    view = views.dependencies(load(run), file, limit, relation, least)
    give(view, output, as_json, view.data["best"])
    if view.data["left_out"]:
        print(f"note: {view.data['left_out']}", file=sys.stderr)


@look.command()
def pronoun(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a sentence")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="CANDIDATE", help="more candidates", show_default=False)
    ] = None,
    word: Annotated[str, typer.Option(help="the word that refers to something")] = "it",
    candidates: Annotated[
        list[str] | None, typer.Option(help="what it may refer to; without any, all other words", show_default=False)
    ] = None,
    nth: Annotated[int | None, typer.Option(min=1, help="which, where the word stands there more than once")] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Attention from a pronoun to what it may refer to, and back.

    \b
    glassformer look pronoun runs/my "The cat sat on the mat because it was tired" --word it --candidates cat mat
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    trained = load(run)
    unknown = trained.unknown_words(text)
    if unknown:
        print(printable(f"not in the vocabulary, read as unknown: {', '.join(unknown)}"), file=sys.stderr)
    give(views.pronoun(trained, text, word, [*(candidates or []), *(more or [])], nth), output, as_json)


@look.command("word")
def word_in_two_texts(
    run: RunPath,
    word: Annotated[str, typer.Argument(metavar="WORD", help="a word that stands in both texts")],
    text_a: Annotated[str, typer.Argument(metavar="TEXT", help="one text")],
    text_b: Annotated[str, typer.Argument(metavar="TEXT", help="the other")],
    nth: Annotated[
        tuple[int, int] | None, typer.Option(help="which one in each text, where the word stands there more than once")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """One word in two texts: how alike its vectors are by layer.

    Beside it, how alike two different words of these texts are at the same place.

    \b
    glassformer look word runs/my bank "We sat on the river bank" "The bank lends money" --output bank.png
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    give(views.word(load(run), word, text_a, text_b, nth or (None, None)), output, as_json)


@look.command()
def film(
    run: RunPath,
    probe: Annotated[int, typer.Option(min=1, help="which of training.probes, counted from 1")] = 1,
    layer: Annotated[int | None, typer.Option(help="with --head: the maps of one head, counted from 0")] = None,
    head: Annotated[int | None, typer.Option(help="with --layer: the maps of one head, counted from 0")] = None,
    kind: Annotated[
        Literal["self", "cross", "decoder"],
        typer.Option(help="self: of the text; of an encoder-decoder also: from target to source, or of the target"),
    ] = "self",
    place: Annotated[int, typer.Option(min=1, help="which asked place of the probe, counted from 1")] = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """How a run learned, from its first step to its last.

    Of a run that was trained with probes, texts that were asked again and again: their answers, the entropy of every
    head, the gradient and the update of every component. With --layer and --head the map of one head at a few steps.

    \b
    glassformer look film runs/mlm-demo --output film.html
    glassformer look film runs/mlm-demo --layer 1 --head 2 --output head.png
    """
    from glassformer import views
    from glassformer.ask.run import load

    possible(output)
    if (layer is None) != (head is None):
        raise UsageError("one head is named by --layer and --head", "give both, or none")
    give(views.film(load(run), probe - 1, kind, layer, head, place - 1), output, as_json)

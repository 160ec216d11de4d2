"""`glassformer look VIEW RUN ...`: each view as one page that opens anywhere, as a picture, or as numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glassformer.cli.terminal import AsJson, RunPath, printable, show, table
from glassformer.errors import UsageError
from glassformer.wording import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from glassformer.look.page import View

look = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look inside a run: as a page, a picture or numbers.",
)

Output = Annotated[
    Path | None,
    typer.Option(help="FILE.html for a page that opens anywhere, .png, .svg, .pdf for a picture, .json, .npz: numbers"),
]
AskingText = Annotated[str, typer.Argument(metavar="TEXT", help="a text with [MASK], or one to go on with")]


def give(view: "View", draw: "Callable[[], Figure]", output: Path | None, as_json: bool) -> None:
    """A view as what was asked for."""
    from glassformer.look import page

    if output is None and not as_json:
        raise UsageError("where should it go?", "name a file with --output page.html, or print the numbers with --json")
    if output is not None:
        page.write(view, draw, output)
    if as_json:
        show(page.numbers(view))
    else:
        print(printable(str(output)))


@look.command()
def mask(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a text with [MASK]")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """A sentence with blanks: candidates, all heads, and what changes when one is switched off.

    \b
    glassformer look mask runs/mlm-demo "Mars is called the [MASK] planet" --output mars.html
    """
    from glassformer.look.mask import mask_figure, mask_view
    from glassformer.predict import load

    trained = load(run)
    give(mask_view(trained, text), lambda: mask_figure(trained, text), output, as_json)


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
    """What a model writes, token by token: candidates, self-attention and cross-attention at each.

    \b
    glassformer look generation runs/seq2seq-demo "I love dogs" --output dogs.html
    """
    from glassformer.look.generation import generation_figure, generation_view
    from glassformer.predict import load

    view = generation_view(load(run), text, target, max_tokens=max_tokens, beam=beam)
    give(view, lambda: generation_figure(view), output, as_json)


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
    """One token through one layer, step by step: every number of the model, and its formula.

    \b
    glassformer look steps runs/mlm-demo "Mars is called the red planet" --layer 1 --token red --output red.html
    """
    from glassformer.look.steps import steps_figure, steps_view
    from glassformer.predict import load

    view = steps_view(load(run), text, layer, head, token)
    give(view, lambda: steps_figure(view), output, as_json)


@look.command()
def shapes(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a text that the model reads")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Every part of a model: the shape of what comes out, its parameters, its arithmetic."""
    from glassformer.look.shapes import shapes_figure, shapes_view
    from glassformer.predict import load

    view = shapes_view(load(run), text)
    give(view, lambda: shapes_figure(view), output, as_json)


@look.command()
def positions(run: RunPath, output: Output = None, as_json: AsJson = False) -> None:
    """How a model tells places apart: vectors, turns, or numbers that are added to the scores."""
    from glassformer.look.standing import panels_figure, positions_view
    from glassformer.predict import load

    view = positions_view(load(run))
    give(view, lambda: panels_figure(view), output, as_json)


@look.command()
def masks(
    run: RunPath,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="texts that the model reads together")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Who may see whom when a model reads these texts: padding, order, borders of texts."""
    from glassformer.look.standing import masks_view, panels_figure
    from glassformer.predict import load

    view = masks_view(load(run), texts)
    give(view, lambda: panels_figure(view), output, as_json)


@look.command()
def schedule(run: RunPath, output: Output = None, as_json: AsJson = False) -> None:
    """The learning rate over the steps of a run."""
    from glassformer.look.standing import panels_figure, schedule_view
    from glassformer.predict import load

    view = schedule_view(load(run))
    give(view, lambda: panels_figure(view), output, as_json)


@look.command()
def honest(
    run: RunPath,
    text: AskingText,
    blank: Annotated[int, typer.Option(min=1, help="which [MASK], counted from 1")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="FILE.png, .svg or .pdf for a picture, .json or .npz for the numbers")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold what attention says against what hiding each token does.

    Four ways of reading attention, the change of the answer's log-probability when a token is hidden from everybody,
    and a warning for each way that this proves wrong.

    \b
    glassformer look honest runs/mlm-demo "Mars is called the [MASK] planet" --output honest.png
    """
    from glassformer.look import honest as views
    from glassformer.look.output import check_output, write_view
    from glassformer.predict import load

    if output is not None:
        check_output(output)
    found = views.views(load(run), text, blank - 1)
    if output is not None:
        write_view(output, lambda: views.picture(found), found.record(), views.arrays_of(found))
    if as_json:
        show(found.record())
        return
    print(printable(f"{found.candidate.token} {percent(found.candidate.probability)}, asked at {found.position}"))
    table(views.in_words(found))
    for warning in found.warnings:
        print(printable(warning))
    if output is not None:
        print(printable(str(output)))


@look.command()
def layers(
    run: RunPath,
    text: AskingText,
    top: Annotated[int, typer.Option(min=1, help="candidates after each layer")] = 5,
    output: Annotated[
        Path | None, typer.Option(help="FILE.png, .svg or .pdf for a picture, .json for the numbers")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what the model would answer if it stopped after each layer.

    \b
    glassformer look layers runs/mlm-demo "Mars is called the [MASK] planet" --output layers.png
    """
    from glassformer.look import lens
    from glassformer.look.output import check_output, write_view
    from glassformer.predict import load

    if output is not None:
        check_output(output, (".json",))
    found = lens.layerwise(load(run), text, top)
    if output is not None:
        write_view(output, lambda: lens.picture(found), found.record())
    if as_json:
        show(found.record())
        return
    for number, blanks in enumerate(found.layers):
        for blank in blanks:
            said = "   ".join(f"{c.token} {percent(c.probability)}" for c in blank.candidates)
            print(printable(f"layer {number}, asked at {blank.position}:  {said}"))
    if output is not None:
        print(printable(str(output)))

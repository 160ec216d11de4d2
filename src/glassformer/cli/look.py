"""`glassformer look VIEW RUN ...`: each view as one page that opens anywhere, as a picture, or as numbers."""

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.terminal import AsJson, RunPath, printable, show, table
from glassformer.wording import percent

look = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look inside a run: as a page, a picture or numbers.",
)

AskingText = Annotated[str, typer.Argument(metavar="TEXT", help="a text with [MASK], or one to go on with")]


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

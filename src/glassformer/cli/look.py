"""`glassformer look VIEW RUN ...`: each view as one page that opens anywhere, as a picture, or as numbers."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from glassformer.cli.terminal import RunPath, printable, show
from glassformer.errors import UsageError

look = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Look inside a run: heads, words, relations.",
    help="Look inside a run: attention, predictions, single steps, as a page, a picture or numbers.",
)


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
    output: Annotated[
        Path | None, typer.Option(help="FILE.png, .svg or .pdf for a picture, .json or .npz for the numbers")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the numbers as JSON")] = False,
) -> None:
    """Show how a run learned, from its first step to its last.

    Of a run that was trained with probes, texts that were asked again and again: their answers, the entropy of every
    head, the gradient and the update of every component. With --layer and --head the map of one head at a few steps.

    \b
    glassformer look film runs/mlm-demo --output film.png
    glassformer look film runs/mlm-demo --layer 1 --head 2 --output head.png
    """
    from glassformer.look.film import film_of, numbers
    from glassformer.look.film_figures import draw_film
    from glassformer.predict import load

    if output is None and not as_json:
        raise UsageError("where should it go?", "name a file with --output, or print the numbers with --json")
    if (layer is None) != (head is None):
        raise UsageError("one head is named by --layer and --head", "give both, or none")
    seen = film_of(load(run))
    if output is not None:
        draw_film(seen, output, probe - 1, kind, layer, head, place - 1)
    if as_json:
        show(numbers(seen, probe - 1, kind, layer, head))
    else:
        print(printable(str(output)))

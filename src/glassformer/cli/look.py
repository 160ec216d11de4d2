"""`glassformer look VIEW RUN ...`: each view as one page that opens anywhere, as a picture, or as numbers."""

import typer

look = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look inside a run: attention, predictions, single steps, as a page, a picture or numbers.",
)

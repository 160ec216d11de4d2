"""Runs as folders of other libraries, and back."""

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.terminal import (
    App,
    RunPath,
    printable,
)
from glassformer.errors import UsageError

app = App()


FILES = (".onnx", ".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".zip", ".tflite", ".json")
"""How files with models end. No folder is made under such a name."""


@app.command("export")
def export_folder(
    run: RunPath,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a new folder")],
    format: Annotated[
        str | None,
        typer.Option(metavar="<gpt2|bart|bert>", help="the architecture; without it, one of the run's family"),
    ] = None,
) -> None:
    """Write a run as a folder that transformers reads.

    config.json, model.safetensors and tokenizer.json. A model whose parts the architecture has not is refused; one that
    is trained with model.preset=gpt2, bart or bert has them.

    \b
    glassformer train my.txt objective.name=causal_lm model.preset=gpt2
    glassformer export runs/my my-gpt2
    """
    if folder.suffix.lower() in FILES:
        raise UsageError(
            f"{folder} is the name of a file, and a run is written as a folder for transformers (gpt2, bart, bert); "
            f"{folder.suffix[1:].upper()} files are not written yet",
            f"for example: glassformer export {run} {folder.stem}",
        )
    from glassformer.ask.run import load
    from glassformer.exchange import export_run

    print(printable(str(export_run(load(run), folder, format))))


@app.command("import")
def import_folder(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a folder that transformers has written")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the new run directory")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="how it is asked: objective.name=denoising", show_default=False),
    ] = None,
) -> None:
    """Make a run of a Hugging Face folder, and look inside.

    Its tokenizer must have the tokens [PAD] [UNK] [CLS] [SEP] [MASK], as those written by `export` have.

    \b
    glassformer import my-gpt2 runs/mine-again
    """
    from glassformer.exchange import import_run

    print(printable(str(import_run(folder, run, list(changes or [])).path)))

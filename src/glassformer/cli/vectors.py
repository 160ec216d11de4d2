"""Ask a trained run how alike texts are, and for their vectors."""

import io
from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.terminal import App, AsJson, RunPath, printable, show, texts_from, texts_in
from glassformer.durable import write_bytes_durably
from glassformer.errors import UsageError

app = App()


@app.command()
def similarity(
    run: RunPath,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help='two texts, or pairs: "A ||| B"', show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option(help="a file with a pair in each line, a tab or ||| between")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each pair")] = False,
) -> None:
    """Say how alike two texts are.

    As a cosine, and in the scale of the numbers that the model was trained on.

    \b
    glassformer similarity runs/similarity-demo "Mars is red" "Mars is the red planet"
    glassformer similarity runs/similarity-demo --file pairs.tsv
    """
    from glassformer.ask.run import load

    trained = load(run)
    given = list(texts_from(texts, file, "A ||| B, or an empty line to end"))
    for found in trained.similarity(_pairs(given, as_arguments=bool(texts))):
        if as_json:
            show(found.record())
        else:
            number = "" if found.number is None else f"   {found.number:.2f}"
            print(printable(f"{found.cosine:.3f}{number}   {found.text} ||| {found.second}"))


def _pairs(given: list[str], as_arguments: bool) -> list[tuple[str, str]]:
    """Two arguments are a pair; else each text, or line of a file, holds one. Raises UsageError where one does not."""
    parts = [[part.strip() for part in text.replace("|||", "\t").split("\t")] for text in given]
    if as_arguments and len(parts) == 2 and all(len(part) == 1 for part in parts):
        parts = [[parts[0][0], parts[1][0]]]
    for number, part in enumerate(parts, 1):
        if len(part) != 2 or not all(part):
            raise UsageError(f"text {number} is not two texts", 'give two texts, or "A ||| B"')
    return [(one, other) for one, other in parts]


@app.command()
def embed(
    run: RunPath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a file with one text in each line")],
    output: Annotated[Path | None, typer.Option(help="VECTORS.npz: the arrays texts and vectors")] = None,
    near: Annotated[str | None, typer.Option(help="say which lines are nearest to this text")] = None,
    top: Annotated[int, typer.Option(min=1, help="near: so many lines")] = 5,
    cut: Annotated[bool, typer.Option("--cut", help="cut texts at the end that the model cannot read whole")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a vector of each line, or find the nearest lines.

    Of a similarity model the vector that it was trained for; of any other that reads text the mean over the tokens of
    its last layer (of an encoder-decoder, the encoder's).

    \b
    glassformer embed runs/similarity-demo sentences.txt --output vectors.npz
    glassformer embed runs/mlm-demo sentences.txt --near "the red planet" --top 3
    """
    if (output is None) == (near is None):
        raise UsageError("--output writes vectors, --near looks for lines", "give one of them")
    if output is not None and output.suffix != ".npz":
        raise UsageError(f"{printable(str(output))} is no name for vectors", "name it VECTORS.npz")
    import numpy as np

    from glassformer.ask.run import load

    trained, texts = load(run), texts_in(file)
    if output is not None:
        vectors, content = trained.embed(texts, cut), io.BytesIO()
        np.savez(content, texts=np.array(texts), vectors=vectors)
        write_bytes_durably(output, content.getvalue())
        if as_json:
            show({"output": str(output), "texts": len(texts), "size": vectors.shape[1]})
        else:
            print(printable(f"{output}: {len(texts)} vectors of {vectors.shape[1]} numbers"))
        return
    found = trained.nearest(near or "", texts, top, cut)
    if as_json:
        show({"text": near, "near": [one._asdict() for one in found]})
    else:
        for one in found:
            print(printable(f"{one.cosine:.3f}   line {one.line}   {one.text}"))

"""`glassformer look VIEW RUN ...`: each view as one page that opens anywhere, as a picture, or as numbers."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from glassformer.cli.terminal import AsJson, RunPath, printable, show, table, texts_in

look = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Look inside a run: heads, words, relations.",
    help="Look inside a run: attention, predictions, single steps, as a page, a picture or numbers.",
)


def answer(found: Any, output: Path | None, rows: list[dict[str, Any]], as_json: bool) -> None:
    """What was found: as JSON, as the name of the file that was written, or as a table."""
    from glassformer.look.files import plain

    if as_json:
        show(plain(found))
    elif output is not None:
        print(printable(str(output)))
    else:
        table(rows)


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
    output: Annotated[
        Path | None, typer.Option(help="FILE.png, .svg or .pdf: a map of the first text for each head; .json or .npz")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what each head does: how broadly and how far it looks, and which known pattern fits it.

    A score is the mean weight on the tokens that the pattern names; beside it stands the score of a head that looks at
    all tokens alike.

    \b
    glassformer look heads runs/mlm-demo --sort pattern --output heads.png
    """
    from glassformer.look import files
    from glassformer.look import heads as view
    from glassformer.look.head_maps import head_maps
    from glassformer.predict import load

    files.check_suffix(output, files.ARRAYS)
    asked = list(texts or []) + ([] if file is None else texts_in(file))
    seen = list(view.seen_of(load(run), asked, kind, number))
    found = view.facts(seen)
    order = view.ordered(found, sort)
    if output is not None:
        files.write(found, output, lambda: head_maps(seen[0], found, order, sort))
    answer(found, output, view.rows(found, order), as_json)


@look.command()
def dependencies(
    run: RunPath,
    file: Annotated[Path, typer.Argument(metavar="FILE.conllu", help="parsed sentences")],
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many sentences")] = None,
    relation: Annotated[str | None, typer.Option(help="one relation, such as nsubj")] = None,
    least: Annotated[int, typer.Option(min=1, help="leave out relations with fewer occurrences")] = 20,
    output: Annotated[
        Path | None, typer.Option(help="FILE.png, .svg or .pdf for a picture, .json or .csv for all heads")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which head follows which syntactic relation, from a treebank in CoNLL-U.

    For each word: is the other word that a head looks at most its syntactic head, or its dependent? The baseline is the
    best guess that always takes the word at one fixed distance.

    \b
    glassformer look dependencies runs/my treebank.conllu --relation nsubj
    """
    from itertools import islice

    from glassformer.look import dependencies as view
    from glassformer.look import files
    from glassformer.predict import load

    files.check_suffix(output, files.ROWS)
    found = view.dependencies(load(run), islice(view.read_conllu(file), limit))
    found = found._replace(scores=view.frequent(found, least, relation))
    if output is not None and output.suffix.lower() == ".csv":
        files.write_rows(view.all_rows(found.scores), output)
    elif output is not None:
        files.write(found, output, lambda: view.figure(found.scores))
    answer(found, output, view.rows(found.scores), as_json)
    if found.unread or found.unknown:
        left = f"{found.unread} of {found.sentences} sentences cannot be read, "
        print(f"note: {left}{found.unknown:,} relations have an unknown word", file=sys.stderr)


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
    output: Annotated[Path | None, typer.Option(help="FILE.png, .svg, .pdf, .json or .npz: all heads")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how much each head attends from a pronoun to what it may refer to, and back.

    \b
    glassformer look pronoun runs/my "The cat sat on the mat because it was tired" --word it --candidates cat mat
    """
    from glassformer.look import files
    from glassformer.look import pronoun as view
    from glassformer.predict import load

    files.check_suffix(output, files.ARRAYS)
    trained = load(run)
    unknown = trained.unknown_words(text)
    if unknown:
        print(printable(f"not in the vocabulary, read as unknown: {', '.join(unknown)}"), file=sys.stderr)
    found = view.pronoun(trained, text, word, [*(candidates or []), *(more or [])], nth)
    if output is not None:
        files.write(found, output, lambda: view.figure(found))
    answer(found, output, view.rows(found), as_json)


@look.command("word")
def word_in_two_texts(
    run: RunPath,
    word: Annotated[str, typer.Argument(metavar="WORD", help="a word that stands in both texts")],
    text_a: Annotated[str, typer.Argument(metavar="TEXT", help="one text")],
    text_b: Annotated[str, typer.Argument(metavar="TEXT", help="the other")],
    nth: Annotated[
        tuple[int, int] | None, typer.Option(help="which one in each text, where the word stands there more than once")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="FILE.png, .svg, .pdf, .json or .npz")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow one word through the layers in two texts: how alike its vectors are.

    Beside it, how alike two different words of these texts are at the same place.

    \b
    glassformer look word runs/my bank "We sat on the river bank" "The bank lends money" --output bank.png
    """
    from glassformer.look import apart as view
    from glassformer.look import files
    from glassformer.predict import load

    files.check_suffix(output, files.ARRAYS)
    found = view.apart(load(run), word, text_a, text_b, nth or (None, None))
    if output is not None:
        files.write(found, output, lambda: view.figure(found))
    answer(found, output, view.rows(found), as_json)

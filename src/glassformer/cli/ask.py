"""Ask a trained run: fill blanks, go on with texts, score, evaluate, draw attention."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from glassformer.cli.judged import say_judged
from glassformer.cli.look import command_of
from glassformer.cli.terminal import (
    HEADINGS,
    App,
    AsJson,
    RunPath,
    complain,
    describe_evaluation,
    head_choice,
    printable,
    say_unknown,
    show,
    texts_from,
)
from glassformer.durable import write_text_durably
from glassformer.errors import UsageError
from glassformer.formatting import NATS, percent
from glassformer.look.views import spec_of, view_names

if TYPE_CHECKING:
    from glassformer.ask.answer import Answers
    from glassformer.ask.fill import Filled
    from glassformer.ask.tag import TaggedText

app = App()
LARGEST_TEXT = 2**26
"""Bytes of a text in which answers are looked for."""


@app.command()
def fill(
    run: RunPath,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="texts with [MASK]", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="candidates for each blank")] = 5,
    file: Annotated[Path | None, typer.Option(help="a file with one text in each line")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each text")] = False,
) -> None:
    """Fill the blanks of texts, with probabilities.

    The texts are arguments, lines of --file, or lines of standard input; on a terminal they are asked for.

    \b
    glassformer fill runs/mlm-demo "Mars is called the [MASK] planet"
    """
    from glassformer.ask.run import load

    trained = load(run)
    asking = not texts and file is None and sys.stdin.isatty()
    for text in texts_from(texts, file):
        try:
            filled = trained.fill(text, top)
        except UsageError as error:
            if not asking:
                raise
            complain(error)
            continue
        say_unknown(trained, text)
        if as_json:
            show(filled.record())
        else:
            print(in_lines(filled))


def in_lines(filled: "Filled") -> str:
    """A text and below it a line for each blank, numbered where there are several."""
    lines = [filled.text]
    for number, blank in enumerate(filled.blanks, 1):
        which = f"{number}. " if len(filled.blanks) > 1 else ""
        lines.append(f"  {which}" + "   ".join(f"{c.token} {percent(c.probability)}" for c in blank.candidates))
    return printable("\n".join(lines))


@app.command()
def classify(
    run: RunPath,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="texts; or pictures: PICTURE.png, IDX_FILE:NUMBER", show_default=False),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="a file with one text in each line")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each text")] = False,
) -> None:
    """Say which label texts or pictures have, with probabilities.

    The texts are arguments, lines of --file, or lines of standard input; on a terminal they are asked for.

    \b
    glassformer classify runs/classification-demo "Mars is a red planet"
    glassformer classify runs/fashion t10k-images-idx3-ubyte.gz:17
    """
    from glassformer.ask.run import load

    trained = load(run)
    asking = not texts and file is None and sys.stdin.isatty()
    for text in texts_from(texts, file):
        try:
            classified = trained.classify(text)
        except UsageError as error:
            if not asking:
                raise
            complain(error)
            continue
        say_unknown(trained, text)
        if as_json:
            show(classified.record())
        else:
            print(printable(classified.text))
            print(printable("  " + "   ".join(f"{one.token} {percent(one.probability)}" for one in classified.labels)))


@app.command()
def tag(
    run: RunPath,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="sentences", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="a file with one sentence in each line")] = None,
    words: Annotated[bool, typer.Option("--words", help="texts are cut into words already: at spaces only")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each sentence")] = False,
) -> None:
    """Say which tag each word has, and which names the tags say.

    The texts are arguments, lines of --file, or lines of standard input; on a terminal they are asked for.

    \b
    glassformer tag runs/tagging-demo "Mars is near Jupiter"
    glassformer tag runs/names --words --json < sentences.txt
    """
    from glassformer.ask.run import load

    trained = load(run)
    asking = not texts and file is None and sys.stdin.isatty()
    for text in texts_from(texts, file):
        try:
            [tagged] = trained.tag([text.split()]) if words else trained.tag([text])
        except UsageError as error:
            if not asking:
                raise
            complain(error)
            continue
        say_unknown(trained, text)
        if as_json:
            show(tagged.record())
        else:
            print(tagged_in_lines(tagged))


def tagged_in_lines(tagged: "TaggedText") -> str:
    """A text, below it the names that its tags say, or a line for each word."""
    lines = [tagged.text]
    if tagged.entities is not None:
        lines += [f"  {one.kind:<14} {one.text}" for one in tagged.entities] or ["  no names"]
    else:
        wide = max(len(word.word) for word in tagged.words)
        for word in tagged.words:
            lines.append(f"  {word.word:<{wide}}  {word.tag or '?':<10} {percent(word.probability or 0.0):>6}")
    return printable("\n".join(lines))


@app.command()
def answer(
    run: RunPath,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", help="questions; or QUESTION ||| TEXT", show_default=False)
    ] = None,
    context: Annotated[
        list[Path] | None, typer.Option(help="a text file to look for the answer in; given again, one more")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="one question in each line; FILE.jsonl: rows with question and context")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="so many of the best answers")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each question")] = False,
) -> None:
    """Find the answers to questions in texts.

    The questions are arguments, lines of --file, or lines of standard input; on a terminal they are asked for. A long
    text is read in windows; of several texts the best answer is taken.

    \b
    glassformer answer runs/answers-demo "where does Anna live ? ||| Ben lives in Rome . Anna lives in Oslo ."
    glassformer answer runs/squad "Who wrote it?" --context report.txt --context letter.txt --top 3
    """
    from glassformer.ask.run import load

    trained = load(run)
    texts_by_name = {str(path): _whole_text(path) for path in context or []}
    asking = not texts and file is None and sys.stdin.isatty()
    in_rows = file is not None and file.suffix == ".jsonl"
    for number, line in enumerate(texts_from(texts, file, "a question, or an empty line to end"), start=1):
        try:
            question, own = _asked_row(line, f"{file}, line {number}") if in_rows else _asked_in(line)
            found = trained.answer(question, own or texts_by_name, top)
        except UsageError as error:
            if not asking:
                raise
            complain(error)
            continue
        say_unknown(trained, question)
        if as_json:
            show(found.record())
        else:
            print(answers_in_lines(found))


def _whole_text(path: Path) -> str:
    """A text file as it is. Raises UsageError where there is none, and what reading it raises."""
    if not path.is_file():
        raise UsageError(f"there is no file {printable(str(path))}", "name a text file with --context")
    from glassformer.reading import plain_text

    return plain_text(path, LARGEST_TEXT, "text")


def _asked_in(line: str) -> tuple[str, dict[str, str]]:
    """A question, and the text behind ||| where there is one."""
    question, between, text = line.partition("|||")
    return question.strip(), {"": text.strip()} if between else {}


def _asked_row(line: str, place: str) -> tuple[str, dict[str, str]]:
    """A row of JSON with a question, and a context where it brings its own."""
    try:
        row = json.loads(line)
        question, text = row["question"], row.get("context")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        question, text = None, None
    if not isinstance(question, str) or not isinstance(text, str | None):
        raise UsageError(f"{place} is no row with a question", 'write {"question": "...", "context": "..."}')
    return question, {} if text is None else {"": text}


def answers_in_lines(found: "Answers") -> str:
    """A question, and below it the answer, or the best ones with where they stand."""
    lines = [found.question, f"  {found.answer if found.answer is not None else 'no answer'}"]
    given = found.candidates if len(found.candidates) > 1 or found.answer is None else found.candidates[:1]
    for one in given:
        where = f"{one.context}, " if one.context else ""
        lines.append(f"    {one.text}  {percent(one.probability)}  ({where}characters {one.start} to {one.end})")
    return printable("\n".join(lines))


@app.command()
def generate(
    run: RunPath,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="beginnings, or sources", show_default=False)
    ] = None,
    beam: Annotated[int, typer.Option(min=1, help="texts kept at a time, by their probability as a whole")] = 1,
    length_penalty: Annotated[float, typer.Option(help="beam: above 1 favours long texts")] = 1.0,
    sample: Annotated[bool, typer.Option("--sample", help="draw each token by its probability")] = False,
    temperature: Annotated[float, typer.Option(help="sample: below 1 favours the likely tokens")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="sample: only from the k likeliest")] = None,
    top_p: Annotated[float, typer.Option(help="sample: only from the likeliest with this share together")] = 1.0,
    min_p: Annotated[float, typer.Option(help="sample: only from those with this share of the likeliest's")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="above 1 disfavours what has occurred")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="stop after so many tokens")] = 128,
    num: Annotated[int, typer.Option(min=1, help="texts for each prompt")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="sample: the same seed gives the same texts")] = 1,
    order: Annotated[
        Literal["surest", "left", "right", "random"],
        typer.Option(help="models that fill blanks in any order: which comes next"),
    ] = "surest",
    file: Annotated[Path | None, typer.Option(help="a file with one text in each line")] = None,
    stream: Annotated[bool | None, typer.Option(help="show a text as it grows; on a terminal that is so")] = None,
    output: Annotated[
        Path | None, typer.Option(help="FILE.txt for the texts alone, .jsonl for what --json prints")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each text")] = False,
) -> None:
    """Go on with texts, or answer them.

    The texts are arguments, lines of --file, or lines of standard input; on a terminal they are asked for.

    \b
    glassformer generate runs/seq2seq-demo "AI improves healthcare"
    glassformer generate runs/my "Once upon a time" --sample --temperature 0.8 --top-p 0.95
    glassformer generate runs/my --file beginnings.txt --output written.jsonl
    """
    if stream and as_json:
        raise UsageError("--stream shows a text as it grows, --json when it is finished", "give one of them")
    if output is not None and (stream or as_json):
        raise UsageError("--output writes the texts, and nothing is printed", "leave out --stream and --json")
    if output is not None and output.suffix not in (".txt", ".jsonl"):
        raise UsageError(f"{output} would be neither text nor JSON", "name it FILE.txt or FILE.jsonl")
    from glassformer.ask.run import load

    settings: dict[str, Any] = {"beam": beam, "length_penalty": length_penalty, "sample": sample}
    settings |= {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    settings |= {"repetition_penalty": repetition_penalty, "max_tokens": max_tokens, "number": num, "seed": seed}
    settings |= {"order": order}
    finished = as_json or output is not None
    as_it_grows = stream if stream is not None else (sys.stdout.isatty() and beam == 1 and num == 1 and not finished)
    trained = load(run)
    asking = not texts and file is None and sys.stdin.isatty()
    lines: list[str] = []
    for text in texts_from(texts, file, "a text to go on with, or a source, or an empty line to end"):
        try:
            if output is not None:
                found = trained.generate(text, **settings)
                written = [json.dumps(found.record(), ensure_ascii=False)]
                lines += written if output.suffix == ".jsonl" else [one.text for one in found.outputs]
            elif as_it_grows:
                for piece in trained.stream(text, **settings):
                    print(printable(piece, exact=True), end="", flush=True)
                print()
            elif as_json:
                show(trained.generate(text, **settings).record())
            else:
                for one in trained.generate(text, **settings).outputs:
                    print(printable(one.text, exact=True))
            say_unknown(trained, text)
        except UsageError as error:
            if not asking:
                raise
            complain(error)
    if output is not None:
        write_text_durably(output, "".join(f"{line}\n" for line in lines))
        print(printable(str(output)))


@app.command()
def score(
    run: RunPath,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="texts", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="a file with one text in each line")] = None,
    output: Annotated[Path | None, typer.Option(help="FILE.png, .svg or .pdf: the words, coloured (one text)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each text")] = False,
) -> None:
    """Say how much each word of a text surprises a model.

    Surprisal is -ln of the probability of a word, in nats. A causal model sees what stands before a word; a model that
    fills blanks sees all the others, so that its perplexity is a pseudo-perplexity.

    \b
    glassformer score runs/mlm-demo "Mars is called the red planet" --output mars.png
    """
    from glassformer.ask.run import load

    trained = load(run)
    asked = list(texts_from(texts, file, "a text, or an empty line to end"))
    if output is not None and len(asked) != 1:
        raise UsageError(f"{len(asked)} texts do not fit into one picture", "score one text, or leave out --output")
    for text in asked:
        scored = trained.score(text)
        if output is not None:
            from glassformer.look.pictures.figures import save
            from glassformer.look.pictures.overlay import surprisal

            save(surprisal(scored.tokens, scored.surprisal, f"{scored.kind} {scored.perplexity:,.2f}"), output)
        if as_json:
            show(scored.record())
        else:
            nats = ["-" if value is None else f"{value:.2f}" for value in scored.surprisal]
            words = [f"{token} {value}" for token, value in zip(scored.tokens, nats, strict=True)]
            print(printable(f"{'   '.join(words)}\n{scored.kind} {scored.perplexity:,.2f}"))
    if not as_json:
        print(f"surprisal in nats: {NATS}")


@app.command()
def evaluate(
    run: RunPath,
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="data.KEY=VALUE", help="other data, such as data.test=new.txt", show_default=False),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="which part of the data")
    ] = "validation",
    other_sources: Annotated[
        bool, typer.Option("--other-sources", help="encoder-decoders: also the loss with the source of another text")
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="labels: also what must be beaten, learned anew")
    ] = True,
    rows: Annotated[
        Path | None, typer.Option(help="labels: FILE.jsonl for every row with its prediction and probability")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Loss, perplexity, accuracy and top-5 accuracy on fixed masks.

    With the intervals that hold 95%. The same questions at every call. All of the part is asked, also where
    training.evaluate_units asked fewer, and of a small part every word in turn; unknown words never are, and their
    share is said. A decoder that does not read its source is as good with another's.

    Of a model that predicts labels: accuracy, macro F1 and Matthews correlation beside those of the majority class and
    of a bag of words, each class, the expected calibration error, and the rows it was wrong about and surest of.

    \b
    glassformer evaluate runs/classification-demo --rows answers.jsonl
    """
    from glassformer.ask.run import load

    trained = load(run)
    result = (trained.with_data(changes) if changes else trained).evaluate(split, other_sources, baselines, rows)
    if as_json:
        show(result)
        return
    for key, value in describe_evaluation(result).items():
        print(f"{HEADINGS.get(key, key.replace('_', ' ')):<24} {printable(value)}")
    print(f"{'unit of the loss':<24} nats; {NATS}")
    if "scores" in result:
        say_judged(trained.path.name, result)
    if rows is not None:
        print(printable(str(rows)))


@app.command()
def attention(
    run: RunPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a text, with or without [MASK]")],
    output: Annotated[
        Path | None, typer.Option(help="FILE.png, .svg or .pdf for a picture, .json or .npz for the numbers")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="one layer, counted from 0; without it all")] = None,
    head: Annotated[str, typer.Option(help="a head counted from 0, all, or mean")] = "all",
    view: Annotated[
        Literal["heatmap", "overlay"],
        typer.Option(
            help="heatmap: who attends to whom; overlay: the text, its blank ringed, and the guesses; of pictures: "
            "the patches that are attended to"
        ),
    ] = "heatmap",
    true: Annotated[str | None, typer.Option(help="overlay: the right word, for the caption")] = None,
    blank: Annotated[int, typer.Option(min=1, help="overlay: which [MASK], counted from 1")] = 1,
    kind: Annotated[
        Literal["self", "cross", "decoder"],
        typer.Option(help="self: of the text; of an encoder-decoder also: from target to source, or of the target"),
    ] = "self",
    target: Annotated[
        str | None, typer.Option(help="cross, decoder: what the decoder reads; without it the model's own answer")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the numbers as JSON")] = False,
) -> None:
    """Draw the attention of a text, or write its numbers.

    \b
    glassformer attention runs/mlm-demo "Mars is called the red planet" --output mars.png
    glassformer attention runs/mlm-demo "Mars is called the [MASK] planet" --view overlay --true red --output mars.pdf
    glassformer attention runs/seq2seq-demo "I love dogs" --kind cross --output dogs.png
    """
    from glassformer.ask.run import load

    if output is None and not as_json:
        raise UsageError("where should it go?", "name a file with --output, or print the numbers with --json")
    trained = load(run)
    which = head_choice(head)
    if output is not None:
        from glassformer.look.report import draw_attention

        draw_attention(trained, text, output, layer, which, view, true, blank - 1, kind, target)
    if as_json:
        from glassformer.look.measures.attention import attention_of, numbers

        show(numbers(text, attention_of(trained, text, kind, target), layer, which, kind))
    else:
        print(printable(str(output)))


for each in view_names():
    if spec_of(each).on_top:
        app.command(each)(command_of(each, spec_of(each)))

"""The command line: parses, calls, prints. torch and everything that needs it is imported inside the commands, so that
`--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.exceptions import TyperException

from glassformer import __version__
from glassformer.cli import completion
from glassformer.cli.look import Output, give, look, possible
from glassformer.cli.terminal import (
    HEADINGS,
    App,
    AsJson,
    Changes,
    RunPath,
    RunPaths,
    check,
    complain,
    evaluation_in_words,
    head_choice,
    key_in_lines,
    patience,
    printable,
    readable,
    results,
    say_unknown,
    show,
    table,
    texts_from,
    type_in_words,
    undecided,
)
from glassformer.errors import GlassformerError, UsageError
from glassformer.wording import NATS, percent

if TYPE_CHECKING:
    from glassformer.predict import Filled

app = App(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train Transformers that you can see through.",
)


def say_version(wanted: bool) -> bool:
    """Print it where it is wanted, and end."""
    if wanted:
        print(f"glassformer {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True, callback=say_version)
    ] = False,
) -> None:
    """Train Transformers that you can see through."""


def main() -> None:
    """Run a command. A person's mistake is a line or two on standard error, exit code 2 (wrong use) or 1 (failed)."""
    code = run_command()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left, as `head` does; Python would flush once more and fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def run_command() -> int | str | None:
    """Run what the arguments ask for, and give back the exit code."""
    try:
        return app(prog_name="glassformer", standalone_mode=False) or 0
    except SystemExit as end:
        return end.code
    except typer.Abort:
        complain(GlassformerError("stopped"))
        return 1
    except TyperException as error:
        return misused(error)
    except GlassformerError as error:
        complain(error)
        return error.exit_code
    except OSError as error:  # what no part foresaw: a name that is too long, a folder that may not be read
        place = f"{error.filename}: " if error.filename else ""
        complain(GlassformerError(f"{place}{error.strerror or error}"))
        return 1


def misused(error: TyperException) -> int:
    """Say what is wrong with the words of a command, as all errors are said. Without any words it is the help."""
    what, context = error.format_message(), getattr(error, "ctx", None)
    if "\n" in what:
        print(what, file=sys.stderr)
    else:
        command = context.command_path if context is not None else "glassformer"
        mend = f"see {command} --help"
        if what.startswith("No such option"):
            mend += '; before a text that begins with "-" stands --, as in: fill RUN -- "- a [MASK]"'
        complain(UsageError(what.rstrip("."), mend))
    return error.exit_code


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe, a YAML file, or a text file or folder of your own",
            autocompletion=completion.recipes,
        ),
    ] = None,
    changes: Changes = None,
    run: Annotated[Path | None, typer.Option(help="the run directory; without it runs/NAME")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on where the run stopped; begin where there is none")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model by a recipe, or on a text of your own.

    Ctrl-C saves everything, and --resume goes on from there.

    \b
    glassformer train mlm-demo training.steps=500
    glassformer train my.txt
    glassformer train --resume --run runs/my
    """
    if resume and run is None and (recipe is None or "=" in recipe):
        raise UsageError("--resume needs to know which run", "name it: glassformer train --resume --run runs/NAME")
    check(recipe, changes, run if resume else None)
    import psutil

    from glassformer import launch
    from glassformer.look.results import best as best_of
    from glassformer.training.display import TerminalDisplay
    from glassformer.training.processes import started_together

    display, began = TerminalDisplay(), psutil.Process().create_time()
    finished = launch.train(recipe, changes or [], run=run, resume=resume, display=display, began=began)
    if started_together()[0] > 0:
        return  # the first of the processes speaks for all
    best = best_of(finished.metrics())
    if as_json:
        found = None
        if best is not None:
            found = {key: best.get(key) for key in ("step", "loss", "loss_interval", "count", "verdict")}
        show({"run": str(finished.path), "best": found})
        return
    path = printable(str(finished.path))
    if best is not None:
        which = "best validation" if best.get("tells", True) else "validation"
        print(f"{which} loss {best['loss']:.4f} at step {best['step']}, in {path}")
        print(printable(best.get("verdict", "")))
    print(f"curves and attention: {printable(str(finished.directory.plots))}")
    what, text = ("generate", "a text") if finished.objective.generates else ("fill", "a text with a [MASK]")
    print(f'try: glassformer {what} {path} "{printable(finished.objective.opening)}{text}"')


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
    from glassformer.predict import load

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
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each text")] = False,
) -> None:
    """Go on with texts, or answer them.

    The texts are arguments, lines of --file, or lines of standard input; on a terminal they are asked for.

    \b
    glassformer generate runs/seq2seq-demo "AI improves healthcare"
    glassformer generate runs/my "Once upon a time" --sample --temperature 0.8 --top-p 0.95
    """
    if stream and as_json:
        raise UsageError("--stream shows a text as it grows, --json when it is finished", "give one of them")
    from glassformer.predict import load

    settings: dict[str, Any] = {"beam": beam, "length_penalty": length_penalty, "sample": sample}
    settings |= {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    settings |= {"repetition_penalty": repetition_penalty, "max_tokens": max_tokens, "number": num, "seed": seed}
    settings |= {"order": order}
    as_it_grows = stream if stream is not None else (sys.stdout.isatty() and beam == 1 and num == 1 and not as_json)
    trained = load(run)
    asking = not texts and file is None and sys.stdin.isatty()
    for text in texts_from(texts, file, "a text to go on with, or a source, or an empty line to end"):
        try:
            if as_it_grows:
                for piece in trained.stream(text, **settings):
                    print(printable(piece), end="", flush=True)
                print()
            elif as_json:
                show(trained.generate(text, **settings).record())
            else:
                for output in trained.generate(text, **settings).outputs:
                    print(printable(output.text))
            say_unknown(trained, text)
        except UsageError as error:
            if not asking:
                raise
            complain(error)


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
    from glassformer.look.figures import save
    from glassformer.look.overlay import surprisal
    from glassformer.predict import load

    trained = load(run)
    asked = list(texts_from(texts, file, "a text, or an empty line to end"))
    if output is not None and len(asked) != 1:
        raise UsageError(f"{len(asked)} texts do not fit into one picture", "score one text, or leave out --output")
    for text in asked:
        scored = trained.score(text)
        if output is not None:
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
    as_json: AsJson = False,
) -> None:
    """Loss, perplexity, accuracy and top-5 accuracy on fixed masks.

    With the intervals that hold 95%. The same questions at every call. All of the part is asked, also where
    training.evaluate_units asked fewer, and of a small part every word in turn; unknown words never are, and their
    share is said. A decoder that does not read its source is as good with another's.
    """
    from glassformer.predict import load

    trained = load(run)
    result = (trained.with_data(changes) if changes else trained).evaluate(split, other_sources)
    if as_json:
        show(result)
        return
    for key, value in evaluation_in_words(result).items():
        print(f"{HEADINGS.get(key, key.replace('_', ' ')):<24} {printable(value)}")
    print(f"{'unit of the loss':<24} nats; {NATS}")


@app.command()
def ablate(
    run: RunPath,
    parts: Annotated[
        str,
        typer.Option(
            help="heads, attention, feed-forward, layers, positions, all, or single parts such as "
            "encoder.blocks.1.self_attention:2; several with commas between"
        ),
    ] = "all",
    units: Annotated[int | None, typer.Option(min=2, help="ask at most so many texts; without it all")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="hide other words in each text so many times; 1: the questions of `evaluate`")
    ] = 1,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Say how much worse a model is without each part.

    The loss and accuracy are those of `evaluate` on the validation texts. The intervals hold 95% of what comes out when
    the texts are drawn anew; a part whose interval holds 0 may be worth nothing.

    \b
    glassformer ablate runs/mlm-demo --parts heads --output heads.png
    """
    from glassformer.look import views
    from glassformer.predict import load

    possible(output)
    with patience():
        view = views.ablate(load(run), parts, units, seeds)
    give(view, output, as_json, view.data["in_words"])
    if output is None and not as_json:
        print(f"loss in nats per asked token: {NATS}")


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
        typer.Option(help="heatmap: who attends to whom; overlay: the text, its blank ringed, and the guesses"),
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
    from glassformer.look import report
    from glassformer.predict import load

    if output is None and not as_json:
        raise UsageError("where should it go?", "name a file with --output, or print the numbers with --json")
    trained = load(run)
    which = head_choice(head)
    if output is not None:
        report.draw_attention(trained, text, output, layer, which, view, true, blank - 1, kind, target)
    if as_json:
        show(report.numbers(text, report.attention_of(trained, text, kind, target), layer, which, kind))
    else:
        print(printable(str(output)))


@app.command()
def compare(
    runs: RunPaths,
    output: Annotated[Path | None, typer.Option(help="the picture: FILE.png, .svg or .pdf; without it none")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw the curves of runs side by side, and print a table.

    The gap is the validation loss minus the loss on training texts at the end: what has only been learned by heart.
    """
    from glassformer.look.report import compare_runs
    from glassformer.predict import load

    loaded = [load(path) for path in runs]
    rows = compare_runs(loaded, output)
    if as_json:
        show({"runs": rows, "picture": None if output is None else str(output)})
    else:
        results(rows)
        for line in undecided(rows):
            print(printable(line))
        if output is not None:
            print(printable(str(output)))
    vocabularies = [(each.tokenizer.vocabulary, each.objective.target_tokenizer.vocabulary) for each in loaded]
    if any(other != vocabularies[0] for other in vocabularies):
        print("note: the runs have different vocabularies, so their losses are not of the same tokens", file=sys.stderr)


@app.command()
def preview(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe, a YAML file, or a text of your own",
            autocompletion=completion.recipes,
        ),
    ],
    changes: Changes = None,
    count: Annotated[int, typer.Option(min=1, help="examples")] = 3,
    output: Annotated[Path | None, typer.Option(help="FILE.png, .svg or .pdf: the same as a picture")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model is given: tokens, targets, masks.

    \b
    glassformer preview mlm-demo
    glassformer preview mlm-demo objective.name=permutation_lm --output order.png
    """
    check(recipe, changes)
    from glassformer.launch import find_recipe
    from glassformer.look import preview as look
    from glassformer.look.figures import save

    name, found = find_recipe(recipe, list(changes or []), lambda line: None)
    shown = look.previews(found, count, lambda line: print(printable(line), file=sys.stderr))
    if output is not None:
        objective = found.objective.model_dump()["name"]
        save(look.figure(shown, f"{name}: {objective}"), output)
    if as_json:
        show(shown)
    elif output is not None:
        print(printable(str(output)))
    else:
        print(printable("\n\n".join(look.in_words(one) for one in shown)))


@app.command()
def doctor(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe, a YAML file, or a text of your own",
            autocompletion=completion.recipes,
        ),
    ],
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Examine a recipe before any training: data, cost, size, time.

    Trains for a few seconds on this machine to measure memory and time; nothing of it is kept.
    """
    check(recipe, changes)
    from glassformer import doctor as examination
    from glassformer.launch import find_recipe

    def say(line: str) -> None:
        print(printable(line), file=sys.stderr)

    _, found = find_recipe(recipe, list(changes or []), say)
    report = examination.examine(found, say)
    if as_json:
        show(report)
    else:
        print("\n".join(examination.in_words(report, found)))


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="where the first part goes")] = Path("runs/mlm-demo"),
    pairs: Annotated[Path, typer.Option(help="where the second goes")] = Path("runs/seq2seq-demo"),
) -> None:
    """Train on the built-in texts, and show what was learned."""
    from glassformer.demo import demo as show_facts
    from glassformer.demo import demo_pairs

    show_facts(run)
    demo_pairs(pairs)


FILES = (".onnx", ".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".zip", ".tflite", ".json")
"""How files with models end. No folder is made under such a name."""


@app.command("export")
def export_folder(
    run: RunPath,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a new folder")],
    format: Annotated[
        str | None, typer.Option(metavar="<gpt2|bart>", help="the architecture; without it, that of the run's family")
    ] = None,
) -> None:
    """Write a run as a folder that Hugging Face's transformers reads.

    config.json, model.safetensors and tokenizer.json. A model whose parts the architecture has not is refused; one that
    is trained with model.preset=gpt2 or bart has them.

    \b
    glassformer train my.txt objective.name=causal_lm model.preset=gpt2
    glassformer export runs/my my-gpt2
    """
    if folder.suffix.lower() in FILES:
        raise UsageError(
            f"{folder} is the name of a file, and a run is written as a folder for transformers (gpt2, bart); "
            f"{folder.suffix[1:].upper()} files are not written yet",
            f"for example: glassformer export {run} {folder.stem}",
        )
    from glassformer.exchange import export_run
    from glassformer.predict import load

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
    """Make a run of a Hugging Face folder, to ask it and look inside.

    Its tokenizer must have the tokens [PAD] [UNK] [CLS] [SEP] [MASK], as those written by `export` have.

    \b
    glassformer import my-gpt2 runs/mine-again
    """
    from glassformer.exchange import import_run

    print(printable(str(import_run(folder, run, list(changes or [])).path)))


@app.command()
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe or a YAML file: show its every key",
            autocompletion=completion.recipes,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes, or every key of one.

    With RECIPE: each key with its value there, its type, its default and its meaning.
    """
    from glassformer import recipe as shipped

    if name is None:
        rows: list[dict[str, Any]] = [
            {"recipe": each, "description": shipped.read(each).description} for each in shipped.shipped()
        ]
    else:
        tree = shipped.read_tree(name)
        found = shipped.parse(tree)
        rows = [
            {
                "key": key.name,
                "value": shipped.value_of(found, key.name),
                "type": type_in_words(key.type),
                "default": key.default,
                "meaning": key.meaning,
            }
            for key in shipped.keys(tree)
        ]
    if as_json:
        show(rows)
    elif name is None:
        table(rows)
    else:
        print("\n".join(key_in_lines(**row) for row in rows))


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="where the runs are")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs in a folder, with their results."""
    from glassformer.look.results import results_of
    from glassformer.run import find_runs

    rows = [results_of(run) for run in find_runs(folder)]
    if as_json:
        show(rows)
    elif rows:
        results(rows)
    else:
        print(f"no runs in {printable(str(folder))}; make one: glassformer train mlm-demo")


@app.command()
def info(run: RunPath, as_json: AsJson = False) -> None:
    """Say what a run is: recipe, size, results, machine."""
    from glassformer.look.report import describe_run
    from glassformer.predict import load

    description = describe_run(load(run))
    if as_json:
        show(description)
        return
    for key, value in description.items():
        if not isinstance(value, dict):
            print(f"{key:<14} {readable(value)}")
            continue
        for number, (name, entry) in enumerate(value.items()):
            print(f"{'' if number else key:<14} {HEADINGS.get(name, name):<14} {readable(entry, name)}")


@app.command()
def studio(
    runs: RunPaths,
    port: Annotated[int, typer.Option(min=0, max=65535, help="where to listen; 0: a free port")] = 0,
    host: Annotated[str, typer.Option(help="the address to listen on; others than this machine's can then ask")] = (
        "127.0.0.1"
    ),
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="open the page in a browser")] = True,
    treebank: Annotated[
        Path | None, typer.Option(help="sentences in CoNLL-U, to see which head follows which relation")
    ] = None,
) -> None:
    """Look inside runs on a local page.

    Type, mask words by a click, switch heads off, compare two runs. It listens on this machine only.

    \b
    glassformer studio runs/mlm-demo runs/seq2seq-demo
    """
    from glassformer.studio.serve import serve

    serve(runs, host, port, open_browser, treebank)


app.add_typer(look, name="look")

"""The demo: an encoder learns the built-in facts, an encoder-decoder the built-in pairs, and both show what they have
learned. What `make demo` runs."""

import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from glassformer.ask.cloze import Answered
from glassformer.ask.run import Run
from glassformer.data.builtin import Cloze, cloze, sentences
from glassformer.data.rows import Pair, builtin_pairs
from glassformer.launch import train
from glassformer.look.pictures.figures import save
from glassformer.look.pictures.heatmaps import heatmap
from glassformer.look.pictures.overlay import overlay_of
from glassformer.recipe import read
from glassformer.run import RunDirectory
from glassformer.snapshot import write_text_durably
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.display import TerminalDisplay

SHOWN_PAIRS = (
    "AI improves healthcare",
    "Planes are faster than cars",
    "What is the largest animal?",
    "By whom was JavaScript created?",
    "I love dogs",
    "They eat apples",
)
SHOWN = (
    "Transformers use [MASK] attention",
    "Mars is called the [MASK] planet",
    "The capital of France is [MASK]",
    "BERT learns by guessing [MASK] words",
    "Water is made of hydrogen and [MASK]",
    "The plural of foot is [MASK]",
    "Ada [MASK] is called the first programmer",
    "The green colour of leaves comes from [MASK]",
)


def demo(path: Path, changes: Sequence[str] = ()) -> Run:
    """Train `mlm-demo` into `path` and print blanks, losses, accuracies, places, and what to try next. A demo that was
    stopped goes on; a finished run is moved aside, and that is said."""
    console = a_console()
    run = trained("mlm-demo", path, changes, console)
    learned = run.cloze(cloze("facts", "train"))
    held_out = run.cloze(cloze("facts", "heldout"))
    shown = [answer for answer in learned if answer.text in SHOWN]
    console.print(table_of("Blanks of training sentences", shown))
    console.print(table_of("Blanks of wordings that it has never seen", held_out[:8]))
    console.print(summary(learned, held_out), soft_wrap=True, markup=False)
    draw_facts(run)
    console.print(where_to_look(run), soft_wrap=True, markup=False)
    return run


def demo_pairs(path: Path, changes: Sequence[str] = ()) -> Run:
    """The same for `seq2seq-demo`: paraphrases, answers and translations, and the picture of one word attending to
    another."""
    console = a_console()
    run = trained("seq2seq-demo", path, changes, console)
    learned, held_out = said(run, "train"), said(run, "heldout")
    console.print(pairs_table("What it has learned", [one for one in learned if one.pair.source in SHOWN_PAIRS]))
    console.print(pairs_table("Sentences that it has never seen", held_out[:: len(held_out) // 9]))
    console.print(pairs_summary(learned, held_out), soft_wrap=True, markup=False)
    texts = [f"{one.pair.source}\n  {one.text}   ({one.mark})" for one in (*held_out, *learned)]
    write_text_durably(run.directory.samples / "generated.txt", "\n".join(texts) + "\n")
    seen = run.attention("I love dogs", kind="cross")
    picture = save(heatmap(seen.weights, seen.tokens, seen.keys or []), run.directory.plots / "dogs.png")
    program = sys.argv[0]
    console.print(
        "\n".join(
            [
                "",
                f"everything is in {path}:",
                f"  {picture}      each word of the answer, and the words of the source that it attended to",
                f"  {path}/samples/generated.txt   everything that it was asked, and its answers",
                "",
                "next, try:",
                f'  {program} generate {path} "I love cats" --beam 4',
                f'  {program} attention {path} "I love dogs" --kind cross --layer 1 --head mean --output dogs.png',
            ]
        ),
        soft_wrap=True,
        markup=False,
    )
    return run


class Said(NamedTuple):
    """A pair, and what the model made of its source."""

    pair: Pair
    text: str

    @property
    def mark(self) -> str:
        """Right, or what would have been."""
        return "right" if self.text == self.pair.target else f"wrong: {self.pair.target}"


def said(run: Run, part: str) -> list[Said]:
    """The greedy answers to every source of one part of the built-in pairs."""
    pairs = list(builtin_pairs(f"builtin:pairs/{part}"))
    answers = run.generate([pair.source for pair in pairs], max_tokens=32)
    return [Said(pair, answer.outputs[0].text) for pair, answer in zip(pairs, answers, strict=True)]


def pairs_table(title: str, answers: Sequence[Said]) -> Table:
    """Source, answer, right or wrong."""
    table = Table(title=title, title_justify="left")
    for heading in ("source", "answer", ""):
        table.add_column(heading)
    for one in answers:
        table.add_row(*map(Text, (one.pair.source, one.text, one.mark)))
    return table


def pairs_summary(learned: Sequence[Said], held_out: Sequence[Said]) -> str:
    """How many answers are exactly the target."""
    shares = [sum(one.mark == "right" for one in part) / len(part) for part in (learned, held_out)]
    return (
        f"exactly right: {shares[0]:.1%} of the {len(learned)} pairs that it has learned, {shares[1]:.1%} of the "
        f"{len(held_out)} that it has never seen"
    )


def a_console() -> Console:
    """Where the demo prints: a file or a pipe has no edge to wrap at."""
    console = Console()
    return console if console.is_terminal else Console(width=110)


def trained(name: str, path: Path, changes: Sequence[str], console: Console) -> Run:
    """Train a recipe of the demo. One that was stopped goes on; a finished run is moved aside, and that is said."""
    stopped = was_stopped(path)
    if not stopped:
        keep_older(path, console)
    return train(name, changes, run=path, resume=stopped, display=TerminalDisplay(Console(stderr=True)))


def was_stopped(path: Path) -> bool:
    """Whether a demo lies there that has saved something and has steps left to do."""
    run = RunDirectory(path)
    saved = max(checkpoint_steps(run), default=0)
    return 0 < saved < (read(str(run.recipe_file)).training.steps or 0) if run.recipe_file.is_file() else False


def keep_older(path: Path, console: Console) -> None:
    """Rename an earlier run of the demo instead of overwriting it."""
    if not path.exists():
        return
    numbered = (path.with_name(f"{path.name}-before-{n}") for n in itertools.count(1))
    aside = next(name for name in numbered if not name.exists())
    if path.is_dir():
        with RunDirectory(path).locked():
            pass  # raises UsageError while another process trains it: it would go on writing under the old name
    path.rename(aside)
    console.print(f"the earlier run is kept as {aside}", markup=False)


def table_of(title: str, answers: Sequence[Answered]) -> Table:
    """Question, prediction, probability, right or wrong."""
    table = Table(title=title, title_justify="left")
    for heading, justify in (("text", "left"), ("predicted", "left"), ("probability", "right"), ("", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for a in answers:
        mark = "right" if a.right else f"wrong: {a.answer}"
        table.add_row(*map(Text, (a.text, a.predicted, f"{a.probability:.1%}", mark)))
    return table


def summary(learned: Sequence[Answered], held_out: Sequence[Answered]) -> str:
    """Loss and accuracies, beside guessing the most frequent word."""
    loss = sum(a.loss for a in learned) / len(learned)
    return "\n".join(
        [
            f"masked loss over the {len(learned)} designated blanks of the training sentences: {loss:.4f} "
            f"({share(learned):.1%} right); `evaluate --split train` asks them too, and words drawn at random",
            f"accuracy on the {len(held_out)} held-out wordings: {share(held_out):.1%}; "
            f"guessing the most frequent word ({most_frequent()!r}): {guessing(held_out):.1%}",
        ]
    )


def share(answers: Sequence[Answered]) -> float:
    """The share of right answers."""
    return sum(a.right for a in answers) / len(answers)


def most_frequent() -> str:
    """The most frequent word of the training sentences."""
    return Counter(word for text in sentences("facts", "train") for word in text.lower().split()).most_common(1)[0][0]


def guessing(answers: Sequence[Answered]) -> float:
    """The accuracy of always saying the most frequent word."""
    return sum(a.answer == most_frequent() for a in answers) / len(answers)


def draw_facts(run: Run) -> None:
    """Heatmaps and overlay of the two sentences that everything began with."""
    answers = {c.text: c for c in cloze("facts", "train")}
    for text, name in ((SHOWN[0], "self-attention"), (SHOWN[1], "red-planet")):
        question: Cloze = answers[text]
        seen = run.attention(text)
        assert seen.filled is not None
        marked = [blank.position for blank in seen.filled.blanks]
        save(heatmap(seen.weights, seen.tokens, seen.tokens, marked=marked), run.directory.plots / f"{name}-heads.png")
        save(overlay_of(seen, true=question.answer), run.directory.plots / f"{name}.png")


def where_to_look(run: Run) -> str:
    """The run directory, and the next commands."""
    path, program = run.path, sys.argv[0]
    return "\n".join(
        [
            "",
            f"everything is in {path}:",
            f"  {path}/plots/curves.png          how the loss fell",
            f"  {path}/plots/red-planet.png      the masked word, and what it attended to",
            f"  {path}/plots/self-attention-heads.png   every head of every layer",
            f"  {path}/samples/                  true vs predicted, at each evaluation",
            "",
            "next, try:",
            f'  {program} fill {path} "The largest planet is [MASK]"',
            f'  {program} attention {path} "Mars is called the [MASK] planet" --output mars.png',
            f"  {program} train my.txt        a text of your own",
        ]
    )

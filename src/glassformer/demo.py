"""The demo: train on the built-in facts, then show what was learned. What `make demo` runs."""

import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from glassformer.data.builtin import Cloze, cloze, sentences
from glassformer.launch import train
from glassformer.look.figures import save
from glassformer.look.heatmaps import heatmap
from glassformer.look.report import overlay_of
from glassformer.predict import Answered, Run
from glassformer.recipe import read
from glassformer.run import RunDirectory
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.display import TerminalDisplay

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
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no edge to wrap at
        console = Console(width=110)
    stopped = was_stopped(path)
    if not stopped:
        keep_older(path, console)
    run = train("mlm-demo", changes, run=path, resume=stopped, display=TerminalDisplay(Console(stderr=True)))
    learned = run.cloze(cloze("facts", "train"))
    held_out = run.cloze(cloze("facts", "heldout"))
    shown = [answer for answer in learned if answer.text in SHOWN]
    console.print(table_of("Blanks of training sentences", shown))
    console.print(table_of("Blanks of wordings that it has never seen", held_out[:8]))
    console.print(summary(learned, held_out), soft_wrap=True, markup=False)
    draw_facts(run)
    console.print(where_to_look(run), soft_wrap=True, markup=False)
    return run


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
            f"({share(learned):.1%} right)",
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

"""What a vocabulary, a tied output layer and a longer context are worth: one small model, equal minutes, bits per byte.

    python benchmarks/vocabularies.py --data DIR [--runs runs/vocabularies] [--seconds 60]
    python benchmarks/vocabularies.py --data DIR --runs runs/equal-steps --steps 319

DIR holds WikiText-2 as train.txt and valid.txt. Around one setting in the middle (5,000 byte pairs, tied, 64 tokens)
one thing at a time is changed: the vocabulary (words or subwords, 2,000 to 10,000), tied or untied,
`model.max_length`. A causal model of 2 layers of 128 is trained on one thread for so many seconds of the processor's
time; how many steps that is, is measured first, and every step has 1,024 tokens. `<unk>` is read as the text that it
is. Results: docs/results/vocabularies.json, vocabularies.md and vocabularies.png. With --steps all variants of the
middle's vocabulary have equal steps instead, and the results are vocabularies_steps.json and vocabularies_steps.md.

All are judged on the same bytes. Subwords ask for every one of them. A model of words is never asked for a word that it
does not know, and its bits per byte stand between two numbers: the lower one gives these words away; the upper one is a
whole code, which says of each word whether it is known (by how often words of the training text are) and spells those
that are not with a 5-gram of bytes, counted on the unknown words of the training text.
"""

import argparse
import json
import math
import re
import shutil
import textwrap
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import glassformer as gf
from glassformer.ask.run import Run
from glassformer.baselines.ngram import NGram, rows_of
from glassformer.data.corpus import Corpus
from glassformer.model.size import count_parameters
from glassformer.run import RunDirectory, describe_environment
from glassformer.snapshot import write_text_durably
from glassformer.training.checkpoints import checkpoint_steps
from glassformer.training.display import TerminalDisplay
from glassformer.training.intervals import t_quantile

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
STEP_TOKENS = 1024
ARTICLE = re.compile(r"^ = [^=;]+ = $")
END = 256
"""Behind the bytes of a word."""
TIMED_STEPS = 40


class Variant(NamedTuple):
    """One model. Its defaults are the setting in the middle."""

    kind: str = "bpe"
    size: int = 5000
    tied: bool = True
    length: int = 64
    seed: int = 1

    @property
    def name(self) -> str:
        """Of its run."""
        return f"{self.kind}-{self.size}-{'tied' if self.tied else 'untied'}-{self.length}-{self.seed}"

    @property
    def changes(self) -> list[str]:
        """To the recipe clm-wikitext2."""
        return [
            f"tokenizer.kind={self.kind}",
            f"tokenizer.vocab_size={self.size}",
            "tokenizer.unknown=null",
            "tokenizer.split=whitespace",
            f"model.tied={str(self.tied).lower()}",
            f"model.max_length={self.length}",
            f"objective.evaluation_overlap={self.length // 2}",
            f"batch.size={STEP_TOKENS // self.length}",
            f"seed={self.seed}",
        ]


MIDDLE = Variant()
VARIANTS = [
    MIDDLE,
    MIDDLE._replace(seed=2),
    MIDDLE._replace(seed=3),
    *(Variant(kind, size) for kind in ("bpe", "word") for size in (2000, 5000, 10000) if Variant(kind, size) != MIDDLE),
    MIDDLE._replace(tied=False),
    MIDDLE._replace(length=32),
    MIDDLE._replace(length=128),
]
SAME = [
    *("data.test=null", "model.n_layers=2", "model.d_model=128", "model.n_heads=4", "model.d_ff=512"),
    *("training.minutes=null", "training.compile=false", "training.precision=32-true", "training.threads=1"),
    *("training.samples=0", "training.weights=last", "training.evaluate_training_units=0"),
]


class Clock(TerminalDisplay):
    """Notes the processor's time behind every step: other work on the machine does not count in it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def step(self, record: dict[str, Any]) -> None:
        """One more step."""
        super().step(record)
        self.seconds.append(time.process_time())

    def of_a_step(self) -> float:
        """Mean over the second half of a run."""
        half = self.seconds[len(self.seconds) // 2 :]
        return (half[-1] - half[0]) / (len(half) - 1)


def train(variant: Variant, options: argparse.Namespace) -> Run:
    """A run of `--seconds`, or the rest of it."""
    path = options.runs / variant.name
    data = [f"data.{part}={options.runs}/{file}.txt" for part, file in (("train", "train"), ("validation", "valid"))]
    changes = [*variant.changes, *SAME, *data]
    begun = (path / "recipe.yaml").exists()
    if begun and max(checkpoint_steps(RunDirectory(path)), default=0) == gf.load(path).recipe.training.steps:
        return gf.load(path)
    if begun:
        return gf.train("clm-wikitext2", [], run=path, resume=True)
    timed = options.runs / f"timed-{variant.name}"
    steps = options.steps or round(options.seconds / seconds_per_step(changes, timed))
    length = [f"training.{key}={steps}" for key in ("steps", "evaluate_every", "checkpoint_every")]
    clock = Clock()
    run = gf.train("clm-wikitext2", [*changes, *length, "training.evaluate_units=50"], run=path, display=clock)
    seconds_file(path).write_text(f"{clock.of_a_step() * steps:.1f}\n")
    return run


def seconds_file(path: Path) -> Path:
    """Where the seconds of the processor stand that a run took."""
    return path.with_suffix(".seconds")


def seconds_per_step(changes: list[str], path: Path) -> float:
    """Of a short run, which is thrown away."""
    shutil.rmtree(path, ignore_errors=True)
    short = [f"training.{key}={TIMED_STEPS}" for key in ("steps", "evaluate_every")]
    clock = Clock()
    gf.train("clm-wikitext2", [*changes, *short, "training.evaluate_units=5"], run=path, display=clock)
    shutil.rmtree(path)
    return clock.of_a_step()


# ------------------------------------------------------------------------------------------------ bits of each article


def asked(run: Run) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of every token that is asked: its place in the stream of validation texts, and the nats that it took."""
    questions = run.questions("validation")
    rows = questions.dataset.windows  # type: ignore[attr-defined]
    for made in questions.made:
        with torch.no_grad():
            [terms] = questions.objective.terms(run.model(made.batch), made.batch).values()
        examples = [(unit, questions.example(int(questions.chosen[unit]))) for row in made.rows for unit in row]
        places = [
            rows.begins[questions.chosen[unit]] + targets.positions + 1
            for unit, example in examples
            for targets in example.targets.values()
        ]
        yield np.concatenate(places), terms.losses.double().numpy()


class Bits(NamedTuple):
    """Of each article: the bits of the asked tokens, those of the whole code, and the bytes."""

    asked: np.ndarray
    whole: np.ndarray
    n_bytes: np.ndarray


def bits_of(run: Run, valid: list[str], train_lines: list[str]) -> Bits:
    """See the module's docstring. `valid` and `train_lines` are the texts, a document each."""
    corpus, learned = run.corpus("validation"), run.corpus("train")
    assert isinstance(corpus, Corpus) and isinstance(learned, Corpus) and corpus.n_documents == len(valid)
    article = np.cumsum([bool(ARTICLE.match(line)) for line in valid]) - 1
    number = int(article[-1]) + 1
    document_ends = (corpus.document_starts + np.arange(len(valid) + 1))[1:]  # in the stream, each behind its [SEP]
    nats = np.zeros(number)
    known = np.zeros(number)
    for places, losses in asked(run):
        which = article[np.searchsorted(document_ends, places, side="right")]
        nats += np.bincount(which, losses, minlength=number)
        known += np.bincount(which, minlength=number)
    n_bytes = np.bincount(article, [len(line.encode()) for line in valid], minlength=number)
    bits = nats / math.log(2)
    if not corpus.n_unknown:
        return Bits(bits, bits, n_bytes)
    unknown_id = run.tokenizer.unk_id
    share = learned.n_unknown / (learned.n_tokens + learned.n_documents)
    spelling = spellings([word for line in unknown_words(learned, train_lines, unknown_id) for word in line])
    unknown = unknown_words(corpus, valid, unknown_id)
    spelled = np.array([spelling_bits(spelling, words) for words in unknown])
    numbers = np.bincount(article, [len(words) for words in unknown], minlength=number)
    flags = -known * math.log2(1 - share) - numbers * math.log2(share)
    return Bits(bits, bits + flags + np.bincount(article, spelled, minlength=number), n_bytes)


def unknown_words(corpus: Corpus, lines: list[str], unknown_id: int) -> list[list[str]]:
    """Of each document the words that the vocabulary lacks."""
    found = []
    for index, line in enumerate(lines):
        ids, words = corpus.document(index), line.split()
        assert len(ids) == len(words), line
        found.append([words[place] for place in np.flatnonzero(ids == unknown_id)])
    return found


def spelled_rows(words: list[str]) -> np.ndarray:
    """Each byte of each word, and its end, behind the four before it in the word."""
    return np.concatenate([rows_of(np.array([*word.encode(), END]), 5, END + 1) for word in words])


def spellings(words: list[str]) -> NGram:
    """How such words are spelled."""
    return NGram(spelled_rows(words), END + 1)


def spelling_bits(model: NGram, words: list[str]) -> float:
    """Of all of them."""
    return float(-np.log2(model.probabilities(spelled_rows(words))).sum()) if words else 0.0


def difference(one: Bits, other: Bits) -> list[float]:
    """Bits per byte of the one minus those of the other, and half of the 95% interval that other articles of the kind
    would give: a ratio of sums over articles (see `training/intervals.py`)."""
    apart, total = one.whole - other.whole, other.n_bytes.sum()
    mean = apart.sum() / total
    errors = (apart - mean * other.n_bytes) / total
    n = len(errors)
    return [float(mean), t_quantile(n - 1) * math.sqrt(float((errors**2).sum()) * n / (n - 1))]


# ------------------------------------------------------------------------------------------------------------ the page


def row(variant: Variant, run: Run, bits: Bits, middle: Bits) -> dict[str, Any]:
    """What a run comes to."""
    last = [record for record in run.metrics() if record["event"] == "train"][-1]
    corpus = run.corpus("validation")
    assert isinstance(corpus, Corpus)
    return {
        **variant._asdict(),
        "parameters": count_parameters(run.model),
        "steps": last["step"],
        "seconds": float(seconds_file(run.path).read_text()) if seconds_file(run.path).exists() else None,
        "tokens_seen": last["tokens_seen"],
        "bytes_per_token": corpus.n_bytes / corpus.n_tokens,
        "unknown_share": corpus.n_unknown / corpus.n_tokens,
        "bits_per_byte_of_known": float(bits.asked.sum() / bits.n_bytes.sum()),
        "bits_per_byte": float(bits.whole.sum() / bits.n_bytes.sum()),
        "beside_the_middle": difference(bits, middle),
    }


def named(one: dict[str, Any]) -> str:
    """A row's model in words."""
    tokens = {"bpe": "subwords", "word": "words"}[one["kind"]]
    return f"{one['size']:,} {tokens}, {'tied' if one['tied'] else 'untied'}, {one['length']} tokens"


def table(record: dict[str, Any]) -> str:
    """The rows as a page."""
    equal, unequal = f"{record.get('steps')} steps", ""
    if not record.get("steps"):
        equal = f"about {record['seconds']:g} seconds of the processor's time in steps"
        unequal = """Steps are not equal: a processor that has other work is slower, and a difference of two rows is
            one of their settings only where their steps do not explain it."""
    how = f"""`benchmarks/vocabularies.py`: WikiText-2 from left to right, 2 layers of 128, {equal} of 1,024 tokens,
        one thread; validation, {record["bytes"]:,} bytes in {record["articles"]} articles, half a row or more before
        every asked token. Beside the first row: the difference and half of its 95% interval, by articles; how much
        another seed changes is not in it, and stands in rows of its own. {unequal} Subwords ask for every byte.
        Words outside a vocabulary are never asked; bits per byte therefore stand twice for words: with these for
        nothing, which is less than is possible, and as a whole code, which says of each word whether it is known,
        and spells the others by a 5-gram of bytes that has counted the unknown words of the whole training text."""
    heading = ["model", "seed", "parameters", "steps", "seconds", "bytes in a token", "unknown"]
    heading += ["bits per byte", "unknown words for nothing", "beside the first row"]
    text = textwrap.fill(" ".join(how.split()), 120, break_on_hyphens=False)
    vocabularies, what = ("", "steps") if record.get("steps") else ("Vocabularies, ", "minutes")
    title = f"{vocabularies}tied outputs and contexts at equal {what}".capitalize()
    lines = [f"# {title}", "", text]
    lines += ["", *(f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading)))]
    for one in record["rows"]:
        apart, half = one["beside_the_middle"]
        cells = [named(one), str(one["seed"]), f"{one['parameters'] / 1e6:.2f}M", f"{one['steps']:,}"]
        cells += ["" if one["seconds"] is None else f"{one['seconds']:.0f}", f"{one['bytes_per_token']:.2f}"]
        cells += [f"{one['unknown_share']:.1%}", f"{one['bits_per_byte']:.3f}"]
        cells += [f"{one['bits_per_byte_of_known']:.3f}" if one["unknown_share"] else ""]
        cells += ["" if one is record["rows"][0] else f"{apart:+.3f} (±{half:.3f})"]
        lines.append(f"| {' | '.join(cells)} |")
    picture = ["", "![Bits per byte by vocabulary, tied or not, and length](vocabularies.png)"]
    return "\n".join([*lines, *([] if record.get("steps") else picture), ""])


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """A panel for each of the three."""
    import matplotlib.pyplot as plt

    from glassformer.look.pictures.figures import save

    figure, panels = plt.subplots(
        1, 3, figsize=(10, 3.4), layout="constrained", gridspec_kw={"width_ratios": [2.2, 1, 1.4]}
    )
    seeds = [one["bits_per_byte"] for one in rows if Variant(*(one[key] for key in Variant._fields[:-1])) == MIDDLE]
    first = [one for one in rows if one["seed"] == 1]

    def points(axes: Any, places: list[float], chosen: list[dict[str, Any]], label: str, colour: str) -> None:
        values = [one["bits_per_byte"] for one in chosen]
        halves = [one["beside_the_middle"][1] for one in chosen]
        axes.errorbar(places, values, halves, fmt="o-", color=colour, capsize=3, markersize=4, label=label)
        for place, value, one in zip(places, values, chosen, strict=True):
            near = {"xytext": (5, 5), "textcoords": "offset points", "fontsize": 7}
            axes.annotate(f"{one['steps']} steps", (place, value), **near)

    def varied(**changed: Any) -> list[dict[str, Any]]:
        """First seed, and all as in the middle but what is named (None: any)."""
        wanted = {**MIDDLE._asdict(), **changed}
        return [one for one in first if all(value in (None, one[key]) for key, value in wanted.items())]

    for kind, label, colour in (("bpe", "subwords", "C0"), ("word", "words, whole code", "C1")):
        chosen = sorted(varied(kind=kind, size=None), key=lambda one: one["size"])
        points(panels[0], [one["size"] for one in chosen], chosen, label, colour)
    lower = [one["bits_per_byte_of_known"] for one in chosen]
    panels[0].plot([one["size"] for one in chosen], lower, "C1--", label="words, unknown for nothing")
    chosen = sorted(varied(tied=None), key=lambda one: not one["tied"])
    points(panels[1], [0, 1], chosen, "", "C0")
    panels[1].set(xticks=[0, 1], xticklabels=["tied", "untied"], xlim=(-0.4, 2))
    chosen = sorted(varied(length=None), key=lambda one: one["length"])
    points(panels[2], [one["length"] for one in chosen], chosen, "", "C0")
    panels[2].set(xscale="log", xticks=[32, 64, 128], xticklabels=["32", "64", "128"], xlabel="model.max_length")
    panels[2].minorticks_off()
    panels[0].set(xlabel="tokens of the vocabulary", ylabel="bits per byte, validation", xticks=[2000, 5000, 10000])
    for axes in panels:
        axes.axhspan(min(seeds), max(seeds), color="0.85", zorder=0, label=f"{len(seeds)} seeds of the middle")
        axes.spines[["top", "right"]].set_visible(False)
    panels[2].sharey(panels[1])
    panels[2].margins(x=0.3)
    panels[0].margins(x=0.14)
    panels[0].legend(frameon=False, fontsize=8)
    save(figure, file)


def lines_of(file: Path) -> list[str]:
    """The documents: lines that are not empty."""
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def main() -> None:
    """Train, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.txt and valid.txt")
    parser.add_argument("--runs", type=Path, default=Path("runs/vocabularies"))
    parser.add_argument("--seconds", type=float, default=60, help="of training steps, for each model")
    parser.add_argument("--steps", type=int, help="of the middle's vocabulary only, and so many steps for each")
    parser.add_argument("--bytes", type=int, default=300_000, help="of validation text; whole articles")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    (options.runs / "train.txt").write_bytes((options.data / "train.txt").read_bytes())
    (options.runs / "valid.txt").write_text("\n".join(articles(options.data / "valid.txt", options.bytes)) + "\n")
    texts = lines_of(options.runs / "valid.txt"), lines_of(options.runs / "train.txt")
    found = {}
    same_vocabulary = [one for one in VARIANTS if (one.kind, one.size, one.seed) == MIDDLE[:2] + MIDDLE[-1:]]
    for variant in same_vocabulary if options.steps else VARIANTS:
        run = train(variant, options)
        found[variant] = run, bits_of(run, *texts)
    middle = found[MIDDLE][1]
    record = {
        "benchmark": "vocabularies",
        "machine": describe_environment(),
        "seconds": None if options.steps else options.seconds,
        "steps": options.steps,
        "bytes": int(middle.n_bytes.sum()),
        "articles": len(middle.n_bytes),
        "rows": [row(variant, run, bits, middle) for variant, (run, bits) in found.items()],
    }
    name = "vocabularies_steps" if options.steps else "vocabularies"
    write_text_durably(RESULTS / f"{name}.json", json.dumps(record, indent=1) + "\n")
    write_text_durably(RESULTS / f"{name}.md", table(record))
    if not options.steps:
        draw(record["rows"], RESULTS / "vocabularies.png")
    print(table(record))


def articles(file: Path, most: int) -> list[str]:
    """The documents of as many whole articles as have at most so many bytes."""
    lines = lines_of(file)
    starts = [n for n, line in enumerate(lines) if ARTICLE.match(line)] + [len(lines)]
    sizes = np.cumsum([sum(len(line.encode()) for line in lines[a:b]) for a, b in pairwise(starts)])
    return lines[starts[0] : starts[int(np.searchsorted(sizes, most, side="right"))]]


if __name__ == "__main__":
    main()

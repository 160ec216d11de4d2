"""Real trainings on public data: run, evaluated by what each is to be measured by, and kept as numbers and samples.

    python benchmarks/real_runs.py NAME [NAME ...] --data DIR [--runs runs]

DIR holds folders as `tinyshakespeare/input.txt`, `wikitext-2/{train,valid,test}.txt` and
`multi30k-de-en/{train,val,test_2016_flickr}.{de,en}`. A run that was stopped goes on where it stopped, when the script
is started again. Results go to docs/results/real_runs.json, NAME.png (the curve) and NAME-samples.md.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

import glassformer as gf
from glassformer.answers import Generates
from glassformer.ask.run import Run
from glassformer.baselines.ngram import NGram, rows_of
from glassformer.data.batch import Example
from glassformer.data.windows import StreamWindows
from glassformer.formatting import without_marks
from glassformer.look.report import compare_runs
from glassformer.model.size import count_parameters
from glassformer.run import RunDirectory, describe_environment
from glassformer.snapshot import write_text_durably
from glassformer.training.callbacks import answer_examples
from glassformer.training.checkpoints import checkpoint_steps

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
FILE = RESULTS / "real_runs.json"
REMARKS = Path(__file__).with_name("multi30k_remarks.yaml")
"""What a person says of translations, by the translation: a new training may have others."""


@dataclass(frozen=True)
class Case:
    """One real run: a recipe, where its data lie, and what is reported of it."""

    recipe: str
    changes: Callable[[Path, Path], list[str]]
    report: Callable[[Run], tuple[dict[str, Any], str]]
    """Numbers, and a page of samples."""
    source: str = ""
    """Whose texts the samples quote."""


def wikitext(data: Path, made: Path) -> list[str]:
    """Each paragraph a document."""
    parts = (("train", "train"), ("validation", "valid"), ("test", "test"))
    return [f"data.{part}={data}/wikitext-2/{file}.txt" for part, file in parts]


def wikitext_as_one(data: Path, made: Path) -> list[str]:
    """The standard set of tokens: every line, empty ones too, ends with the word <eos>, and all lines are one text."""
    made.mkdir(parents=True, exist_ok=True)
    changes = ["data.document=file"]
    for part, file in (("train", "train"), ("validation", "valid"), ("test", "test")):
        lines = (data / "wikitext-2" / f"{file}.txt").read_text(encoding="utf-8").split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines
        target = made / f"wikitext-2-{file}.txt"
        write_text_durably(target, " ".join(f"{line.strip()} <eos>".strip() for line in lines))
        changes.append(f"data.{part}={target}")
    return changes


def multi30k(data: Path, made: Path) -> list[str]:
    """German sources, English targets."""
    parts = (("train", "train"), ("validation", "val"), ("test", "test_2016_flickr"))
    sides = (("", "de"), ("_targets", "en"))
    return [f"data.{part}{side}={data}/multi30k-de-en/{file}.{end}" for part, file in parts for side, end in sides]


# ----------------------------------------------------------------------------------------------- lines to compare with


def five_gram(run: Run, split: str) -> float:
    """The perplexity of an interpolated 5-gram on the same words of the same text, every word but the first."""
    size = run.tokenizer.vocab_size

    def ids(part: Any) -> np.ndarray:
        corpus = run.corpus(part)
        stream = StreamWindows(corpus, run.tokenizer.sep_id, 2)
        return stream.row(0, corpus.n_tokens + corpus.n_documents)[0]

    model = NGram(rows_of(ids("train"), 5, size), size)
    return float(np.exp(-np.log(model.probabilities(rows_of(ids(split), 5, size))[1:]).mean()))


# --------------------------------------------------------------------------------------------------------- the reports


def of_characters(run: Run) -> tuple[dict[str, Any], str]:
    """Loss over the whole validation part, and three texts."""
    found = run.evaluate("validation")
    texts = run.generate(["ROMEO:", "First Citizen:", "What is"], sample=True, temperature=0.8, max_tokens=200, seed=1)
    page = "\n\n".join(f"```text\n{text.text}{text.outputs[0].text}\n```" for text in texts)
    return {"validation_loss": found["loss"], "characters_asked": found["count"]}, page


def of_words(run: Run) -> tuple[dict[str, Any], str]:
    """Perplexities over the whole texts, beside counting."""
    recipe = run.recipe.model_dump()
    overlap = recipe["objective"]["evaluation_overlap"]
    numbers: dict[str, Any] = {"stride": recipe["model"]["max_length"] - overlap, "least_context": overlap}
    for split in ("validation", "test"):
        found = run.evaluate(split)  # type: ignore[arg-type]
        numbers |= {f"{split}_perplexity": found["perplexity"], f"{split}_words": found["count"]}
        numbers[f"{split}_five_gram_perplexity"] = five_gram(run, split)
    texts = run.generate(["The river", "In 1998 ,"], sample=True, top_p=0.9, max_tokens=60, seed=1)
    page = "\n\n".join(f"```text\n{text.text}{text.outputs[0].text}\n```" for text in texts)
    return numbers, page


def of_pretraining(run: Run) -> tuple[dict[str, Any], str]:
    """Loss beside counting on the same questions, and filled examples."""
    two_stacks = run.recipe.model.family == "encoder_decoder"
    found = run.evaluate("validation", other_sources=two_stacks)
    lines = {name: loss for name, loss in run.reference_losses().items() if name in ("uniform", "unigram", "bigram")}
    numbers = {"validation_loss": found["loss"], "accuracy": found["accuracy"], "asked": found["count"], **lines}
    numbers["below_bigram"] = lines["bigram"] - found["loss"]
    if two_stacks:
        numbers["loss_with_other_sources"] = found["loss_with_other_sources"]
    return numbers, filled_examples(run)


def of_pairs(run: Run) -> tuple[dict[str, Any], str]:
    """Next-sentence prediction: both losses together beside counting, then each question by itself."""
    found = run.evaluate("validation")
    lines, pair = run.reference_losses(), run.objective.label_head
    asked: Counter[str] = Counter()
    for batch in run.questions("validation"):
        asked.update(run.objective.counts(batch))
    [words] = asked.keys() - {pair}
    numbers = {"validation_loss": found["loss"], "unigram": lines["unigram"], "bigram": lines["bigram"]}
    numbers |= {"masked_loss": found[f"{words}/loss"], "masked_accuracy": found[f"{words}/accuracy"]}
    numbers |= {f"{pair}_{name}": found[f"{pair}/{name}"] for name in ("loss", "accuracy", "accuracy_interval")}
    return numbers | {"words_asked": asked[words], "pairs_asked": asked[pair]}, filled_examples(run)


def filled_examples(run: Run) -> str:
    """A few validation texts as the model was asked them: what was hidden, and what it said."""
    questions = run.questions("validation")
    blocks = []
    for index in questions.chosen[:: max(1, len(questions.chosen) // 6)][:6]:
        example = questions.example(int(index))
        shown = run.objective.as_prompt(example)
        source = example.streams.get("encoder", example.streams[shown.stream])
        read = source.values[: source.n_keys].copy()
        if source.n_query_only:  # what is hidden stands in the text; only later queries see it
            assert source.positions is not None
            read[source.positions[source.n_keys :]] = run.tokenizer.mask_id
        lines = [f"read:      {run.tokenizer.decode(read)}"]
        if run.objective.can(Generates):
            lines.append(
                f"was:       {run.objective.text_of(shown, example.targets[next(iter(example.targets))].values)}"
            )
            lines.append(f"generated: {answered(run, example)}")
        else:
            [(_, blanks)] = answer_examples(run.model, run.objective, questions, [int(index)])
            pairs = (f"{blank.true} -> {blank.candidates[0].token}" for blank in blanks)
            lines.append("hidden -> said:  " + ",  ".join(pairs))
        blocks.append("```text\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(blocks)


def answered(run: Run, example: Example) -> str:
    """What the model writes for the source of an example."""
    source = example.streams["encoder"].values
    special = run.tokenizer.special_ids - {run.tokenizer.mask_id, *run.tokenizer.sentinel_ids}
    text = run.tokenizer.decode([int(i) for i in source if i not in special])
    return run.generate(re.sub(r"\[S\d+\]", "[MASK]", text), max_tokens=120).outputs[0].text


class Translated(NamedTuple):
    """Sentences, what a run makes of them with five beams, and what people did."""

    sources: list[str]
    answers: list[str]
    targets: list[str]


def translate(run: Run) -> tuple[dict[str, Any], Translated]:
    """BLEU of the test part, greedy and with beams."""
    import sacrebleu

    data = run.recipe.data
    sources, targets = (
        Path(str(place)).read_text(encoding="utf-8").rstrip("\n").split("\n")
        for place in (data.test, data.test_targets)
    )
    metric = sacrebleu.BLEU()
    numbers: dict[str, Any] = {"sentences": len(sources)}
    answers: list[str] = []
    for name, settings in (("greedy", {}), ("beam_5", {"beam": 5, "length_penalty": 1.0})):
        began = time.perf_counter()
        answers = [answer.outputs[0].text for answer in run.generate(sources, max_tokens=80, **settings)]
        numbers[f"{name}_bleu"] = metric.corpus_score(answers, [targets]).score
        numbers[f"{name}_seconds"] = round(time.perf_counter() - began, 1)
    numbers["signature"] = str(metric.get_signature())
    return numbers, Translated(sources, answers, targets)


def of_translation(run: Run) -> tuple[dict[str, Any], str]:
    """BLEU of beam search, twenty translations with their cross-attention, and the worst five."""
    import sacrebleu

    numbers, (sources, answers, targets) = translate(run)
    single = sacrebleu.BLEU(effective_order=True)
    scores = [single.sentence_score(a, [t]).score for a, t in zip(answers, targets, strict=True)]
    worst = sorted(range(len(scores)), key=lambda n: scores[n])[:5]
    chosen = list(range(0, len(sources), len(sources) // 20))[:20]
    pictures = RESULTS / "multi30k-attention"
    pictures.mkdir(exist_ok=True)
    seen_as = "Each with the cross-attention of the last layer, the mean of its heads: where each word looks."
    lines = ["## One in fifty of the test part", "", seen_as, ""]
    for number, n in enumerate(chosen):
        lines += translation(sources[n], answers[n], targets[n], scores[n])
        seen = run.attention(sources[n], kind="cross", target=answers[n])
        figure = gf.heatmap(seen.weights, seen.tokens, seen.keys or [], layer=len(seen.weights) - 1, head="mean")
        gf.save(figure, pictures / f"{number:02}.png")
        lines += [f"![cross-attention of sentence {n}](multi30k-attention/{number:02}.png)", ""]
    remarks = yaml.safe_load(REMARKS.read_text(encoding="utf-8"))
    lines += ["## The five of the lowest sentence BLEU", ""]
    for n in worst:
        lines += translation(sources[n], answers[n], targets[n], scores[n])
        lines += [remarks.get(answers[n], "(Nobody has looked at this one yet.)"), ""]
    return numbers, "\n".join(lines)


def of_short_translation(run: Run) -> tuple[dict[str, Any], str]:
    """The same BLEU, of a run that is only to be held against another, and ten translations."""
    import sacrebleu

    numbers, (sources, answers, targets) = translate(run)
    single = sacrebleu.BLEU(effective_order=True)
    lines = ["## One in a hundred of the test part", ""]
    for n in range(0, len(sources), len(sources) // 10)[:10]:
        score = single.sentence_score(answers[n], [targets[n]]).score
        lines += translation(sources[n], answers[n], targets[n], score)
    return numbers, "\n".join(lines)


def translation(source: str, answer: str, target: str, score: float) -> list[str]:
    """One translation beside its source and its reference."""
    return [
        "```text",
        f"source:    {source}",
        f"ours:      {answer}",
        f"reference: {target}",
        f"BLEU {score:.0f}",
        "```",
        "",
    ]


WIKIPEDIA = "The texts are excerpts of Wikipedia (WikiText-2, CC BY-SA 4.0)."
MULTI30K = "The sources and references are from Multi30k (test_2016_flickr), for research and teaching."


def input_txt(data: Path, made: Path) -> list[str]:
    """Tiny Shakespeare."""
    return [f"data.train={data}/tinyshakespeare/input.txt"]


CASES = {
    "shakespeare-quick": Case("clm-shakespeare-quick", input_txt, of_characters),
    "shakespeare": Case("clm-shakespeare", input_txt, of_characters),
    "shakespeare-large": Case("clm-shakespeare-large", input_txt, of_characters),
    "wikitext2-causal": Case("clm-wikitext2-word", wikitext_as_one, of_words),
    "wikitext2-causal-large": Case("clm-wikitext2-word-large", wikitext_as_one, of_words),
    "multi30k": Case("seq2seq-multi30k", multi30k, of_translation, MULTI30K),
    "multi30k-short": Case("seq2seq-multi30k", multi30k, of_short_translation, MULTI30K),
    "first-paper": Case("seq2seq-first-paper", multi30k, of_short_translation, MULTI30K),
    "wikitext2-permutation": Case("plm-wikitext2", wikitext, of_pretraining, WIKIPEDIA),
    "wikitext2-denoising": Case("denoise-wikitext2", wikitext, of_pretraining, WIKIPEDIA),
    "wikitext2-spans": Case("span-wikitext2", wikitext, of_pretraining, WIKIPEDIA),
    "wikitext2-pairs": Case("mlm-nsp-wikitext2", wikitext, of_pairs, WIKIPEDIA),
}


# ------------------------------------------------------------------------------------------------------------- running


def trained(name: str, case: Case, options: argparse.Namespace) -> tuple[Run, float | None]:
    """The finished run, and the seconds from the start of its process to its end (None where it was resumed)."""
    path = options.runs / name
    changes = [*case.changes(options.data.resolve(), (options.runs / "texts").resolve()), *options.set]
    begun = (path / "recipe.yaml").exists()
    seconds = None
    if not begun or max(checkpoint_steps(RunDirectory(path)), default=0) < (gf.load(path).recipe.training.steps or 0):
        command = [sys.executable, "-m", "glassformer.cli", "train", case.recipe, *changes, "--run", str(path)]
        began = time.perf_counter()
        subprocess.run([*command, *(["--resume"] if begun else [])], check=True)
        seconds = None if begun else round(time.perf_counter() - began, 1)
    return gf.load(path), seconds


def main() -> None:
    """Parse, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=CASES, metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change to the recipe")
    options = parser.parse_args()
    for name in options.names:
        case = CASES[name]
        run, seconds = trained(name, case, options)
        numbers, page = case.report(run)
        table = compare_runs([run], RESULTS / f"{name}.png")[0]
        record = {
            "recipe": case.recipe,
            "changes": options.set,
            "machine": describe_environment(),
            "parameters": count_parameters(run.model),
            "seconds_of_process": seconds or stored().get(name, {}).get("seconds_of_process"),
            "seconds_of_training": table["elapsed"],
            "steps": table["last_step"],
            "tokens_seen": table["tokens_seen"],
            "settled": {k: getattr(run.recipe.training, k) for k in ("device", "precision", "compile", "threads")},
            **numbers,
        }
        write_text_durably(FILE, json.dumps(stored() | {name: record}, indent=1) + "\n")
        page = without_marks(page)
        write_text_durably(
            RESULTS / f"{name}-samples.md",
            f"# {name}\n\n{case.source}\n\n{page}\n" if case.source else f"# {name}\n\n{page}\n",
        )
        print(json.dumps({key: value for key, value in record.items() if key != "machine"}, indent=1), flush=True)


def stored() -> dict[str, Any]:
    """What earlier calls have written."""
    return dict(json.loads(FILE.read_text(encoding="utf-8"))) if FILE.exists() else {}


if __name__ == "__main__":
    main()

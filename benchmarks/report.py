"""Write docs/results/README.md from the numbers that the benchmarks have left beside it.

python benchmarks/report.py
"""

import json
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
HEAD = """# Results

Written by `benchmarks/report.py` from the JSON files in this folder, which the benchmarks write; not by hand.
"""


def table(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine(record: dict[str, Any]) -> str:
    """Where it was measured."""
    there = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in there["versions"].items() if version)
    hardware = f"{there['cpu']}, {there['threads']} threads, {there['memory_gb']:.0f} GB"
    return paragraph(f"Measured on: {hardware}; Python {there['python']}, {versions}.")


def paragraph(text: str) -> str:
    """Wrapped, so that differences between versions can be read."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def with_spread(values: dict[str, float], digits: int = 2) -> str:
    """Median and quartiles."""
    low, middle, high = (f"{values[key]:,.{digits}f}" for key in ("low", "median", "high"))
    return f"{middle} ({low} to {high})"


def demo(record: dict[str, Any]) -> str:
    """What the demo learns."""
    rows = [
        (
            run["seed"],
            f"{run['loss']:.4f}",
            f"{run['right']:.1%} of {run['blanks']}",
            f"{run['held_out_right']:.1%} of {run['held_out_wordings']}",
            f"{run['most_frequent_word']:.1%}",
            f"{run['seconds']:.0f}",
            run["peak_memory_mib"],
        )
        for run in record["runs"]
    ]
    heading = ("seed", "loss over the blanks", "right", "held-out wordings right", "most frequent word")
    facts = table((*heading, "seconds in all", "peak MiB"), rows)
    return "\n\n".join(["## The demo", "`python benchmarks/demo.py`", facts, *demo_pairs(record["runs"])])


def demo_pairs(runs: list[dict[str, Any]]) -> list[str]:
    """What the encoder-decoder of the demo learns."""
    rows = []
    for run in runs:
        pairs = run["pairs"]
        exact = (f"{pairs[f'{part}_exact']:.1%} of {pairs[f'{part}_pairs']}" for part in ("train", "heldout"))
        kinds = (pairs[kind] for kind in ("paraphrase", "answer", "translation"))
        bleu = (f"{k['model']:.0f} ({k['copying']:.0f}, {k['nearest_pair']:.0f})" for k in kinds)
        rows.append((run["seed"], *exact, *bleu, f"{pairs['seconds']:.0f}"))
    heading = (
        "seed",
        "pairs learned, exactly",
        "held-out pairs, exactly",
        "paraphrase",
        "answer",
        "translation",
        "seconds",
    )
    words = f"""The encoder-decoder: greedy answers that are exactly the target, and BLEU of the held-out pairs by kind;
        in brackets behind it the BLEU of saying the source again, and of the target of the nearest source that was
        learned (by difflib). {runs[0]["pairs"]["signature"]}"""
    return [paragraph(words), table(heading, rows)]


def peer_settings(settled: dict[str, Any]) -> str:
    """How the peer was set up, as it says itself."""
    number = "bfloat16" if settled["bf16"] else "float32"
    compiled = "compiled" if settled["compile"] else "not compiled"
    return f"{number}, {compiled}, dropout {settled['dropout']}, {settled['parameters']:,} parameters"


def our_settings(settled: dict[str, Any]) -> str:
    """How glassformer was set up, as it says itself."""
    compiled = "compiled" if settled["compile"] else "not compiled"
    precision, dropout = settled["precision"], settled["dropout"]
    return f"{precision}, {compiled}, dropout {dropout}, {settled['parameters']:,} parameters"


def rates_of(record: dict[str, Any]) -> str:
    """Tokens per second of every contestant, and how many times as fast ours is."""
    ratios = record["ratio_to"]
    rows = [
        (name, with_spread(rate, 0), with_spread(ratios[name]) if name in ratios else "")
        for name, rate in record["tokens_per_second"].items()
    ]
    return table(("contestant", "tokens per second", "glassformer is so many times as fast"), rows)


def speed(record: dict[str, Any]) -> str:
    """Tokens per second beside the peer."""
    share = record["share_of_matmul_rate"]
    ours, best, default = (record["settled"][name] for name in ("glassformer", "peer-best", "peer-default"))
    how = paragraph(
        f"""`python benchmarks/masked_lm.py speed --data DIR`: WikiText-2 in 8,192 word pieces, rows of 128, 32 in a
        batch, 4 layers of 256; median and quartiles over rounds in which all take turns. `peer-default` is
        `BertForMaskedLM` through `Trainer` as it comes ({peer_settings(default)}); `peer-best` has
        {peer_settings(best)}; `glassformer` has {our_settings(ours)}, and
        like the peers AdamW and 15% of the tokens masked; `glassformer-recipe` is the shipped recipe, which masks more
        and has Muon."""
    )
    contestants = rates_of(record)
    end = f"Ours reaches {share:.0%} of the rate of one large matrix product measured in the same rounds."
    return f"## Speed: masked language modelling beside Hugging Face\n\n{how}\n\n{contestants}\n\n{end}"


def quality(record: dict[str, Any]) -> str:
    """Losses after equal minutes."""
    minutes = record["minutes"]
    rows = [
        (
            side,
            with_spread(record["losses"][side], 3),
            f"{record['accuracies'][side]['median']:.1%}",
            ", ".join(f"{run['seconds'] / 60:.1f}" for run in record[runs]),
        )
        for side, runs in (("peer", "peer"), ("ours", "glassformer"))
    ]
    shares = [f"{share:.0%}" for share in record["share_of_the_peers_time"] if share is not None]
    never = len(record["share_of_the_peers_time"]) - len(shares)
    rates = ", ".join(f"{loss:.3f} at {rate}" for rate, loss in record["peer_rates"].items())
    how = paragraph(
        f"""`python benchmarks/masked_lm.py quality --data DIR`: the set-up of the speed benchmark,
        {len(record["peer"])} seeds. The peer has its best set-up at the best of three learning rates (validation loss
        {rates})."""
    )
    losses = table(("", "validation loss: median and quartiles", "right", "minutes of training"), rows)
    end = f"Ours has the loss that the peer ends with after {', '.join(shares)} of the peer's time (seed by seed)."
    end += f" With {never} seeds it never has." if never else ""
    return f"## Loss after {minutes:g} minutes, on the same masked positions\n\n{how}\n\n{losses}\n\n{paragraph(end)}"


def word_level(record: dict[str, Any]) -> str:
    """Dropout against none."""
    rows = [
        (
            run["run"],
            f"{run['best_loss']:.3f}",
            f"{run['accuracy']:.1%}",
            f"{run['best_step']:,} of {run['last_step']:,}",
            f"{run['gap']:+.3f}",
            f"{record['test'][run['run']]['loss']:.3f}",
            f"{record['test'][run['run']]['accuracy']:.1%}",
        )
        for run in record["runs"]
    ]
    lines = record["references"]
    heading = ("run", "best validation loss", "right", "at step", "gap at the end", "test loss", "right in the test")
    pictures = "\n".join(
        f"![{path.stem}: the sentence, the masked word ringed, the five best guesses]({path.name})"
        for path in sorted(RESULTS.glob("wikitext2_word-*-*.png"))
    )
    how = paragraph(
        f"""`python benchmarks/wikitext2_word.py --data DIR`. The gap is validation loss minus the loss on training
        texts asked in the same way, both without dropout. ln V is {lines["uniform"]:.2f}, the unigram line
        {lines["unigram"]:.2f}."""
    )
    title = f"## The classic small set-up: WikiText-2, 2,000 whole words, {record['epochs']:g} passes"
    curves = "![Training and validation curves of both runs](wikitext2_word.png)"
    samples = "[What they guessed early, in the middle and at the end](wikitext2_word-samples.md)"
    return "\n\n".join([title, how, table(heading, rows), curves, samples, pictures])


def doctor(record: dict[str, Any]) -> str:
    """What doctor foresaw, and what came."""
    rows = []
    for row in record["rows"]:
        minutes = (row["minutes_foreseen"], row["minutes_real"])
        memory = (row["memory_bytes_foreseen"] / 2**20, row["memory_bytes_real"] / 2**20)
        rows.append(
            (
                row["recipe"],
                f"{row['steps']:,}",
                *(f"{value:.2f}" for value in minutes),
                f"{minutes[0] / minutes[1] - 1:+.0%}",
                *(f"{value:,.0f}" for value in memory),
                f"{memory[0] / memory[1] - 1:+.0%}",
            )
        )
    heading = ("recipe", "steps", "minutes foreseen", "minutes", "off by", "MiB foreseen", "MiB at its peak", "off by")
    how = "`python benchmarks/doctor.py --data DIR`: each training from the start of its process to its last picture."
    return f"## What doctor foresees\n\n{paragraph(how)}\n\n{table(heading, rows)}"


def generation(record: dict[str, Any]) -> str:
    """Equal tokens, tokens per second, and what a token costs far into a text."""
    prompts, tokens, sizes = record["prompts"], record["tokens"], record["sizes"]
    names = {"gpt2": "decoder", "bart": "encoder-decoder"}
    rows = []
    for case, row in record["speed"].items():
        format, which, search = case.split(" ", 2)
        rates, ratios = row["tokens_per_second"], row["ratio_to"]
        shown = [with_spread(rates[side], 0) for side in ("glassformer", "transformers", "ctranslate2")]
        each = [with_spread(ratios[side]) for side in ("transformers", "ctranslate2")]
        rows.append((names[format], f"{prompts[which]} x {tokens[which]}", search, *shown, *each))
    how = paragraph(
        f"""`python benchmarks/generation.py`: the same random weights ({sizes["n_layers"]} layers of {sizes["d_model"]}
        in each stack, {record["vocabulary"]:,} tokens, float32), written by `glassformer export` in the format gpt2 or
        bart. One prompt of 32 tokens, or 32 prompts of 8 to 64; new tokens per second, median and quartiles over rounds
        in which all take turns. Ours compiles what makes a token once per machine, before that, with a C compiler
        ({record["compiler"] or "none was at hand"}). CTranslate2 runs without MKL (`CT2_USE_MKL=0`), with which it is
        several times slower on Intel's processors."""
    )
    heading = ("model", "texts x tokens", "search", "glassformer", "transformers", "ctranslate2")
    speeds = table((*heading, "times transformers", "times ctranslate2"), rows)
    equality = table(
        ("model and search", "texts", "equal", "ties", "neither"),
        [(n, r["texts"], r["equal"], r["ties"], r["different"]) for n, r in record["equality"].items()],
    )
    same = paragraph(
        """The texts beside those of transformers' `generate`. A tie: at the first token that differs (with beams: of
        the two texts, for each token) log-probabilities in float64 are less than 0.001 apart. With an end: one token,
        which half of the texts come to, ends them."""
    )
    ratio = record["curve"]["ratio"]
    cost = paragraph(
        f"""Keys and values are kept: for one text, token 1,024 of the decoder takes
        {with_spread(ratio["glassformer"])} times as long as token 32; with transformers
        {with_spread(ratio["transformers"])} times."""
    )
    picture = "![Milliseconds of each token of one text](generation_cost.png)"
    title = "## Generation beside Hugging Face and CTranslate2"
    return "\n\n".join([title, how, speeds, same, equality, cost, picture])


def causal(record: dict[str, Any]) -> str:
    """Tokens per second of causal language modelling beside the peer."""
    ours, best, default = (record["settled"][name] for name in ("glassformer", "peer-best", "peer-default"))
    how = paragraph(
        f"""`python benchmarks/causal_lm.py --data DIR`: WikiText-2 in 8,192 word pieces, rows of 128, 32 in a batch, 4
        layers of 256; median and quartiles over rounds in which all take turns. `peer-default` is `GPT2LMHeadModel`
        through `Trainer` as it comes ({peer_settings(default)}); `peer-best` has {peer_settings(best)}; `glassformer`
        has {our_settings(ours)}, AdamW and learned positions as the peers; `glassformer-recipe` is the shipped recipe,
        with Muon and rotary positions. Importing glassformer asks torch for memory in pages of 2 MB; the peers run
        without them, as by themselves."""
    )
    contestants = rates_of(record)
    end = (
        f"Ours reaches {record['share_of_matmul_rate']:.0%} of the rate of one large matrix product in the same rounds."
    )
    return f"## Speed: causal language modelling beside Hugging Face\n\n{how}\n\n{contestants}\n\n{end}"


MEASURES = {
    "validation_loss": "validation loss",
    "loss_with_other_sources": "with the sources of others",
    "unigram": "unigram line",
    "bigram": "bigram line",
    "accuracy": "right",
    "masked_loss": "of it for hidden words",
    "masked_accuracy": "hidden words right",
    "next_sentence_accuracy": "pairs right",
    "validation_perplexity": "validation perplexity",
    "validation_five_gram_perplexity": "5-gram, validation",
    "test_perplexity": "test perplexity",
    "test_five_gram_perplexity": "5-gram, test",
    "stride": "stride",
    "least_context": "words before each scored word, at least",
    "greedy_bleu": "BLEU, greedy",
    "beam_5_bleu": "BLEU, beam 5",
    "signature": "signature",
}
"""What is shown of a real run, where it has it."""


def real_runs(record: dict[str, Any]) -> str:
    """Every real training, its size, its time and what it came to."""
    rows = []
    for name, run in record.items():
        found = ((label, run[key]) for key, label in MEASURES.items() if key in run)
        came_to = ", ".join(f"{label} {v:.3f}" if isinstance(v, float) else f"{label} {v}" for label, v in found)
        whole = run["seconds_of_process"]  # not known of a run that was resumed
        took = f"{whole / 60:.1f}" if whole else f"{run['seconds_of_training'] / 60:.1f} (training alone)"
        rows.append(
            (
                f"[{name}]({name}-samples.md)",
                f"`{run['recipe']}`",
                f"{run['parameters'] / 1e6:.1f}M",
                f"{run['steps']:,}",
                f"{run['tokens_seen'] / 1e6:.1f}M",
                took,
                run["machine"]["gpu" if run["settled"]["device"] == "cuda" else "cpu"],
                came_to,
            )
        )
    heading = ("run", "recipe", "parameters", "steps", "tokens seen", "minutes", "on", "came to")
    how = paragraph(
        """`python benchmarks/real_runs.py NAME --data DIR`. Minutes are those of the whole process, from start to the
        last picture. Losses are in nats over all that is asked of the validation part; the unigram and bigram lines are
        what counting comes to on the very same targets, the bigram knowing the token before each. With the sources of
        others: the same questions beside the source of another text, which a decoder that does not read its source
        would answer as well."""
    )
    parts = ["## Real trainings", how, table(heading, rows)]
    return "\n\n".join([*parts, *first_paper(record), *next_sentence(record)])


def first_paper(record: dict[str, Any]) -> list[str]:
    """The two translators of equal minutes, where both were trained."""
    names = ("first-paper", "multi30k-short")
    if not all(name in record for name in names):
        return []
    paper, ours = (record[name] for name in names)
    minutes = " and ".join(f"{run['seconds_of_training'] / 60:.1f}" for run in (paper, ours))
    words = f"""`first-paper` and `multi30k-short` had equal budgets ({" ".join(paper["changes"])};
        {" ".join(ours["changes"])}) on {paper["settled"]["threads"]} thread: {minutes} minutes of training, BLEU
        {paper["beam_5_bleu"]:.1f} and {ours["beam_5_bleu"]:.1f}. The first has norms behind each part, ReLU, dropout
        0.1, AdamW without decay at a rate that rises and falls as the paper's (Noam), and no clipping; the second
        norms before each part, GELU, dropout 0.3, Muon at a rate that falls in a line. Both have sine waves, label
        smoothing 0.1, the same sizes and the same 8,000 byte pairs. All this differs at once: which part is worth
        how much, the two figures do not say."""
    return [paragraph(words)]


def next_sentence(record: dict[str, Any]) -> list[str]:
    """How well a second text is told from one that does not follow."""
    if "wikitext2-pairs" not in record:
        return []
    run = record["wikitext2-pairs"]
    low, high = run["next_sentence_accuracy_interval"]
    told = "" if low > 0.5 else f"After {run['steps']:,} steps that is not told from guessing."
    words = f"""`wikitext2-pairs` has two questions; its validation loss, and its lines, are their sum. Whether a
        second text follows is right in {run["next_sentence_accuracy"]:.1%} (95%: {low:.1%} to {high:.1%}) of
        {run["pairs_asked"]:,} pairs, of which about half follow. {told}"""
    return [paragraph(words)]


def pages(record: dict[str, Any]) -> str:
    """Pages of long texts: size, memory, and how soon they answer."""
    rows = [
        (
            f"{row['tokens']:,}",
            f"{row['mb']:.2f}",
            f"{row['seconds']:.1f}",
            f"{row['gb']:.2f}",
            f"{row['answer']:.2f}",
            f"{row['slowest']:.2f}",
        )
        for row in record["pages"]
    ]
    how = paragraph(
        f"""`python benchmarks/pages.py RUN --text FILE`: the mask page of WikiText-2's validation text, by a model of
        `{record["recipe"]}` ({record["layers"]} layers of {record["heads"]} heads, validation loss
        {record["loss"]:.3f}). Made by the command, from its start; opened in Chromium until a word that the mouse
        points at is answered for, {record["openings"]} times."""
    )
    made = ("tokens", "MB", "seconds to make", "GB at its peak")
    return "\n\n".join(["## Pages of long texts", how, table((*made, "seconds to answer", "slowest"), rows)])


def big_text(record: dict[str, Any]) -> str:
    """A large text until its first batch, beside `datasets`, and what glassformer takes alone."""
    rows = []
    for name, runs in record["compared"].items():
        seconds, memory = ([run[key] for run in runs] for key in ("seconds", "peak_mb"))
        spread = f"{statistics.median(seconds):,.1f} ({min(seconds):,.1f} to {max(seconds):,.1f})"
        rows.append((name, spread, f"{statistics.median(memory):,.0f}"))
    how = paragraph(
        f"""`python benchmarks/big_text.py --data DIR`: {record["megabytes"]:,.0f} MB of text, a paragraph in each line,
        and a tokenizer that is there already. From the start of the process to its first batch of full rows, with an
        empty cache, in turn, {len(next(iter(record["compared"].values())))} times each: median (least to most).
        datasets is version {record["datasets"]}, with `map(batched=True, num_proc=2)`."""
    )
    line = f"one line of {record['megabytes'] / 4:,.0f} MB: trained until its first step"
    names = {
        "first_step": f"the {record['megabytes']:,.0f} MB: recipe, tokenizer, store and first step",
        "one_line": line,
        "files_first_start": "20,000 files until the first batch",
        "files_second_start": "the same on the second start",
        "million_lines": "a million lines of one word until the first batch",
    }
    alone = [(names[name], f"{run['seconds']:,.1f}", f"{run['peak_mb']:,}") for name, run in record["alone"].items()]
    tables = [table(("", "seconds", "MB at its peak"), one) for one in (rows, alone)]
    return "\n\n".join(["## Large texts", how, tables[0], "glassformer alone:", tables[1]])


VERDICTS = Path(__file__).with_name("own_text_verdicts.yaml")
"""What a person says of each verdict, by the name of its text."""


def own_text(record: dict[str, Any]) -> str:
    """Texts of one's own, from the command alone."""
    said = yaml.safe_load(VERDICTS.read_text(encoding="utf-8")) if VERDICTS.exists() else {}
    rows, verdicts = [], []
    for row in record["rows"]:
        low, high = row["interval"] or (row["loss"], row["loss"])
        lines = row["lines"]
        counted = (f"{lines[line]:.2f}" for line in ("unigram", "bigram", "five_gram"))
        sizes = (f"{row['tokens']:,}", row["tokenizer"], row["model"], f"{row['questions']:,}")
        loss = f"{row['loss']:.2f} ({low:.2f} to {high:.2f})"
        rows.append((row["name"], f"{row['minutes']:g}", f"{row['seconds'] / 60:.2f}", *sizes, loss, *counted))
        verdicts.append((row["name"], row["verdict"], said.get(row["name"], "not looked at")))
    how = paragraph(
        """`python benchmarks/own_text.py --data DIR`: `glassformer train FILE`, at most with an objective and minutes,
        each text with an empty cache; minutes are of the whole command. Losses are in nats for each token asked, over
        all of the held-out part, with 95% intervals; beside them what counting comes to on the same questions."""
    )
    heading = ("text", "minutes asked", "taken", "tokens", "tokenizer", "layers x width", "questions", "loss")
    counts = table((*heading, "unigram", "bigram", "5-gram"), rows)
    judged = table(("text", "verdict", "is that so? (judged by hand, from losses and lines)"), verdicts)
    return "\n\n".join(["## Texts of one's own", how, counts, judged])


def older(record: dict[str, Any]) -> str:
    """This build beside an older one."""
    rows = []
    for tasks in (record["training"], record["generation"]):
        for task, row in tasks.items():
            new, old = (with_spread(rates, 0) for rates in row["tokens_per_second"].values())
            rows.append((task, new, old, with_spread(row["ratio"])))
    how = paragraph(
        f"""`python benchmarks/older.py {record["older"]} --data DIR`: the tasks of the benchmarks above, this build and
        that commit in turns, each from its own sources; tokens per second, median and quartiles over rounds, and the
        ratio of each round."""
    )
    heading = ("task", "tokens per second", f"of {record['older']}", "ratio")
    return "\n\n".join(["## Speed beside an older build", how, table(heading, rows)])


def lessons(record: dict[str, Any]) -> str:
    """Dropout, where a text is passed often enough to be learned by heart."""
    rows = []
    for one in record["rows"]:
        low, high = one["best"]["interval"]
        best = f"{one['best']['loss']:.3f} ({low:.3f} to {high:.3f})"
        rows.append((one["objective"], one["dropout"], best, f"{one['best']['passes']:g}", f"{one['end']['loss']:.3f}"))
    how = paragraph(
        f"""`python benchmarks/lessons.py --data DIR`: {record["bytes"]:,} bytes of WikiText-2 by words, 2 layers of
        128, {record["epochs"]} passes, dropout {record["rate"]}, one seed; validation loss in nats with its 95%
        interval. [The page with its curves](lessons.md)."""
    )
    heading = ("objective", "dropout on", "best validation loss", "after passes", "at the end")
    return "\n\n".join(["## Lessons: dropout", how, table(heading, rows)])


def vocabularies(record: dict[str, Any]) -> str:
    """What each change is worth in bits per byte."""
    rows = [row_of(one) for one in record["rows"]]
    how = paragraph(
        f"""`python benchmarks/vocabularies.py --data DIR`: {record["seconds"]:g} seconds of the processor for each, one
        thread; bits per byte of the same validation text, and beside the first row with half of the 95% interval.
        How bits per byte count the words that a model does not know: [the page](vocabularies.md)."""
    )
    heading = ("vocabulary", "of", "tied", "max_length", "seed", "steps", "bits per byte", "beside the first row")
    parts = ["## Lessons: vocabularies, tied outputs, contexts", how, table(heading, rows)]
    file = RESULTS / "vocabularies_steps.json"
    if file.exists():
        equal = json.loads(file.read_text(encoding="utf-8"))
        parts.append(f"With [{equal['steps']} steps for each](vocabularies_steps.md), whatever time they take:")
        parts.append(table(heading[2:], [row_of(one)[2:] for one in equal["rows"]]))
    return "\n\n".join(parts)


def row_of(one: dict[str, Any]) -> tuple[str, ...]:
    """A model of `vocabularies`."""
    apart, half = one["beside_the_middle"]
    what = (f"{one['size']:,}", {"bpe": "subwords", "word": "words"}[one["kind"]], "yes" if one["tied"] else "no")
    difference = f"{apart:+.3f} (±{half:.3f})" if half else ""
    return (*what, *(str(one[key]) for key in ("length", "seed", "steps")), f"{one['bits_per_byte']:.3f}", difference)


def labels(record: dict[str, Any]) -> str:
    """Recipes for labelled data beside the lines to beat, each by the first of its scores."""

    def share(score: dict[str, Any]) -> str:
        low, high = score["interval"] or (score["value"],) * 2
        return f"{score['value']:.1%} ({100 * low:.1f} to {100 * high:.1f})"

    rows = []
    for row in record["rows"]:
        name, score = next(iter(row["scores"].items()))
        line = row["baselines"][-1]
        above = line["above"][name]
        low, high = above["interval"] or (above["value"],) * 2
        start = {"none": "from scratch", "self": "self-pre-trained"}[row["start"]]
        beaten = f"{line['baseline'].replace('_', ' ')} {line['scores'][name]['value']:.1%}"
        verdict = "a difference" if above["is_one"] else "none that these rows can show"
        points = f"{100 * above['value']:+.1f} ({100 * low:.1f} to {100 * high:.1f}): {verdict}"
        what = {"entity_f1_strict": "F1 of names, strict"}.get(name, name)
        rows.append((row["data"], start, row["seed"], row["seconds"], what, share(score), beaten, points))
    heading = ("data", "start", "seed", "seconds", "what", "test", "line to beat", "points above it")
    how = paragraph(
        """`python benchmarks/labels.py NAME --data DIR`: models of 2 layers of 128 on the training part of each set and
        nothing else, from scratch, or first taught to fill blanks in the same texts; asked about the test part.
        Intervals are of the bootstrap over test rows, that of the difference with both on the same draws. The machine
        had other work beside it: its seconds are more than a quiet one takes."""
    )
    return "\n\n".join(["## Labels", how, table(heading, rows)])


SECTIONS = {
    "demo": demo,
    "doctor": doctor,
    "own_text": own_text,
    "big_text": big_text,
    "masked_lm_speed": speed,
    "masked_lm_quality": quality,
    "causal_lm": causal,
    "generation": generation,
    "older": older,
    "real_runs": real_runs,
    "wikitext2_word": word_level,
    "lessons": lessons,
    "vocabularies": vocabularies,
    "labels": labels,
    "pages": pages,
}


def page() -> str:
    """Every section whose numbers are there."""
    parts = [HEAD]
    for name, section in SECTIONS.items():
        file = RESULTS / f"{name}.json"
        if file.exists():
            record = json.loads(file.read_text(encoding="utf-8"))
            measured = [record] if "machine" in record else record.values()
            machines = "\n\n".join(dict.fromkeys(map(machine, measured)))
            parts.append(f"{section(record)}\n\n{machines}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (RESULTS / "README.md").write_text(page(), encoding="utf-8")

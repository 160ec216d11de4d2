"""Generation beside Hugging Face's `generate` and CTranslate2, from the same weights: equal tokens, and how fast.

    python benchmarks/generation.py

A decoder of GPT-2's parts and an encoder-decoder of BART's, 4 layers of 256 a stack and 8,192 tokens, with random
weights, are written by `glassformer.exchange` as a folder that all three read. First the texts are compared, token for
token, in float64 and float32, greedy and with 4 beams, without an end and with one. Then all take turns, each a process
of its own of which one runs at a time: tokens per second for one prompt and for 32 prompts of 8 to 64 tokens, without
an end, so that all make equally many tokens; and how long each of 1,040 tokens of one text takes. Results go to
docs/results/.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contest

FORMATS = ("gpt2", "bart")
SIZES = {"n_layers": 4, "d_model": 256, "n_heads": 8, "d_ff": 1024, "max_length": 1088, "dropout": 0.0}
VOCAB = 8192
PAD, CLS, SEP = 0, 2, 3
PROMPTS = {"one": 1, "batch": 32}
TOKENS = {"one": 128, "batch": 64}
BEAMS = {"greedy": 1, "beam 4": 4}
LONG = 1040
WINDOW = 16
"""The cost of token n is the median of those up to so many places from it."""
TIE = 1e-3


# ----------------------------------------------------------------------------------------------- the same weights


def write_folder(format: str, folder: Path) -> None:
    """A model of random weights, all of them: biases are not zero and norms not one. Queries and keys are larger, so
    that attention is sharper: a random model that attends to everything alike writes one token again and again. (With
    4 instead of 2.5 float32's rounding grows until the log-probabilities are off by 0.2, ours and the peer's alike.)"""
    import torch

    from glassformer import exchange
    from glassformer.data.batch import OutputSpec
    from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
    from glassformer.model.config import ModelConfig, preset
    from glassformer.model.kinds.transformer import Transformer

    torch.manual_seed(1)
    config = ModelConfig(**{**preset(format), **SIZES})
    model = Transformer(config, VOCAB, [OutputSpec("tokens", VOCAB, tied=True, bias=False)]).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += (0.1 if "embeddings.token" in name else 0.02) * torch.randn_like(parameter)
            if "query_key_value.weight" in name:
                parameter *= 2.5
    words = " ".join(f"w{n}" for n in range(VOCAB - 5))
    exchange.write(model, Tokenizer.train([words], TokenizerConfig(kind="word", vocab_size=VOCAB)), folder)


def prompts(number: int, seed: int = 1) -> list[list[int]]:
    """Random tokens: one text of 32, or many of 8 to 64."""
    import numpy as np

    rng = np.random.default_rng(seed)
    lengths = [32] if number == 1 else rng.integers(8, 65, number).tolist()
    return [rng.integers(5, VOCAB, length).tolist() for length in lengths]


class Ours:
    """glassformer."""

    def __init__(self, format: str, folder: Path, dtype: str = "float32") -> None:
        import torch

        from glassformer import exchange

        self.format = format
        self.model = exchange.read(folder, "tokens").model().to(getattr(torch, dtype))

    def begun(self, texts: list[list[int]], end: int | None) -> Any:
        """What generation begins with."""
        import numpy as np

        from glassformer.data.batch import IGNORE_INDEX, Example, Stream, Targets
        from glassformer.decoding import Prompts

        asked = {"tokens": Targets(np.array([0]), np.array([IGNORE_INDEX]), "decoder")}
        rows = []
        for text in texts:
            start = [SEP, *text] if self.format == "gpt2" else [CLS]
            streams = {"decoder": Stream(np.array(start), causal=True)}
            if self.format == "bart":
                streams = {"encoder": Stream(np.array([*text, SEP])), **streams}
            rows.append(Example(streams, asked))
        ends = frozenset[int]() if end is None else frozenset({end})
        return Prompts(rows, "decoder", "tokens", [ends] * len(rows), self.model.config.max_length, PAD)

    def generate(self, texts: list[list[int]], number: int, beam: int, end: int | None = None) -> list[list[int]]:
        """The new tokens of each text."""
        from glassformer.decoding import DecodingConfig
        from glassformer.decoding.beam import beam_search
        from glassformer.decoding.sampling import sample

        search = beam_search if beam > 1 else sample
        found = search(self.model, self.begun(texts, end), DecodingConfig(beam=beam, max_tokens=number))
        return [best.ids for best, *_ in found]

    def moments(self, number: int) -> Iterator[None]:
        """One text, token by token."""
        from glassformer.decoding import DecodingConfig
        from glassformer.decoding.sampling import stream

        for _ in stream(self.model, self.begun([[]], None), DecodingConfig(max_tokens=number)):
            yield

    def log_probabilities(self, text: list[int], ids: list[int]) -> list[float]:
        """Of each new token, from one pass over the whole text."""
        import numpy as np
        import torch

        from glassformer.data.batch import Example, Stream, Targets, collate

        begun = self.begun([text], None)
        start = begun.start(0)
        streams = {"decoder": Stream(np.array([*start, *ids[:-1]]), causal=True)}
        if self.format == "bart":
            streams = {"encoder": begun.examples[0].streams["encoder"], **streams}
        places = np.arange(len(ids)) + len(start) - 1
        asked = {"tokens": Targets(places, np.array(ids), "decoder")}
        with torch.no_grad():
            logits = self.model(collate([[Example(streams, asked)]], PAD))["tokens"]
        return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()


class Peer:
    """Hugging Face's `generate`."""

    def __init__(self, format: str, folder: Path, dtype: str = "float32") -> None:
        import torch
        import transformers

        kinds = {"gpt2": transformers.GPT2LMHeadModel, "bart": transformers.BartForConditionalGeneration}
        self.format = format
        self.model = kinds[format].from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def generate(
        self, texts: list[list[int]], number: int, beam: int, end: int | None = None, streamer: Any = None
    ) -> list[list[int]]:
        """The new tokens of each text. Beams go on until none can win, as ours do."""
        import torch

        framed = [[SEP, *text] if self.format == "gpt2" else [*text, SEP] for text in texts]
        longest = max(map(len, framed))
        left = self.format == "gpt2"
        padded = [([PAD] * (longest - len(t)) + t) if left else (t + [PAD] * (longest - len(t))) for t in framed]
        real = [[0] * (longest - len(t)) + [1] * len(t) for t in framed]
        mask = torch.tensor(real if left else [row[::-1] for row in real])
        self.model.generation_config.eos_token_id = end
        found = self.model.generate(
            input_ids=torch.tensor(padded),
            attention_mask=mask,
            max_new_tokens=number,
            num_beams=beam,
            do_sample=False,
            early_stopping="never" if beam > 1 else False,
            streamer=streamer,
        )
        new = found[:, longest:] if left else found[:, 1:]
        return [until(row.tolist(), end) for row in new]

    def moments(self, number: int) -> Iterator[None]:
        """One text; the moments at which its streamer is told of a token come all at the end."""
        told: list[float] = []

        class Streamer:
            def put(self, value: Any) -> None:
                told.append(time.perf_counter())

            def end(self) -> None: ...

        self.generate([[]], number, 1, streamer=Streamer())
        self.told = told[-number:]
        yield from [None] * number


class CTranslate2:
    """CTranslate2, in float32."""

    def __init__(self, format: str, folder: Path, dtype: str = "float32") -> None:
        import ctranslate2

        self.format, converted = format, folder / "ctranslate2"
        if not converted.exists():
            ctranslate2.converters.TransformersConverter(str(folder)).convert(str(converted))
        kind = ctranslate2.Generator if format == "gpt2" else ctranslate2.Translator
        threads = int(os.environ["OMP_NUM_THREADS"])
        self.model = kind(str(converted), compute_type=dtype, intra_threads=threads, inter_threads=1)
        vocabulary = json.loads((converted / f"{'' if format == 'gpt2' else 'shared_'}vocabulary.json").read_text())
        self.names, self.ids = vocabulary, {name: n for n, name in enumerate(vocabulary)}

    def generate(self, texts: list[list[int]], number: int, beam: int, end: int | None = None) -> list[list[int]]:
        """The new tokens of each text; its end is forbidden."""
        assert end is None
        named = [[self.names[id] for id in text] for text in texts]
        common = {"beam_size": beam, "min_length": number, "max_length": number, "max_batch_size": 0}
        if self.format == "gpt2":
            starts = [[self.names[SEP], *text] for text in named]
            found = self.model.generate_batch(
                starts, sampling_topk=1, include_prompt_in_result=False, length_penalty=1.0, **common
            )
            return [result.sequences_ids[0] for result in found]
        common = {"beam_size": beam, "min_decoding_length": number, "max_decoding_length": number}
        found = self.model.translate_batch([[*text, self.names[SEP]] for text in named], length_penalty=1.0, **common)
        return [[self.ids[token] for token in result.hypotheses[0]] for result in found]


def until(ids: list[int], end: int | None) -> list[int]:
    """Up to the end, without what pads it."""
    return ids if end is None or end not in ids else ids[: ids.index(end) + 1]


SIDES = {"glassformer": Ours, "transformers": Peer, "ctranslate2": CTranslate2}


# ------------------------------------------------------------------------------------------------ are they equal?


def equality(folders: dict[str, Path]) -> dict[str, Any]:
    """How many texts are equal, by format, precision and search; those that differ are ties, or a fault."""
    found: dict[str, Any] = {}
    for format, folder in folders.items():
        exact = Ours(format, folder, "float64")
        texts, number = prompts(PROMPTS["batch"]), TOKENS["batch"]
        end = common_token(exact.generate(texts, number, 1))
        for dtype in ("float64", "float32"):
            ours, peer = Ours(format, folder, dtype), Peer(format, folder, dtype)
            for search, beam in BEAMS.items():
                for name, last in (("", None), (", with an end", end)):
                    a, b = (side.generate(texts, number, beam, last) for side in (ours, peer))
                    row = compared(exact, texts, a, b, beam)
                    found[f"{format} {dtype} {search}{name}"] = row
                    print(format, dtype, search, name, row, flush=True)
    return found


def common_token(texts: list[list[int]]) -> int:
    """The token that the most texts have, at any place: with it as the end, many texts end and many do not."""
    counts: dict[int, int] = {}
    for text in texts:
        for id in set(text):
            counts[id] = counts.get(id, 0) + 1
    half = len(texts) / 2
    return min(counts, key=lambda id: (abs(counts[id] - half), id))


def compared(exact: Ours, texts: list[list[int]], a: list[list[int]], b: list[list[int]], beam: int) -> dict[str, Any]:
    """Equal texts; ties: greedy, where the two tokens at the first difference have log-probabilities within TIE;
    beam, where the two texts are worth equally much within TIE; and what is neither."""
    equal = ties = 0
    for text, one, other in zip(texts, a, b, strict=True):
        if one == other:
            equal += 1
            continue
        ours, theirs = exact.log_probabilities(text, one), exact.log_probabilities(text, other)
        if beam == 1:
            place = next(n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
            ties += abs(ours[place] - theirs[place]) < TIE
        else:
            ties += abs(sum(ours) / len(ours) - sum(theirs) / len(theirs)) < TIE
    lengths = [len(text) for text in a]
    return {
        "texts": len(texts),
        "equal": equal,
        "ties": ties,
        "different": len(texts) - equal - ties,
        "tokens": sum(lengths),
        "distinct": len({id for text in a for id in text}),
        "shortest": min(lengths),
    }


# ------------------------------------------------------------------------------------------------------ how fast?


def contestant(side: str, format: str, folder: Path, threads: int) -> contest.Contestant:
    """A process that generates when told so."""
    task = {"side": side, "format": format, "folder": str(folder)}
    environment = {"OMP_NUM_THREADS": str(threads), **contest.environment_of(side)}
    if side == "ctranslate2":  # its best: by itself it takes MKL on Intel's processors, and a token five times as long
        environment["CT2_USE_MKL"] = "0"
    return contest.Contestant(f"{side}, {format}", task, **environment)


def worker(task: dict[str, Any]) -> None:
    """Serve requests on standard input: {"number", "tokens", "beam"}, or {"moments"}."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever libraries print does not reach the parent
    if task["side"] != "ctranslate2":
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    side: Any = SIDES[task["side"]](task["format"], Path(task["folder"]))
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        if "moments" in request:
            told = [start, *(time.perf_counter() for _ in side.moments(request["moments"]))]
            told = getattr(side, "told", told[1:])
            answer = {"seconds": [b - a for a, b in itertools.pairwise(told)]}
        else:
            made = side.generate(prompts(request["number"]), request["tokens"], request["beam"])
            answer = {"seconds": time.perf_counter() - start, "tokens": sum(map(len, made))}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def speed(folders: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Rounds in which each side generates in turn: tokens per second, and ratios round by round."""
    found: dict[str, Any] = {}
    for format, folder in folders.items():
        contestants = {side: contestant(side, format, folder, options.threads) for side in SIDES}
        cases = [(which, search) for which in PROMPTS for search in BEAMS]
        rates: dict[tuple[str, str], dict[str, list[float]]] = {
            case: {side: [] for side in contestants} for case in cases
        }
        for number in range(options.rounds + 1):  # the first one warms up, and does not count
            for which, search in cases:
                turn = number % len(contestants)
                for side in [*contestants][turn:] + [*contestants][:turn]:
                    request = {"number": PROMPTS[which], "tokens": TOKENS[which], "beam": BEAMS[search]}
                    answer = contestants[side].ask(request)
                    assert answer["tokens"] == PROMPTS[which] * TOKENS[which], (side, answer)
                    if number:
                        rates[which, search][side].append(answer["tokens"] / answer["seconds"])
            print(format, f"round {number}", flush=True)
        for each in contestants.values():
            each.end()
        for (which, search), measured in rates.items():
            found[f"{format} {which} {search}"] = speed_row(measured)
            print(format, which, search, json.dumps(found[f"{format} {which} {search}"]), flush=True)
    return found


def speed_row(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and quartiles; how many times as fast ours is."""
    ratios = {
        side: contest.spread([ours / theirs for ours, theirs in zip(rates["glassformer"], rates[side], strict=True)])
        for side in rates
        if side != "glassformer"
    }
    return {"tokens_per_second": {side: contest.spread(r, 1) for side, r in rates.items()}, "ratio_to": ratios}


def curve(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each token of one text of a decoder, in turns; how much more token 1,024 costs than token 32."""
    contestants = {side: contestant(side, "gpt2", folder, options.threads) for side in ("glassformer", "transformers")}
    rounds: dict[str, list[list[float]]] = {side: [] for side in contestants}
    for number in range(options.curves + 1):
        for side, each in contestants.items():
            seconds = each.ask({"moments": LONG})["seconds"]
            if number:
                rounds[side].append(seconds)
        print(f"curve {number}", flush=True)
    for each in contestants.values():
        each.end()
    places = [WINDOW, *range(2 * WINDOW, LONG, 2 * WINDOW)]
    return {
        "rounds": options.curves,
        "ratio": {
            side: contest.spread([cost(r, 1024) / cost(r, 32) for r in rows], 3) for side, rows in rounds.items()
        },
        "token": places,
        "milliseconds": {
            side: [round(1e3 * statistics.median(cost(r, place) for r in rows), 4) for place in places]
            for side, rows in rounds.items()
        },
    }


def cost(seconds: list[float], place: int) -> float:
    """Of token `place`; the first interval ends with token 2."""
    return statistics.median(seconds[max(0, place - WINDOW - 2) : place + WINDOW - 2])


def draw(record: dict[str, Any], file: Path) -> None:
    """The curve."""
    import matplotlib.pyplot as plt

    from glassformer.look.pictures.figures import save

    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for side, values in record["milliseconds"].items():
        axes.plot(record["token"], values, label=side)
    axes.set(xlabel="token of one text", ylabel="milliseconds", ylim=(0, None), xlim=(0, LONG))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, file)


# ----------------------------------------------------------------------------------------------------- the report


def main() -> None:
    """Parse, measure, write."""
    if len(sys.argv) == 3 and sys.argv[1] == "worker":
        worker(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9, help="rounds of the comparison of speed")
    parser.add_argument("--curves", type=int, default=7, help="long texts for the cost of each token")
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--only", choices=["equality", "speed", "curve"], help="print one part, and write nothing")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as cache:
        folders = {format: Path(cache, format) for format in options.formats}
        for format, folder in folders.items():
            write_folder(format, folder)
            CTranslate2(format, folder)
        parts = {
            "equality": lambda: equality(folders),
            "speed": lambda: speed(folders, options),
            "curve": lambda: curve(folders["gpt2"], options),
        }
        result = {name: part() for name, part in parts.items() if options.only in (None, name)}
    print(json.dumps(result, indent=1))
    if options.only is None:
        write(result)


def compiler() -> str | None:
    """What the step of a token is compiled with; None where it is not."""
    from glassformer.decoding.compiled import compiler_command, library

    if library() is None:
        return None
    said = subprocess.run([*compiler_command(), "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]


def write(result: dict[str, Any]) -> None:
    """The numbers and the picture."""
    from importlib.metadata import version

    from glassformer.run import describe_environment
    from glassformer.snapshot import write_text_durably

    machine = describe_environment()
    machine["versions"] |= {name: version(name) for name in ("transformers", "ctranslate2")}
    made = {"sizes": SIZES, "vocabulary": VOCAB, "prompts": PROMPTS, "tokens": TOKENS}
    record = {"benchmark": "generation", "machine": machine, "compiler": compiler(), **made, **result}
    contest.RESULTS.mkdir(parents=True, exist_ok=True)
    write_text_durably(contest.RESULTS / "generation.json", json.dumps(record, indent=1) + "\n")
    draw(result["curve"], contest.RESULTS / "generation_cost.png")
    print(f"written to {contest.RESULTS / 'generation.json'}")


if __name__ == "__main__":
    main()
